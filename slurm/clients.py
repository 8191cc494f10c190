"""Calls SLURM's programs in an environment without settings for them.

A user's shell, and every interactive job, may set variables that change what these
programs do: `SQUEUE_PARTITION` hides jobs, `SBATCH_TIMELIMIT` overrides the profile,
`SLURM_MEM_PER_CPU` is passed on to the job, whose `srun` refuses it. Here only the
command line counts.

The worker imports this module before it handles signals, so the import must be fast.
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

KEPT = frozenset(
    {
        "SLURM_CONF",
        "SLURM_CONF_SERVER",
        "SLURM_JWT",
        "SLURM_SACK_JWKS",
        "SLURM_SACK_KEY",
    }
)
"""Variables that hold the controller's address or serve authentication."""

_SETTINGS = re.compile(
    r"(SLURM[A-Z]*|SACCT|SACCTMGR|SALLOC|SATTACH|SBATCH|SBCAST|SCANCEL|SCONTROL"
    r"|SCRON|SCRONTAB|SDIAG|SINFO|SPRIO|SQUEUE|SREPORT|SRUN|SSHARE|SSTAT|STRIGGER"
    r"|PMI|PMI2|PMIX|SUBMITIT)_"
)
_OF_AN_ALLOCATION = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "GPU_DEVICE_ORDINAL",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
    }
)
"""Set for the job that has the devices; wrong for any other."""

Ask = Callable[..., "subprocess.CompletedProcess[str]"]


class QueueUnavailable(RuntimeError):
    """The scheduler does not answer, so the queue is unknown."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings of SLURM's programs or of an enclosing job.

    A submitted job starts with the environment of sbatch, so it gets this one too.

    >>> clean_environment({"SLURM_CONF": "x", "SQUEUE_SORT": "i", "HOME": "/home/me"})
    {'SLURM_CONF': 'x', 'HOME': '/home/me'}
    """
    inside = "SLURM_JOB_ID" in environment
    return {
        name: value
        for name, value in environment.items()
        if name in KEPT
        or not (_SETTINGS.match(name) or (inside and name in _OF_AN_ALLOCATION))
    }


def ask(
    *command: str, timeout_s: float = 30.0, text: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run one of SLURM's programs; `text` is its standard input.

    Raises `QueueUnavailable` when the program is not installed or does not answer in
    time. A client waits 9 s or more for a controller that is down, and a minute for a
    configuration that is missing, which is refused here.
    """
    conf = os.environ.get("SLURM_CONF")
    if conf and not os.path.exists(conf):
        raise QueueUnavailable(
            f"SLURM_CONF names {conf}, which does not exist: the cluster was taken down, "
            "or the name is wrong. Name another file, or `unset SLURM_CONF`."
        )
    try:
        return subprocess.run(
            command,
            input=text or "",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            env=clean_environment(os.environ),
        )
    except FileNotFoundError:
        # Not above: a worker must hear signals before it loads anything of synth.
        from synth.command_words import as_typed

        raise QueueUnavailable(
            f"{command[0]} is not on PATH: this is no SLURM cluster. Run locally, or "
            f"bring up a private one with `{as_typed('slurm cluster up')}`."
        ) from None
    except subprocess.TimeoutExpired:
        raise QueueUnavailable(
            f"`{' '.join(command)}` gave no answer within {timeout_s:.0f} s: the "
            "controller may be down. Runs that train go on; ask again later."
        ) from None


class PromptAsk:
    """`ask` for a command that only looks: a controller that is down costs no time.

    squeue tries for 9 s and more to reach one, at every call; `scontrol ping` tries once.
    """

    def __init__(self) -> None:
        self._silence: str | None = None
        """Why the scheduler does not answer; empty if it does, None before the ping."""

    def __call__(self, *command: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        """As `ask`. Once the scheduler gave no answer, it is not asked again."""
        try:
            if self._silence is None:
                down = ask("scontrol", "ping", timeout_s=10.0).stdout.splitlines()
                down = [line.strip() for line in down if line.startswith("Slurmctld(")]
                up = any(line.endswith("UP") for line in down)
                said = f"The controller does not answer: {'; '.join(down)}."
                self._silence = said if down and not up else ""
            if self._silence:
                raise QueueUnavailable(self._silence)
            return ask(*command, **how)
        except QueueUnavailable as error:
            self._silence = self._silence or str(error)
            raise


def complaint(answer: "subprocess.CompletedProcess[str]") -> str:
    """What a program wrote to standard error, as one line without repeats."""
    lines = (line.strip() for line in answer.stderr.splitlines())
    return "; ".join(dict.fromkeys(filter(None, lines)))
