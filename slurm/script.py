"""The sbatch script of an array, rendered by submitit.

`%` in a path is escaped for SLURM, values are quoted for the shell, and `~` and `$VAR` are
expanded as in a shell.
"""

import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import submitit

from slurm.arrays import ArrayPlan
from slurm.profile import Profile
from synth.disk.places import VARIABLE, expand
from synth.run.code_copy import check_lines

_PERCENT = "\ue000"
"""Placeholder for `%` in a path while submitit expands its own patterns."""


class _Executor(submitit.SlurmExecutor):
    """submitit's executor, used only to render the script."""

    @classmethod
    def affinity(cls) -> int:
        """Usable on every machine, with or without SLURM."""
        return 1


def render_script(
    profile: Profile,
    folder: Path,
    name: str,
    array: ArrayPlan,
    code: Path,
    after: str | None,
) -> str:
    """The sbatch script of an array whose launch is in `folder`.

    Raises `ValueError` for a path that a script cannot contain, or an unknown `$VAR` in
    [sbatch].
    """
    if any(letter in str(folder) for letter in "\\\n\r"):
        raise ValueError(
            f"{str(folder)!r} contains a backslash or a line break, which SLURM does not "
            "accept in the path of a log; choose another --runs."
        )
    executor = _Executor(folder=str(folder).replace("%", _PERCENT))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        executor.update_parameters(**_parameters(profile, name, array, code, after))
    if len(array.packs) > 1:
        executor.parameters["map_count"] = len(array.packs)
    command = _command(profile, folder)
    text = str(executor._make_submission_file_text(command, "none"))
    return text.replace(_PERCENT, "%%")


def _parameters(
    profile: Profile, name: str, array: ArrayPlan, code: Path, after: str | None
) -> dict[str, Any]:
    """submitit's parameters for a profile."""
    parameters: dict[str, Any] = {
        "job_name": name,
        "time": profile.time,
        "nodes": profile.nodes,
        "ntasks_per_node": profile.tasks,
        "cpus_per_task": profile.cpus,
        "array_parallelism": array.parallelism,
        "stderr_to_stdout": True,
        "setup": setup_lines(profile, code),
        "wckey": profile.wckey or None,
    }
    for key in ("partition", "account", "qos", "constraint"):
        if getattr(profile, key):
            parameters[key] = getattr(profile, key)
    if profile.gpus:
        parameters["gpus_per_node"] = profile.gpus
    if after:
        parameters["dependency"] = f"afterany:{after}"
    further = {
        key: _expand_value(profile, key, value)
        for key, value in profile.sbatch.items()
        if value is not False
    }
    for option, amount in (
        ("mem", profile.memory_gb),
        ("mem-per-cpu", profile.memory_per_cpu_gb),
    ):
        if amount:
            further[option] = f"{max(1, round(amount * 1024))}M"
    # Without requeue, a site's JobRequeue=0 would refuse the worker's own requeue. The
    # signal is set here because submitit may read another one from the environment.
    signal = {"requeue": True, "signal": f"USR2@{profile.signal_delay_s}"}
    return parameters | {"additional_parameters": further | signal}


def _command(profile: Profile, folder: Path) -> str:
    """The command of the worker, with signals ignored until it handles them.

    By default they would kill it, and SLURM does not requeue a job that ends by itself.
    """
    guard = """bash -c 'trap "" TERM USR2; exec "$@"' bash"""
    python = (
        shell_word(profile.python) if profile.python else shlex.quote(sys.executable)
    )
    return f"{guard} {python} -u -m slurm.worker {shlex.quote(str(folder))}"


def setup_lines(profile: Profile, code: Path) -> list[str]:
    """Shell lines that run on the node before the worker."""
    lines = list(profile.setup)
    for key, value in profile.environment.items():
        lines.append(f"export {key}={shell_word(value)}")
    path = shlex.quote(str(code))
    return [
        *lines,
        # sbatch's --cpus-per-task no longer reaches srun by itself (since 22.05).
        'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
        *check_lines(code),
        "export PYTHONSAFEPATH=1",
        f'export PYTHONPATH={path}"${{PYTHONPATH:+:$PYTHONPATH}}"',
    ]


def shell_word(value: str) -> str:
    """Quote a word so that the node's shell expands only a leading `~` and `$VAR`.

    A variable that is not set on the node ends the job with an error that names it.

    >>> print(shell_word("~/hub of $USER"))
    ~/"hub of ${USER:?is not set}"
    >>> print(shell_word("a $(b) `c`"))
    "a \\$(b) \\`c\\`"
    """
    home = re.match(r"~[\w.-]*(?:/|$)", value)
    tilde, rest = (home[0], value[home.end() :]) if home else ("", value)
    if rest and not re.search(r"[$`\\\"]", rest):
        return tilde + shlex.quote(rest)
    words, end = [], 0
    for match in VARIABLE.finditer(rest):
        words.append(_escape(rest[end : match.start()]))
        words.append("${%s:?is not set}" % (match[1] or match[2]))
        end = match.end()
    words.append(_escape(rest[end:]))
    return tilde + (f'"{"".join(words)}"' if rest or not tilde else "")


def _escape(text: str) -> str:
    """Escape text for use between double quotes."""
    return re.sub(r'([$`\\"])', r"\\\1", text)


def _expand_value(profile: Profile, key: str, value: str | float) -> str | float:
    """Expand `~` and `$VAR` with this machine's values, which sbatch does not do."""
    if not isinstance(value, str):
        return value
    try:
        return expand(value)
    except ValueError as error:
        owner = f"profile {profile.name!r}: sbatch.{key}"
        raise ValueError(f"{owner} {error}.") from None
