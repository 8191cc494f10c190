"""Packs on a real cluster: trained, failed, cancelled, interrupted in every way."""

import os
import time

import pytest

from slurm import cluster as private
from slurm.__main__ import main
from slurm.ledger import read_record
from slurm.status import cancel, read_status
from synth.store import RunFolder

from .conftest import tiny, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

LONG = 200
"""Steps of a run that is to be interrupted."""
STEP_S = 0.03
"""How long each of them lasts: six seconds in all."""


def test_array_equals_local(site, assert_undisturbed):
    packs = [[tiny(2 * i), tiny(2 * i + 1)] for i in range(4)]
    runs = [config for pack in packs for config in pack]
    sending = site.submit(*packs, gpus=1, execution={"device": "cpu"}, max_running=2)
    assert [len(array.packs) for array in sending.arrays] == [4]
    most = 0

    def done() -> bool:
        nonlocal most
        running = site.client("squeue", "-h", "-r", "-t", "running").splitlines()
        most = max(most, len(running))
        return all(r.state == "done" for r in read_status(site.root).runs)

    assert until(done, 60), site.picture([c.run_id for c in runs])
    assert 1 <= most <= 2
    assert_undisturbed(site, *runs)
    first = RunFolder(site.root, runs[0].run_id).read_json("environment.json")
    assert len(first["sessions"]) == 1
    record = read_record(site.root, runs[3].run_id)
    assert record.job_id == f"{sending.launches[0].job_id}_1"
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
    site.wait_for("failed", bad, timeout_s=10)
    assert "No checkpoint can be read" in site.status(bad).detail
    state = ["squeue", "-h", "-t", "all", "-j", site.job(bad), "-o", "%T"]
    assert until(lambda: site.client(*state).strip() == "FAILED", 10)
    assert "PackFailed" in site.status(bad).log.read_text()


def test_failure_before_training_and_the_commands(site, capsys):
    """status, logs and retry, for a job that asked for a GPU where there is none."""
    run, root = tiny(0), str(site.root)
    site.submit([run], execution={"device": "cuda"})
    site.wait_for("failed", run, timeout_s=30)
    assert "torch finds no GPU" in site.status(run).detail
    failure = RunFolder(site.root, run.run_id).read_json("failure.json")
    assert failure["traceback"].splitlines()[-1].startswith("ValueError")
    assert main(["status", root]) == 0
    assert "1 failed" in capsys.readouterr().out
    assert main(["logs", root, run.run_id[:12]]) == 0
    assert "torch finds no GPU" in capsys.readouterr().out
    # Once its job has ended it can be sent again, and the old failure is history.
    file = site.root.parent / "site.toml"
    file.write_text("memory_gb = 0.5\n[environment]\nOMP_NUM_THREADS = 1\n")
    again = ["retry", root, "--profile", str(file), "--states", "failed"]

    def says(words: str, *more: str) -> bool:
        assert main([*again, *more]) == 0
        return words in capsys.readouterr().out

    assert until(lambda: says("#SBATCH --mem=512M", "--dry-run"), 20)
    assert says("1 runs in 1 jobs to send")
    assert site.state(run) in ("queued", "running")
    site.wait_for("done", run)


def test_cancel_and_launch_again(site, assert_undisturbed):
    running, neighbour = tiny(0, LONG), tiny(1, LONG)
    waiting = tiny(2, LONG)
    site.submit([running, neighbour], [waiting], max_running=1, step_s=STEP_S)
    site.wait_for_checkpoint(running)
    assert site.state(waiting) == "queued"
    began = time.monotonic()
    ended = cancel(site.root, [running.run_id])
    assert {r.run_id for r in ended} == {running.run_id, neighbour.run_id}
    site.wait_for("cancelled", running, neighbour, timeout_s=15)
    assert time.monotonic() - began < 15
    cancel(site.root, states=["queued", "running"])
    site.wait_for("cancelled", waiting, timeout_s=15)
    site.submit([running, neighbour])
    site.wait_for("done", running, neighbour)
    assert read_record(site.root, running.run_id).reached_step > 0
    assert_undisturbed(site, running, neighbour)


def test_scancel_from_outside_is_not_a_failure(site):
    run = tiny(0, LONG)
    site.submit([run], step_s=STEP_S)
    site.wait_for_checkpoint(run)
    site.client("scancel", site.job(run))
    site.wait_for("cancelled", run, timeout_s=20)


def test_scontrol_requeue(site, assert_undisturbed):
    runs = [tiny(0, LONG), tiny(1, LONG)]
    site.submit(runs, step_s=STEP_S)
    site.wait_for_checkpoint(runs[0])
    site.client("scontrol", "requeue", site.job(runs[0]))
    site.wait_for("done", *runs)
    record = read_record(site.root, runs[0].run_id)
    assert record.restarts == 1
    assert record.reached_step > 0
    assert_undisturbed(site, *runs)


def take_node(site, node: str) -> str:
    """Send a job that needs all of a node, with priority over packs."""
    wishes = f"-p high -w {node} -N 1 -n 2 --mem=100 --parsable -o /dev/null --wrap"
    return site.client("sbatch", *wishes.split(), "sleep 1").strip()


@pytest.mark.parametrize("grace_s", [10, 0])
def test_preemption(site, assert_undisturbed, grace_s):
    """A higher-priority job takes the node; packs checkpoint and come back."""
    site.client("scontrol", "update", "partitionname=low", f"gracetime={grace_s}")
    runs = [tiny(0, LONG), tiny(1, LONG)][: 2 if grace_s else 1]  # an array, a job
    try:
        packs = [[run] for run in runs]
        site.submit(*packs, sbatch={"nodelist": "n1"}, step_s=STEP_S)
        for run in runs:
            site.wait_for_checkpoint(run)
        began = time.monotonic()
        state = ["squeue", "-h", "-t", "all", "-j", take_node(site, "n1"), "-o", "%T"]
        started = ("RUNNING", "COMPLETED", "COMPLETING")
        assert until(lambda: site.client(*state).strip() in started, 15)
        assert time.monotonic() - began < 8  # well before the end of a grace time
        while "done" not in (seen := {site.state(run) for run in runs}):
            assert seen <= {"queued", "running"}, site.picture([r.run_id for r in runs])
            time.sleep(0.5)
        site.wait_for("done", *runs)
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
    run = tiny(0, 100)
    site.submit([run], sbatch={"nodelist": "n1"})
    running = ["squeue", "-h", "-t", "running", "-j", site.job(run)]
    assert until(lambda: site.client(*running), 10)
    time.sleep(0.3)
    take_node(site, "n1")
    site.wait_for("done", run)
    assert read_record(site.root, run.run_id).restarts == 1
    assert_undisturbed(site, run)


def test_node_failure(site, assert_undisturbed):
    run = tiny(0, LONG)
    site.submit([run], step_s=STEP_S)
    site.wait_for_checkpoint(run)
    node = read_record(site.root, run.run_id).node
    private.crash_node(site.options, node)
    for _ in range(10):
        assert site.state(run) in ("queued", "running", "done")
        time.sleep(0.2)
    site.wait_for("done", run)
    record = read_record(site.root, run.run_id)
    assert record.node != node
    assert record.reached_step > 0
    assert_undisturbed(site, run)
    assert private.up(site.options).nodes[node] == "idle"


def test_time_limit(site, assert_undisturbed):
    """A limit of one minute: the pack is warned, requeues itself and goes on."""
    run = tiny(0, 250)
    site.submit([run], time=1, signal_delay_s=10, step_s=0.2)
    site.wait_for("done", run, timeout_s=150)
    record = read_record(site.root, run.run_id)
    assert record.restarts >= 1
    assert record.reached_step > 0
    assert_undisturbed(site, run)


def test_controller_killed_and_restarted(site, assert_undisturbed):
    run, other = tiny(0, LONG), tiny(1)
    site.submit([run], step_s=2 * STEP_S)
    site.wait_for_checkpoint(run)
    time.sleep(max(0.0, 4 - site_age(site, run)))
    controller = private.controller_daemon(site.options)
    os.kill(controller.pid(), 9)
    before = sorted(p.name for p in site.root.rglob("*") if "checkpoint" not in str(p))
    began = time.monotonic()
    with pytest.raises(Exception, match=r"squeue failed|no answer"):
        site.submit([other])
    assert time.monotonic() - began < 31
    after = sorted(p.name for p in site.root.rglob("*") if "checkpoint" not in str(p))
    assert [name for name in after if name not in before] in ([], ["result.json"])
    shown = read_status(site.root)
    assert not shown.queue_known
    assert shown.runs[0].state in ("running", "done")
    private.up(site.options)
    site.wait_for("done", run)
    assert_undisturbed(site, run)
    sessions = RunFolder(site.root, run.run_id).read_json("environment.json")
    assert len(sessions["sessions"]) == 1


def site_age(site, run) -> float:
    """Seconds since the worker took the run up."""
    return time.time() - read_record(site.root, run.run_id).started
