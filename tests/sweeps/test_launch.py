"""Launches in real processes: interrupted, shared, repeated, and equal bit for bit."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.__main__ import main, parse
from sweeps.executor import Work, check_folder
from sweeps.launch_display import Display
from sweeps.launch_progress import LaunchProgress
from sweeps.pool import Launch, LocalPool
from sweeps.survey import survey
from sweeps.sweep_lookup import find_sweep
from synth.run.defining_code import refuse_other_code
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import PATIENCE_S, Brake, tiny_run, wait_until
from tests.sweeps.conftest import (
    call,
    call_process,
    command,
    content,
    kill,
    sessions,
    start,
)

FOLDER = "runs/depths-quick"


def workers_of(pid):
    """Process ids of the worker processes of a launcher."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text().split()
    return [int(word) for word in found]


@pytest.mark.slow
def test_a_killed_launcher_loses_nothing_and_repeats_nothing(
    sweep_file, tmp_path, expected
):
    """`kill -9` in the middle of 12 runs on two workers, and start again at once."""
    path = sweep_file(seeds=3, steps=40)
    configs = find_sweep(str(path))("quick")
    root = tmp_path / FOLDER
    # A pack takes four seconds, so the last of eight begins long after the kill.
    brake = Brake(tmp_path / "brake", step_seconds=0.1)
    process = start("run", path, cwd=tmp_path, brake=brake)
    wait_until(lambda: len(list(root.glob("*/result.json"))) >= 4, process=process)
    kill(process)
    half = survey(root, configs)
    assert 0 < half.counts["done"] < 12
    finished = {
        run_id: (root / run_id / "result.json").stat().st_mtime_ns
        for run_id in half.ids("done")
    }
    call("run", path, cwd=tmp_path)
    assert survey(root, configs).counts == {"done": 12}
    assert [content(root, config) for config in configs] == expected(configs)
    for run_id, written in finished.items():
        assert (root / run_id / "result.json").stat().st_mtime_ns == written
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    assert "12 runs, all done before" in call("run", path, cwd=tmp_path)
    assert before == {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_two_launches_at_once_share_the_work(sweep_file, tmp_path, expected):
    path = sweep_file(seeds=1, steps=80, layers=(3,))
    configs = find_sweep(str(path))("quick")
    root = tmp_path / FOLDER
    both = [start("run", path, "--workers", 1, cwd=tmp_path) for _ in range(2)]
    printed = [process.communicate(timeout=PATIENCE_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert [content(root, config) for config in configs] == expected(configs)
    assert [sessions(root, config) for config in configs] == [1] * len(configs)


@pytest.mark.slow
def test_ctrl_c_leaves_checkpoints_and_the_next_command(
    sweep_file, tmp_path, expected, brake
):
    path = sweep_file(seeds=1, steps=80, layers=(3,))
    configs = find_sweep(str(path))("quick")
    root = tmp_path / FOLDER
    process = start("run", path, cwd=tmp_path, brake=brake)
    wait_until(lambda: list(root.glob("*/metrics.jsonl")), process=process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75, (out, err)
    assert f"to go on: python -m sweeps run {path}" in out
    assert "Traceback" not in err
    found = survey(root, configs)
    assert found.counts["stopped"] >= 1
    assert not found.counts["running"]
    # Whoever looks at the folder is told the same command.
    assert f"next: python -m sweeps run {path}\n" in call("status", cwd=tmp_path)
    call("run", path, "--workers", 0, cwd=tmp_path)
    assert [content(root, config) for config in configs] == expected(configs)


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(sweep_file, tmp_path, expected, brake):
    path = sweep_file(seeds=2, steps=80, layers=(3,))
    configs = find_sweep(str(path))("quick")
    root = tmp_path / FOLDER
    process = start("run", path, cwd=tmp_path, brake=brake)
    wait_until(lambda: list(root.glob("*/metrics.jsonl")), process=process)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    brake.release()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, (out, err)
    assert "ended by signal 9" in out
    assert "tried one by one" in out
    assert [content(root, config) for config in configs] == expected(configs)


@pytest.mark.slow
def test_workers_end_with_their_launcher(sweep_file, tmp_path, brake):
    path = sweep_file(seeds=1, steps=100_000, layers=(3,))
    root = tmp_path / FOLDER
    process = start("run", path, cwd=tmp_path, brake=brake)
    wait_until(lambda: len(list(root.glob("*/metrics.jsonl"))) == 2, process=process)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    kill(process)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert survey(root).counts["stopped"] == 2


def copy_of_the_code(place):
    """A user's checkout, to be edited."""
    here = Path(__file__).resolve().parents[2]
    for package in ("synth", "sweeps", "slurm"):
        subprocess.run(["cp", "-r", here / package, place / package], check=True)
    return place


@pytest.mark.slow
def test_queued_runs_train_with_the_code_they_were_launched_with(
    sweep_file, tmp_path, expected, brake
):
    path = sweep_file(seeds=1, steps=80, layers=(3,))
    configs = find_sweep(str(path))("quick")
    (tmp_path / "checkout").mkdir()
    source = copy_of_the_code(tmp_path / "checkout")
    root = tmp_path / FOLDER
    words = ("run", path, "--lanes", 1, "--workers", 1)
    process = start(*words, cwd=tmp_path, source=source, brake=brake)
    wait_until(lambda: list(root.glob("*/metrics.jsonl")), process=process)
    for module in (source / "synth").rglob("*.py"):
        module.write_text("raise RuntimeError('edited')\n")
    assert len(list(root.glob("*/config.json"))) == 1  # the other one still waits
    brake.release()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, (out, err)
    assert [content(root, config) for config in configs] == expected(configs)


@pytest.mark.slow
def test_runs_of_other_code_are_not_gone_on_with(sweep_file, tmp_path, brake):
    path = sweep_file(seeds=1, steps=80, layers=(3,))
    root = tmp_path / FOLDER
    process = start("run", path, "--workers", 0, cwd=tmp_path, brake=brake)
    wait_until(lambda: list(root.glob("*/metrics.jsonl")), process=process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    (tmp_path / "checkout").mkdir()
    source = copy_of_the_code(tmp_path / "checkout")
    with (source / "synth/training.py").open("a") as file:
        file.write("\n# an edit\n")
    err = call_process("run", path, cwd=tmp_path, status=2, source=source)
    assert "unfinished runs were begun by other code" in err
    assert "--accept-code-change" in err
    words = ("run", path, "--workers", 0, "--accept-code-change")
    call_process(*words, cwd=tmp_path, source=source)
    assert set(survey(root).counts) == {"done"}


@pytest.mark.slow
def test_a_failing_run_stops_nobody_else(sweep_file, tmp_path):
    path = sweep_file(seeds=2, layers=(3,))
    root = tmp_path / FOLDER
    first, *others = find_sweep(str(path))("quick")
    folder = RunFolder(root, first.run_id)
    folder.path.mkdir(parents=True)
    (folder.path / "metrics.jsonl").mkdir()  # cannot be written to
    out = call("run", path, cwd=tmp_path, status=1)
    assert f"failed runs again: python -m sweeps retry {path}" in out
    found = survey(root, [first, *others])
    assert found.counts == {"failed": 1, "done": len(others)}
    out = call("status", path, cwd=tmp_path)
    assert "metrics.jsonl" in out
    assert f"next: python -m sweeps retry {path}" in out
    assert "Traceback" in call("show", root / first.run_id, cwd=tmp_path)
    # What failed is left alone by `run`, and taken up by `retry`.
    assert "1 failed" in call("run", path, cwd=tmp_path, status=1)
    (folder.path / "metrics.jsonl").rmdir()
    call("retry", path, "--workers", 0, cwd=tmp_path)
    assert survey(root, [first, *others]).counts == {"done": 4}


def test_fail_fast(sweep_file, tmp_path):
    path = sweep_file(seeds=1)
    root = tmp_path / FOLDER
    for config in find_sweep(str(path))("quick"):
        (root / config.run_id / "metrics.jsonl").mkdir(parents=True)
    arguments = ("run", path, "--fail-fast", "--lanes", 1, "--json")
    outcomes = json.loads(call(*arguments, "--workers", 1, cwd=tmp_path, status=1))
    states = [outcome["state"] for outcome in outcomes]
    assert states.count("failed") == 1
    assert states.count("stopped") == len(states) - 1


def test_python_takes_no_part_of_torch_to_look(tmp_path):
    """Listing, planning and looking stay light."""
    code = (
        "import sys; sys.argv[0] = 'sweeps'; from sweeps.__main__ import main\n"
        "assert main(['plan', 'quick']) == 0 and main(['status']) == 0\n"
        "heavy = {'torch', 'optuna', 'submitit', 'polars'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    here = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": here}
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True
    )


def test_there_is_nothing_to_retry_before_a_launch(sweep_file, tmp_path):
    path = sweep_file(seeds=1, layers=(3,))
    part = (path, "--arms", "n1", "--workers", 0)
    for more in ((), ("--dry-run",)):
        err = call("retry", *part, *more, cwd=tmp_path, status=2)
        assert "There is nothing to retry: none of the 1 runs was launched in" in err
        assert f"To launch: python -m sweeps run {path} --arms n1 --workers 0" in err
    assert not (tmp_path / "runs").exists()
    call("run", *part, cwd=tmp_path)
    # Once a part was launched, what is missing is trained as well.
    call("retry", path, "--workers", 0, cwd=tmp_path)
    assert len(list((tmp_path / "runs").glob("*/*/result.json"))) == 2


def test_the_list_goes_on_after_a_sweep_that_fails(tmp_path, capsys):
    own = """
from sweeps.catalogue import CATALOGUE
from sweeps.sweep import sweep

@sweep(scales=("quick", "paper"))
def broken(scale):
    \"\"\"Fails at one scale.\"\"\"
    return CATALOGUE["quick"]("quick") if scale == "quick" else [][0]

@sweep(scales=("quick",))
def whole(scale):
    \"\"\"Works.\"\"\"
    return CATALOGUE["quick"]("quick")
"""
    (tmp_path / "mine.py").write_text(own)
    assert main(["list", str(tmp_path / "mine.py")]) == 2
    out, err = capsys.readouterr()
    assert [line.split()[-2] for line in out.splitlines()[1::2]] == ["quick", "quick"]
    (line,) = err.splitlines()
    assert line.startswith("error: Sweep 'broken' at scale 'paper' fails in ")
    assert "(line 8): IndexError" in line


@pytest.mark.parametrize("command", ["run", "plan", "status", "tune", "retry"])
def test_mistakes_end_in_one_message(command, tmp_path):
    err = call(command, "quik", cwd=tmp_path, status=2)
    assert "Did you mean 'quick'" in err
    assert "Traceback" not in err


def test_the_command_line_ends_in_the_same_message(tmp_path):
    err = call_process("run", "quik", cwd=tmp_path, status=2)
    assert err == call("run", "quik", cwd=tmp_path, status=2)


def test_mistakes_leave_nothing_behind(tmp_path):
    for words, said in (
        ("run quick --workers -1", "--workers must be at least 1, or 0 to train in"),
        ("run quick --lanes -1", "--lanes must be at least 1; got -1"),
        ("search quick --seed -1", "--seed must be from 0 to 2^32 - 1; got -1"),
        ("tune quick --threads 0", "Execution.threads must be at least 1; got 0"),
        ("dashboard quick --port 0", "--port must be from 1 to 65535; got 0"),
    ):
        err = call(*words.split(), cwd=tmp_path, status=2)
        assert err.startswith(f"error: {said}")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_device_that_is_not_there_is_a_mistake_and_no_failure(sweep_file, tmp_path):
    path = sweep_file(seeds=1, layers=(3,))
    err = call("run", path, "--device", "cuda", cwd=tmp_path, status=2)
    assert "torch finds no GPU here. Use device 'cpu'" in err
    assert "Traceback" not in err
    assert not list((tmp_path / FOLDER).glob("*/failure.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reader", "workers"),
    [("gone", 0), ("gone", 1), ("full", 0), ("closed", 0), ("closed", 1)],
)
def test_standard_output_that_takes_nothing_stops_no_run(
    sweep_file, tmp_path, reader, workers
):
    path = sweep_file(seeds=1, layers=(3,))
    words, environment = command("run", path, "--workers", workers)
    redirected = {
        "gone": "{ read line; } < fifo & exec {} > fifo",
        "full": "exec {} > /dev/full",
        "closed": "exec {} >&-",
    }[reader].replace("{}", shlex.join(words))
    os.mkfifo(tmp_path / "fifo")
    done = subprocess.run(
        ["bash", "-c", redirected],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert ("No space left on device; going on" in done.stderr) == (reader == "full")
    assert survey(tmp_path / FOLDER).counts == {"done": 2}


@pytest.mark.parametrize(
    "typed",
    [
        "run quick --again --lanes 2 --threads 2 --compile off --device cuda",
        "run quick --arms n1 --workers 1 --fail-fast --accept-code-change",
        "run quick --on slurm --profile cpu --again --track trackio",
        "tune quick --seeds 2 --workers 1 --compile on --rates 0.001 0.002 0.004",
        "search quick --fields beta1 --trials 4 --seed 7 --workers 1 --threads 2",
    ],
)
def test_the_command_to_go_on_trains_in_the_same_way(typed):
    given = parse(typed.split())
    again = parse([typed.split()[0], *shlex.split(given.words())])
    assert again == given
    assert {*given.words().split()} >= {*typed.split()[1:]}
    assert parse(["run", "quick"]).words() == "quick"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_left_untrained_shows_in_the_exit_status(
    sweep_file, tmp_path, workers, brake
):
    """Also when nobody reads any more: the first run is stopped, the second waits."""
    path = sweep_file(seeds=1, steps=80, layers=(3,))
    root = tmp_path / FOLDER
    words = ("run", path, "--workers", workers, "--lanes", 1)
    process = start(*words, cwd=tmp_path, brake=brake)
    process.stdout.readline()
    process.stdout.close()
    wait_until(lambda: list(root.glob("*/metrics.jsonl")))
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 75
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "workers"),
    [
        ("metrics", 0),
        ("config", 0),
        ("config", 1),
        ("checkpoint", 0),
        ("checkpoint", 1),
    ],
)
def test_one_damaged_lane_fails_alone(sweep_file, tmp_path, expected, trouble, workers):
    path = sweep_file(seeds=3, layers=(3,))
    root = tmp_path / FOLDER
    configs = find_sweep(str(path))("quick")
    ill = configs[1]
    folder = root / ill.run_id
    if trouble == "metrics":
        (folder / "metrics.jsonl").mkdir(parents=True)
    elif trouble == "config":
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("[]")
    else:
        (folder / "checkpoint").mkdir(parents=True)
        (folder / "checkpoint").rmdir()
        (folder / "checkpoint").write_text("no folder")
    call("run", path, "--workers", workers, cwd=tmp_path, status=1)
    found = {run.run_id: run.state for run in survey(root, configs).runs}
    ended = "unreadable" if trouble == "config" else "failed"
    assert found.pop(ill.run_id) == ended
    assert set(found.values()) == {"done"}
    others = [config for config in configs if config != ill]
    assert [content(root, config) for config in others] == expected(others)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_runs_that_are_removed_while_they_train_are_trained_afresh(
    sweep_file, tmp_path, workers, brake, expected
):
    path = sweep_file(seeds=2, steps=30, layers=(3,))
    root = tmp_path / FOLDER
    process = start("run", path, "--workers", workers, cwd=tmp_path, brake=brake)
    wait_until(lambda: list(root.glob("*/metrics.jsonl")), process=process)
    for folder in root.glob("polynomial-*"):
        folder.rename(tmp_path / folder.name)  # at once, beside a trainer that writes
    brake.release()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, (out, err)
    assert "a pack of 2 failed: tried one by one" in out
    configs = find_sweep(str(path))("quick")
    assert [content(root, config) for config in configs] == expected(configs)


def test_a_run_whose_folder_is_gone_is_not_done(tmp_path):
    config = tiny_run()
    done = Outcome(config.run_id, "done", "done")
    assert "was removed or changed" in check_folder(tmp_path, done).message
    assert check_folder(tmp_path, done).state == "failed"
    train([config], tmp_path)
    assert check_folder(tmp_path, done) is done


def test_a_failure_in_another_launch_is_not_tried_twice(tmp_path):
    """What the other launch has just found out counts here too; older failures do not."""
    config = tiny_run()
    folder = RunFolder(tmp_path, config.run_id)
    folder.open(config)
    progress = LaunchProgress(1, 0, "in_domain/exact_match", {})
    work = Work(
        packs=[],
        root=tmp_path,
        execution=Execution(),
        progress=progress,
        display=Display(quiet=True),
    )
    launch = Launch(LocalPool(1), work)
    folder.write_json("failure.json", {"message": "it broke"})
    old = launch.began - 60
    os.utime(folder.path / "failure.json", (old, old))
    launch.held, launch.checked_at = {config.run_id: config}, 0.0
    launch._check_held()
    assert [list(pack) for pack in launch.queue] == [[config]]
    launch.queue.clear()
    os.utime(folder.path / "failure.json")
    launch.held, launch.checked_at = {config.run_id: config}, 0.0
    launch._check_held()
    assert not launch.queue
    assert progress.outcomes[config.run_id].state == "failed"
    assert (
        "failed in another launch: it broke" in progress.outcomes[config.run_id].message
    )


def test_the_first_run_of_other_code_is_named_with_its_own_commit(tmp_path):
    for seed, code in enumerate(
        (
            {"synth_sha256": "a", "commit": "aaaa", "patch_sha256": None},
            {"synth_sha256": "b", "commit": "bbbb", "patch_sha256": "dirty"},
        )
    ):
        folder = RunFolder(tmp_path, tiny_run(seed=seed).run_id)
        (folder.checkpoints / "step-00000001").mkdir(parents=True)
        folder.write_json("environment.json", {"sessions": [{"code": code}]})
    runs = [tiny_run(seed=seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match=r"2 unfinished .* at commit aaaa\)"):
        refuse_other_code(tmp_path, runs)
    with pytest.raises(ValueError, match="at commit bbbb with local changes"):
        refuse_other_code(tmp_path, runs[::-1])
