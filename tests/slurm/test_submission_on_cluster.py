"""Submitting packs to a real cluster: limits, refusals, killed launchers, snapshots."""

import json
import math
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from slurm import clients
from slurm.job_record import read_record
from slurm.ledger import read_launches
from slurm.queue import read_queue
from slurm.status import cancel, read_status
from slurm.submission import SubmissionRefused, submit
from sweeps.launch import LaunchOptions, launch
from sweeps.launch_display import Display
from sweeps.slurm_executor import OnCluster
from sweeps.survey import read_configs
from synth.run import code_copy as snapshot
from synth.run.execution import Execution
from synth.run.store import RunFolder
from synth.training import train

from .conftest import MAX_ARRAY_SIZE, tiny, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

REPOSITORY = Path(snapshot.HERE)


def everything(root: Path) -> list[str]:
    """All there is below a folder."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_more_packs_than_an_array_takes(site):
    """Twenty packs become arrays of 9, 9 and 2; held in the queue, then cancelled."""
    packs = [[tiny(seed)] for seed in range(2 * MAX_ARRAY_SIZE + 2)]
    later = {"begin": "now+1hour"}
    submission = site.submit(*packs, sbatch=later)
    assert [len(launch.packs) for launch in submission.launches] == [9, 9, 2]
    queue = read_queue()
    assert sorted(entry.name for entry in queue.values() if entry.live) == sorted(
        launch.name for launch in submission.launches for _ in launch.packs
    )
    again = site.submit(*packs, [tiny(99)], sbatch=later)
    assert (len(again.queued), again.num_jobs) == (20, 1)
    assert site.job(tiny(99)).isdigit()  # a list of one is no array


def test_launches_before_a_refusal_stay_known(site):
    """The queue takes nine jobs, then no more; a later launch sends the rest."""
    packs = [[tiny(seed)] for seed in range(MAX_ARRAY_SIZE + 3)]
    sent = []

    def refusing_later(*command, **how):
        if command[0] == "sbatch":
            sent.append(command)
            command += ("-p", "nowhere") if len(sent) > 1 else ()
        return clients.ask(*command, **how)

    with pytest.raises(SubmissionRefused, match="invalid partition") as caught:
        site.submit(*packs, sbatch={"begin": "now+1hour"}, ask=refusing_later)
    assert [len(launch.packs) for launch in caught.value.launches] == [9]
    assert [launch.name for launch in read_launches(site.root)] == [
        caught.value.launches[0].name
    ]
    submission = site.submit(*packs, sbatch={"begin": "now+1hour"})
    assert (len(submission.queued), submission.num_jobs) == (9, 3)


@pytest.mark.parametrize(
    ("launch_options", "words"),
    [
        ({"partition": "nowhere"}, "invalid partition"),
        ({"gpus": 3, "tasks": 3}, "node configuration is not available"),
        ({"memory_gb": 999.0}, "[Mm]emory"),
        ({"sbatch": {"array": "0-1000"}}, "max_running"),
    ],
)
def test_a_refused_submission_leaves_nothing(site, launch_options, words):
    site.submit([tiny(0)], sbatch={"begin": "now+1hour"})
    files, queue = everything(site.root), read_queue()
    with pytest.raises((SubmissionRefused, ValueError), match=words):
        site.submit([tiny(1)], [tiny(2)], **launch_options)
    assert everything(site.root) == files
    # SLURM lists some refused jobs for a while, as failed; none of them may be alive.
    assert {k for k, v in read_queue().items() if v.live} == {
        k for k, v in queue.items() if v.live
    }
    assert site.state(tiny(1)) == "new"


KILLED = """
    import os, sys
    sys.path.insert(0, {repository!r})
    from pathlib import Path
    from tests.slurm.conftest import tiny
    from slurm.profile import Profile
    from slurm.submission import submit
    import slurm.ledger, slurm.submission

    def die(*_, **__):
        os._exit(9)

    genuine = slurm.submission._sbatch
    slurm.submission._sbatch = lambda *words: die(genuine(*words))
    {patch} = die
    profile = Profile(name="test", memory_gb=0.5, environment={{"OMP_NUM_THREADS": "1"}})
    submit([[tiny(0)], [tiny(1)]], Path({root!r}), profile, "test")
"""


@pytest.mark.parametrize(
    "patch",
    [
        "unused",  # right after sbatch
        # in between
        "slurm.submission._sbatch = genuine; slurm.ledger.SubmittedArray._write_record",
    ],
)
def test_launcher_killed_between_submission_and_record(site, assert_undisturbed, patch):
    script = textwrap.dedent(KILLED).format(
        repository=str(REPOSITORY), root=str(site.root), patch=patch
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY)
    assert killed.returncode == 9
    runs = [tiny(0), tiny(1)]
    submission = site.submit(*[[run] for run in runs])
    assert submission.num_jobs == 0
    assert len(submission.queued) + len(submission.done) == 2
    assert any("is recorded now" in sentence for sentence in submission.news)
    site.wait_for("done", *runs)
    assert_undisturbed(site, *runs)
    for run in runs:
        sessions = RunFolder(site.root, run.run_id).read_json("environment.json")
        assert len(sessions["sessions"]) == 1


def test_launcher_killed_before_submission(site):
    script = textwrap.dedent(KILLED).format(
        repository=str(REPOSITORY),
        root=str(site.root),
        patch="slurm.submission._sbatch",
    )
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 9
    )
    found = read_status(site.root, [tiny(0).run_id])
    assert "never reached the cluster" in found.news[0]
    assert found.runs[0].state == "new"
    assert list(read_launches(site.root)) == []


def test_a_killed_worker_is_reported_without_accounting(site):
    run = tiny(0, 200)
    site.submit([run], sbatch={"comment": "to be killed"}, braked=True)
    site.wait_for_checkpoint(run)
    (pid,) = site.client("scontrol", "listpids", f"{site.job(run)}.0").splitlines()[1:2]
    os.kill(int(pid.split()[0]), 9)
    site.wait_for("lost", run)
    assert "SLURM says FAILED" in site.status(run).detail
    assert site.submit([run], sbatch={"begin": "now+1hour"}).num_jobs == 1
    assert site.state(run) == "queued"


def test_the_dry_run_shows_what_sbatch_gets(site):
    packs = [[tiny(0)], [tiny(1)]]
    profile = site.profile
    before = read_queue().keys()
    plan = submit(packs, site.root, profile, "test", dry_run=True)
    assert not site.root.exists()
    assert read_queue().keys() <= before
    submission = site.submit(*packs)
    launch = submission.launches[0]
    script = launch.folder / "submission.sh"
    code = re.search(r"code/([0-9a-f]{16})", script.read_text())
    assert code is not None
    expected = plan.scripts[0].replace("DATE-TIME-test", launch.name)
    assert script.read_text() == expected.replace("DIGEST", code[1])
    assert site.client(
        "scontrol", "write", "batch_script", str(launch.job_id), "-"
    ) in (
        script.read_text(),
        script.read_text() + "\n",
    )
    site.wait_for("done", tiny(0), tiny(1))


def test_queued_jobs_run_the_code_that_they_were_submitted_with(site, tmp_path):
    """The sources change after submission; the job is not impressed."""
    checkout = tmp_path / "checkout"
    for package in snapshot.PACKAGES:
        subprocess.run(["mkdir", "-p", str(checkout)], check=True)
        subprocess.run(["cp", "-r", str(REPOSITORY / package), checkout], check=True)
    script = f"""
        import sys
        sys.path.insert(0, {str(checkout)!r}); sys.path.append({str(REPOSITORY)!r})
        from pathlib import Path
        from tests.slurm.conftest import tiny
        from slurm.profile import Profile
        from slurm.submission import submit
        profile = Profile(name="test", memory_gb=0.5, sbatch={{"begin": "now+2"}})
        submit([[tiny(0)]], Path({str(site.root)!r}), profile, "test")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    subprocess.run(command, cwd=checkout, check=True)
    (checkout / "synth" / "training.py").write_text("raise RuntimeError('edited')\n")
    site.wait_for("done", tiny(0))
    found = RunFolder(site.root, tiny(0).run_id).read_json("environment.json")
    assert found["sessions"][0]["code"].keys() >= {"commit", "patch"}


def test_nested_submission_is_refused(site):
    script = f"""
        import sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from tests.slurm.conftest import tiny
        from slurm.profile import Profile
        from slurm.submission import submit
        submit([[tiny(0)]], Path({str(site.root)!r}), Profile(name="test"))
    """
    file = site.root.parent / "nested.py"
    file.write_text(textwrap.dedent(script))
    log = site.root.parent / "nested.log"
    wrap = f"{sys.executable} {file}"
    words = ["sbatch", "--parsable", "--array=0-1", "-o", str(log), "--mem=500"]
    job = site.client(*words, "--open-mode=append", "--wrap", wrap)
    own = {job.strip(), f"{job.strip()}_0", f"{job.strip()}_1"}
    assert until(lambda: log.exists() and log.read_text().count("ValueError: ") == 2)
    assert "must not submit others" in log.read_text()
    assert {key for key, entry in read_queue().items() if entry.live} <= own
    assert not site.root.exists()


SETTINGS = {
    # Of a person's shell: each hides jobs, or overrides the profile.
    "SQUEUE_PARTITION": "high",
    "SQUEUE_NAMES": "another",
    "SQUEUE_FORMAT": "%i",
    "SBATCH_PARTITION": "high",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_NO_REQUEUE": "1",
    "SLURM_TIME_FORMAT": "relative",
    "SCANCEL_STATE": "SUSPENDED",
    # Of an interactive job: they reach the job's srun, which refuses them.
    "SLURM_JOB_ID": "77",
    "SLURM_MEM_PER_CPU": "100",
    "SLURM_NTASKS": "64",
    "SLURM_NNODES": "4",
    "SLURM_CPUS_PER_TASK": "9",
    "SLURM_ARRAY_TASK_ID": "5",
}


def test_settings_of_the_shell_change_nothing(site, monkeypatch, assert_undisturbed):
    """Launched, looked at and cancelled from an interactive job full of variables."""
    run, other = tiny(0), tiny(1, 200)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    site.submit([run], [other], max_running=1, braked=True)
    words = ["scontrol", "show", "job", site.job(run)]
    monkeypatch.undo()
    monkeypatch.setenv("SLURM_CONF", str(site.options.conf))
    shown = site.client(*words)
    for expected in ("Partition=low", "TimeLimit=00:20:00", "Requeue=1"):
        assert expected in shown
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    assert site.state(run) in ("queued", "running", "done")
    assert site.submit([run], [other]).num_jobs == 0
    site.brake.release()
    site.wait_for("done", run)
    cancel(site.root, [other.run_id])
    site.wait_for("cancelled", other)
    assert_undisturbed(site, run)


@pytest.mark.parametrize(
    ("launch_options", "words"),
    [
        ({"memory_gb": 0}, "MinMemoryCPU=500M"),  # what the site gives by itself
        ({"memory_gb": 0, "memory_per_cpu_gb": 0.25}, "MinMemoryCPU=256M"),
        ({"memory_gb": 0.5}, "MinMemoryNode=512M"),
    ],
)
def test_memory_as_the_site_counts_it(site, launch_options, words):
    run = tiny(0)
    site.submit([run], **launch_options)
    assert words in site.client("scontrol", "show", "job", site.job(run))
    site.wait_for("done", run)


@pytest.mark.parametrize("packs", [1, 2])
def test_a_folder_whose_name_looks_like_a_pattern(site, packs):
    """Logs lie where `logs` looks, and no folder with a made-up name appears."""
    outside = site.root.parent
    site.root = outside / "50% of %j's $HOME and %A_%a"
    cache = {"SYNTH_CACHE": "~/$SLURM_JOB_ID", "HOME": str(outside / "home")}
    runs = [tiny(seed) for seed in range(packs)]
    environment = site.profile.environment | cache
    site.submit(*[[run] for run in runs], environment=environment)
    site.wait_for("done", *runs)
    for run in runs:
        assert run.run_id in site.status(run).log.read_text()
    assert {path.name for path in outside.iterdir()} <= {
        site.root.name,
        "brake",
        "home",
    }


def again(site, *states):
    """`python -m sweeps retry` for a folder: what was sent."""
    return launch(
        "retry",
        read_configs(site.root)[0],
        site.root,
        OnCluster(site.profile, "retry"),
        LaunchOptions(
            execution=site.profile.build_execution(),
            lanes=site.profile.lanes,
            states=states,
        ),
        Display(quiet=True),
        "in_domain/exact_match",
    )


def test_runs_of_a_job_that_never_started_are_sent_again(site):
    run = tiny(0)
    site.submit([run], sbatch={"begin": "now+1hour"})
    cancel(site.root)
    site.wait_for("cancelled", run)
    assert [o.state for o in again(site, "cancelled")] == ["queued"]
    site.wait_for("done", run)


def test_one_damaged_folder_of_a_pack(site, assert_undisturbed):
    """Its neighbours are done; sent again it is alone, and says what is wrong."""
    runs = [tiny(seed) for seed in range(3)]
    folder = RunFolder(site.root, runs[1].run_id)
    folder.open(runs[1])
    (folder.path / "config.json").write_text("{")
    site.submit(runs)
    site.wait_for("done", runs[0], runs[2])
    site.wait_for("failed", runs[1])
    assert "config.json" in site.status(runs[1]).detail
    state = ["squeue", "-h", "-t", "all", "-j", site.job(runs[1]), "-o", "%T"]
    assert until(lambda: site.client(*state).strip() == "FAILED")
    assert again(site, "failed") == []
    assert "left out" in read_configs(site.root)[1][0]
    (folder.path / "config.json").unlink()
    assert [o.run_id for o in again(site, "failed")] == [runs[1].run_id]
    site.wait_for("done", runs[1])
    assert_undisturbed(site, *runs)


def test_two_nodes_train_one_run_data_parallel(site, tmp_path):
    """Four processes on two nodes, requeued once: as one process, up to rounding."""
    run = tiny(0, 80)
    train([run], tmp_path / "alone", Execution())
    often = {"checkpoint_every_seconds": 0.2}
    site.submit([run], nodes=2, tasks=2, execution=often, braked=True)
    site.wait_for_checkpoint(run)
    site.client("scontrol", "requeue", site.job(run))
    site.brake.release()
    site.wait_for("done", run)
    record = read_record(site.root, run.run_id)
    assert record.restarts == 1
    assert record.reached_step > 0
    ours = RunFolder(site.root, run.run_id).metrics_path.read_text().splitlines()
    alone = RunFolder(tmp_path / "alone", run.run_id).metrics_path.read_text()
    rows = list(
        zip(map(json.loads, ours), map(json.loads, alone.splitlines()), strict=True)
    )
    for mine, theirs in rows:
        assert {**mine, "value": 0} == {**theirs, "value": 0}
        if mine["metric"] in ("loss", "gradient_norm"):
            assert math.isclose(mine["value"], theirs["value"], rel_tol=2e-4)
    assert len(rows) > 10
    logs = list((site.root / ".slurm").glob("*/*_log.out"))
    assert len(logs) == 4  # one a process
