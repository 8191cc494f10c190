"""Packs on a real cluster: trained, failed, cancelled, interrupted in every way."""

import os
import time

import pytest

from slurm.__main__ import main
from slurm.job_record import read_record
from slurm.sandbox import cluster as private
from slurm.sandbox.processes import controller_daemon
from slurm.status import cancel, read_status
from sweeps.__main__ import main as sweeps
from synth.run.store import RunFolder

from .conftest import tiny, until
from .faults import crash_node

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

LONG = 200
"""Steps of a run that is to be interrupted: fifty seconds while the brake is on."""
GRACE_S = 600
"""Warning of a preempted job: far more than a checkpoint needs on a busy machine."""


def test_array_equals_local(site, assert_undisturbed):
    packs = [[tiny(2 * i), tiny(2 * i + 1)] for i in range(4)]
    runs = [config for pack in packs for config in pack]
    submission = site.submit(*packs, gpus=1, execution={"device": "cpu"}, max_running=2)
    assert [len(array.packs) for array in submission.arrays] == [4]
    most = 0

    def done() -> bool:
        nonlocal most
        running = site.client("squeue", "-h", "-r", "-t", "running").splitlines()
        most = max(most, len(running))
        return all(r.state == "done" for r in read_status(site.root).runs)

    assert until(done), site.picture([c.run_id for c in runs])
    assert 1 <= most <= 2
    assert_undisturbed(site, *runs)
    first = RunFolder(site.root, runs[0].run_id).read_json("environment.json")
    assert len(first["sessions"]) == 1
    record = read_record(site.root, runs[3].run_id)
    assert record.job_id == f"{submission.launches[0].job_id}_1"
    assert record.node in ("n1", "n2", "n3", "n4")
    # A second launch finds nothing to do.
    again = site.submit(*packs)
    assert (again.num_jobs, len(again.done)) == (0, 8)


def test_failure_shows_in_status_and_spares_the_others(site):
    bad, good = tiny(0), tiny(1)
    # A checkpoint whose every byte is wrong: the run can neither go on nor start.
    broken = RunFolder(site.root, bad.run_id)
    (broken.checkpoints / "step-000000010").mkdir(parents=True)
    for name in ("weights.safetensors", "moments.safetensors", "place.json"):
        (broken.checkpoints / "step-000000010" / name).write_text("torn")
    broken.open(bad)
    site.submit([bad, good])
    site.wait_for("done", good)
    site.wait_for("failed", bad)
    assert "No checkpoint can be used" in site.status(bad).detail
    state = ["squeue", "-h", "-t", "all", "-j", site.job(bad), "-o", "%T"]
    assert until(lambda: site.client(*state).strip() == "FAILED")
    assert "PackFailed" in site.status(bad).log.read_text()


def test_failure_before_training_and_the_commands(site, capsys):
    """status, logs and retry, for a job that asked for a GPU where there is none."""
    run, root = tiny(0), str(site.root)
    site.submit([run], execution={"device": "cuda"})
    site.wait_for("failed", run)
    assert "torch finds no GPU" in site.status(run).detail
    failure = RunFolder(site.root, run.run_id).read_json("failure.json")
    assert failure["traceback"].splitlines()[-1].startswith("ValueError")
    assert sweeps(["status", root]) == 0
    assert "1 failed" in capsys.readouterr().out
    assert main(["logs", run.run_id[:12], "--runs", root]) == 0
    assert "torch finds no GPU" in capsys.readouterr().out
    # Once its job has ended it can be sent again, and the old failure is history.
    file = site.root.parent / "site.toml"
    file.write_text("memory_gb = 0.5\n[environment]\nOMP_NUM_THREADS = 1\n")
    again = ["retry", root, "--on", "slurm", "--profile", str(file)]
    again += ["--states", "failed"]

    def says(words: str, *more: str) -> bool:
        assert sweeps([*again, *more]) == 0
        return words in capsys.readouterr().out

    assert until(lambda: says("#SBATCH --mem=512M", "--dry-run"))
    assert says("1 runs in 1 jobs to send")
    site.wait_for("done", run)


def test_cancel_and_launch_again(site, assert_undisturbed):
    running, neighbour = tiny(0, LONG), tiny(1, LONG)
    waiting = tiny(2, LONG)
    site.submit([running, neighbour], [waiting], max_running=1, braked=True)
    site.wait_for_checkpoint(running)
    assert site.state(waiting) == "queued"
    ended = cancel(site.root, [running.run_id])
    assert {r.run_id for r in ended} == {running.run_id, neighbour.run_id}
    site.wait_for("cancelled", running, neighbour)
    cancel(site.root, states=["queued", "running"])
    site.wait_for("cancelled", waiting)
    site.submit([running, neighbour])
    site.wait_for("done", running, neighbour)
    assert read_record(site.root, running.run_id).reached_step > 0
    assert_undisturbed(site, running, neighbour)


def test_scancel_from_outside_is_not_a_failure(site):
    run = tiny(0, LONG)
    site.submit([run], braked=True)
    site.wait_for_checkpoint(run)
    site.client("scancel", site.job(run))
    site.wait_for("cancelled", run)


def test_scontrol_requeue(site, assert_undisturbed):
    runs = [tiny(0, LONG), tiny(1, LONG)]
    site.submit(runs, braked=True)
    site.wait_for_checkpoint(runs[0])
    site.client("scontrol", "requeue", site.job(runs[0]))
    site.brake.release()
    site.wait_for("done", *runs)
    record = read_record(site.root, runs[0].run_id)
    assert record.restarts == 1
    assert record.reached_step > 0
    assert_undisturbed(site, *runs)


def take_node(site, node: str) -> None:
    """A job that needs all of a node, with priority over packs, has made its way."""
    options = f"-p high -w {node} -N 1 -n 2 --mem=100 --parsable -o /dev/null --wrap"
    job = site.client("sbatch", *options.split(), "sleep 1").strip()
    state = ["squeue", "-h", "-t", "all", "-j", job, "-o", "%T"]
    started = ("RUNNING", "COMPLETED", "COMPLETING")
    assert until(lambda: site.client(*state).strip() in started)


@pytest.mark.parametrize("grace_s", [GRACE_S, 0])
def test_preemption(site, assert_undisturbed, grace_s):
    """A higher-priority job takes the node; packs checkpoint and come back."""
    site.client("scontrol", "update", "partitionname=low", f"gracetime={grace_s}")
    runs = [tiny(0, LONG), tiny(1, LONG)][: 2 if grace_s else 1]  # an array, a job
    try:
        packs = [[run] for run in runs]
        site.submit(*packs, sbatch={"nodelist": "n1"}, braked=True)
        for run in runs:
            site.wait_for_checkpoint(run)
        began = time.monotonic()
        take_node(site, "n1")
        if grace_s:  # the packs have made room, they were not thrown out
            assert time.monotonic() - began < 0.75 * grace_s
        site.brake.release()

        def back() -> bool:
            seen = {site.state(run) for run in runs}
            assert seen <= {"queued", "running", "done"}, site.picture(
                [run.run_id for run in runs]
            )
            return seen == {"done"}

        assert until(back)
    finally:
        site.client("scontrol", "update", "partitionname=low", "gracetime=10")
    for run in runs:
        record = read_record(site.root, run.run_id)
        assert record.restarts == 1
        assert record.reached_step > 0
    if grace_s:
        assert "stopped by" in site.status(runs[0]).log.read_text()
    assert_undisturbed(site, *runs)


def test_preemption_while_loading(site, assert_undisturbed):
    run = tiny(0, LONG)
    site.submit([run], sbatch={"nodelist": "n1"}, braked=True)
    running = ["squeue", "-h", "-t", "running", "-j", site.job(run)]
    assert until(lambda: site.client(*running))
    time.sleep(0.3)
    take_node(site, "n1")
    site.brake.release()
    site.wait_for("done", run)
    assert read_record(site.root, run.run_id).restarts == 1
    assert_undisturbed(site, run)


def test_node_failure(site, assert_undisturbed):
    run = tiny(0, LONG)
    site.submit([run], braked=True)
    site.wait_for_checkpoint(run)
    node = read_record(site.root, run.run_id).node
    crash_node(site.options, node)
    for _ in range(10):
        assert site.state(run) in ("queued", "running", "done")
        time.sleep(0.2)
    site.brake.release()
    site.wait_for("done", run)
    record = read_record(site.root, run.run_id)
    assert record.node != node
    assert record.reached_step > 0
    assert_undisturbed(site, run)
    assert until(lambda: private.up(site.options).nodes[node] == "idle")


def test_time_limit(site, assert_undisturbed):
    """The limit comes near: the pack is warned, requeues itself and goes on.

    The limit is set when the first checkpoint is there, however long loading took: to
    the first whole minute that leaves time for the warning.
    """
    run = tiny(0, 1000)
    site.submit([run], signal_delay_s=30, braked=True)
    site.wait_for_checkpoint(run)
    words = site.client("squeue", "-h", "-j", site.job(run), "-o", "%M").strip()
    seconds = sum(int(n) * 60**k for k, n in enumerate(reversed(words.split(":"))))
    limit = f"timelimit={(seconds + 60) // 60 + 1}"
    site.client("scontrol", "update", f"jobid={site.job(run)}", limit)
    job = ["squeue", "-h", "-t", "all", "-j", site.job(run), "-o", "%T"]
    assert until(lambda: site.client(*job).strip() == "PENDING" or restarts(site, run))
    # Loading may take minutes on a busy machine: the second attempt gets its time.
    site.client("scontrol", "update", f"jobid={site.job(run)}", "timelimit=60")
    site.brake.release()
    site.wait_for("done", run)
    record = read_record(site.root, run.run_id)
    assert record.restarts >= 1
    assert record.reached_step > 0
    assert_undisturbed(site, run)


def test_controller_killed_and_restarted(site, assert_undisturbed):
    run, other = tiny(0, LONG), tiny(1)
    site.submit([run], braked=True)
    site.wait_for_checkpoint(run)
    time.sleep(max(0.0, 4 - site_age(site, run)))
    controller = controller_daemon(site.options)
    os.kill(controller.pid(), 9)
    before = {path.name for path in site.root.iterdir()}
    launched = {path.name for path in (site.root / ".slurm").iterdir()}
    with pytest.raises(Exception, match=r"squeue failed|no answer"):
        site.submit([other])
    assert {path.name for path in site.root.iterdir()} == before
    assert {path.name for path in (site.root / ".slurm").iterdir()} == launched
    shown = read_status(site.root)
    assert not shown.queue_known
    assert shown.runs[0].state == "running"
    site.brake.release()
    private.up(site.options)
    site.wait_for("done", run)
    assert_undisturbed(site, run)
    sessions = RunFolder(site.root, run.run_id).read_json("environment.json")
    assert len(sessions["sessions"]) == 1


def restarts(site, run) -> int:
    """How often the job of a run was begun again, as its worker saw it."""
    return read_record(site.root, run.run_id).restarts


def site_age(site, run) -> float:
    """Seconds since the worker took the run up."""
    return time.time() - read_record(site.root, run.run_id).started
