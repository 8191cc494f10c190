"""What sbatch and the node's shell make of the script, as far as no cluster is needed."""

import inspect
import subprocess
from pathlib import Path

import pytest
import submitit
from submitit.slurm.slurm import SlurmJobEnvironment

from slurm import script
from slurm.arrays import ArrayPlan
from slurm.profile import Profile, from_values
from slurm.script import render_script, setup_lines, shell_word
from synth.run.code_copy import take

from .conftest import tiny

ROOT = Path("/data/runs/.slurm/NAME")


def rendered(profile=None, packs=1, folder=ROOT, after=None):
    array = ArrayPlan([[tiny(seed)] for seed in range(packs)], packs)
    profile = profile or Profile(name="site")
    return render_script(profile, folder, "NAME", array, Path("/data/code"), after)


def options(text):
    """The #SBATCH lines, by option."""
    lines = [line[10:] for line in text.splitlines() if line.startswith("#SBATCH --")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_submitit_writes_what_we_expect():
    """A private name of submitit 1.5; another version must be read before it is used."""
    assert submitit.__version__.startswith("1.5.")
    known = inspect.signature(script._Executor._make_submission_file_text).parameters
    assert known.keys() == {"self", "command", "uid"}
    text = rendered(Profile(name="s", time=90, cpus=3, gpus=1, qos="long"), packs=4)
    assert options(text) == {
        "array": "0-3%4",
        "cpus-per-task": "3",
        "gpus-per-node": "1",
        "job-name": "NAME",
        "mem": "4096M",
        "nodes": "1",
        "ntasks-per-node": "1",
        "open-mode": "append",
        "output": f"{ROOT}/%A_%a_0_log.out",
        "qos": "long",
        "requeue": "",
        "signal": "USR2@90",
        "time": "90",
    }
    command = text.splitlines()[-1]
    assert command.startswith(f"srun --unbuffered --output {ROOT}/%A_%a_%t_log.out ")
    assert command.endswith(f"-u -m slurm.worker {ROOT}")
    assert options(rendered())["output"] == f"{ROOT}/%j_0_log.out"
    assert options(rendered(after="12"))["dependency"] == "afterany:12"


def test_the_signal_is_the_one_that_workers_hear(monkeypatch):
    # What SUBMITIT_PREEMPT_SIGNAL in a shell does.
    monkeypatch.setattr(SlurmJobEnvironment, "USR_SIG", "USR1")
    assert options(rendered())["signal"] == "USR2@90"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"mem": "4096M"}),
        ({"memory_gb": 0.25}, {"mem": "256M"}),
        ({"memory_gb": 0}, {}),
        ({"memory_per_cpu_gb": 2}, {"mem-per-cpu": "2048M"}),
        ({"sbatch": {"mem-per-gpu": "8G"}}, {"mem-per-gpu": "8G"}),
    ],
)
def test_one_option_asks_for_memory_or_none(values, expected):
    text = rendered(from_values("site", values))
    found = {k: v for k, v in options(text).items() if k.startswith("mem")}
    assert found == expected


@pytest.mark.parametrize("name", ["100%", "a%jb", "%A_%a", "%%t", "%", "a b'c$d\"e"])
@pytest.mark.parametrize("packs", [1, 2])
def test_paths_hold_no_patterns(name, packs):
    folder = Path("/data") / name / ".slurm" / "NAME"
    text = rendered(packs=packs, folder=folder)
    log = {1: "%j_0_log.out", 2: "%A_%a_0_log.out"}[packs]
    assert shown(options(text)["output"]) == f"{str(folder).replace('%', '%%')}/{log}"
    # The worker gets the folder itself.
    assert shown(text.splitlines()[-1]).splitlines()[-1] == str(folder)


def shown(words):
    """The words as a shell splits them, a line each."""
    return subprocess.check_output(
        ["sh", "-c", f"printf '%s\\n' {words}"], text=True
    ).rstrip("\n")


@pytest.mark.parametrize("name", ["a\\b", "a\nb"])
def test_paths_that_no_script_can_hold_are_refused(name):
    with pytest.raises(ValueError, match="backslash or a line break"):
        rendered(folder=Path("/data") / name / ".slurm" / "NAME")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("~", "/home/me"),
        ("~/hub", "/home/me/hub"),
        ("~/a b", "/home/me/a b"),
        ("a~b", "a~b"),
        ("$HERE/x", "/over here/x"),
        ("${HERE}x:$HERE", "/over herex:/over here"),
        ("~/$HERE", "/home/me//over here"),
        (
            "$(touch x) `touch x` \\n \"q\" 'q' *",
            "$(touch x) `touch x` \\n \"q\" 'q' *",
        ),
        ("5$ and $5", "5$ and $5"),
        (
            "$HERE $(touch x) `touch x` \\ \" '",
            "/over here $(touch x) `touch x` \\ \" '",
        ),
        ("a;b&c|d\t", "a;b&c|d\t"),
    ],
)
def test_variables_mean_what_they_mean_in_a_shell(value, expected, tmp_path):
    command = f"export X={shell_word(value)}; printf '%s.' \"$X\""
    environment = {"HOME": "/home/me", "HERE": "/over here", "PATH": "/usr/bin:/bin"}
    said = subprocess.check_output(
        ["bash", "-c", command], env=environment, text=True, cwd=tmp_path
    )
    assert said == expected + "."
    assert not list(tmp_path.iterdir())


def test_an_unknown_variable_ends_the_job_with_its_name():
    profile = Profile(name="site", environment={"SYNTH_CACHE": "$NOWHERE/x"})
    lines = "\n".join([*setup_lines(profile, Path("/code")), "echo went on"])
    done = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, env={})
    assert done.returncode != 0
    assert "NOWHERE: is not set" in done.stderr
    assert "went on" not in done.stdout


def test_values_for_sbatch_are_expanded_where_it_runs(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("TEAM", "blue")
    given = {"container": "~/image", "comment": "for $TEAM", "exclusive": True}
    found = options(rendered(Profile(name="site", sbatch=given | {"hold": False})))
    assert found["container"] == "/home/me/image"
    assert (found["comment"], found["exclusive"]) == ("'for blue'", "")
    assert "hold" not in found
    profile = Profile(name="site", sbatch={"comment": "$NOBODY"})
    with pytest.raises(ValueError, match=r"sbatch\.comment .* NOBODY is not set"):
        rendered(profile)


def test_python_of_a_profile_may_lie_at_home():
    text = rendered(Profile(name="site", python="~/venv/bin/python"))
    assert " bash ~/venv/bin/python -u -m slurm.worker " in text


def test_set_up_lines_leave_the_log_of_earlier_attempts(tmp_path):
    """A requeued job appends to its log; no line may open that file anew."""
    log = tmp_path / "log"
    log.write_text("the first attempt\n")
    lines = setup_lines(Profile(name="site"), take(tmp_path, ".slurm"))
    with log.open("ab") as file:
        command = ["bash", "-c", "\n".join([*lines, "echo the second"])]
        subprocess.run(command, stdout=file, stderr=file, check=True)
    assert log.read_text() == "the first attempt\nthe second\n"
