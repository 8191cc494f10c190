"""Submits packs to the cluster: missing runs that are not queued yet, as job arrays.

The order of writing makes it safe to kill a launcher: first the launch's folder with its
plan, then sbatch, the job id in the launch, and a record in every run folder. The next call
completes what a killed launcher left unfinished.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slurm import clients
from slurm import queue as scheduler
from slurm.arrays import ArrayPlan, JobRuns, Limits, plan_arrays
from slurm.clients import Ask, QueueUnavailable, complaint
from slurm.job_record import FOLDER, read_record
from slurm.ledger import (
    SubmittedArray,
    launch_owners,
    launch_roots,
    lock_launches,
    read_launches,
    reconcile,
)
from slurm.profile import Profile
from slurm.queue import Queue, is_job_id
from slurm.script import render_script
from synth.disk.files import write_atomically
from synth.families import plugins
from synth.run import code_copy as snapshot
from synth.run.defining_code import refuse_other_code
from synth.run.execution import Execution
from synth.run.store import RunFolder

SBATCH_TIMEOUT_S = 120.0
"""Long, since a busy controller is slow and may accept a job after a timeout."""


class SubmissionRefused(RuntimeError):
    """sbatch refused an array; `launches` are those submitted before it."""

    def __init__(self, message: str, launches: "list[SubmittedArray]") -> None:
        super().__init__(message)
        self.launches = launches


@dataclass(frozen=True)
class Submission:
    """The result of a submission, or the plan of a dry run."""

    arrays: list[ArrayPlan]
    scripts: list[str]
    """The sbatch script of each array."""
    launches: list[SubmittedArray]
    """The submitted arrays; empty in a dry run."""
    done: list[str]
    """Run ids that are done."""
    queued: list[str]
    """Run ids of live jobs."""
    held_back: list[str]
    """Run ids for which the queue has no room; the next launch submits them."""
    news: list[str] = field(default_factory=list)
    """Sentences about earlier launches."""

    @property
    def num_jobs(self) -> int:
        """Number of elements of all arrays."""
        return sum(len(array.packs) for array in self.arrays)

    def describe(self) -> str:
        """The plan as text."""
        runs = sum(len(pack) for array in self.arrays for pack in array.packs)
        lines = [*self.news, f"{runs} runs in {self.num_jobs} jobs to send"]
        for index, array in enumerate(self.arrays):
            wait = "" if array.after is None else f", after array {array.after}"
            lines.append(
                f"  array {index}: {len(array.packs)} jobs, "
                f"{array.parallelism} at a time{wait}"
            )
        for names, what in (
            (self.done, "done"),
            (self.queued, "queued or running"),
            (self.held_back, "held back: the queue is full, launch again later"),
        ):
            if names:
                lines.append(f"{len(names)} runs {what}")
        return "\n".join(lines)


def submit(
    packs: Sequence[JobRuns],
    root: Path,
    profile: Profile,
    label: str = "runs",
    *,
    execution: Execution | None = None,
    dry_run: bool = False,
    ask: Ask = clients.ask,
) -> Submission:
    """Submit every run of `packs` that is neither done nor queued; one job a pack.

    `execution` defaults to the profile's.

    Raises `QueueUnavailable` when the scheduler does not answer, so that the queue is
    unknown. Raises `SubmissionRefused` with sbatch's message; arrays submitted before
    stay recorded. Raises `ValueError` inside an array job, while another launcher runs,
    for a profile that cannot be rendered, or when another version of the code began a
    run and that is not accepted.
    """
    refuse_inside_job(os.environ)
    root = root.absolute()
    if profile.num_processes > 1:
        from slurm.data_parallel import check_shares  # torch: only where it is needed

        for pack in packs:
            check_shares(pack[0], profile.num_processes)
    if dry_run:
        return _plan(packs, root, profile, label, ask, [])
    with lock_launches(root):
        news = reconcile(root, scheduler.read_queue(ask, launch_owners([root])))
        submission = _plan(packs, root, profile, label, ask, news)
        if not submission.arrays:
            return submission
        how = execution or profile.build_execution()
        runs = [c for a in submission.arrays for pack in a.packs for c in pack]
        if not how.accept_code_change:
            refuse_other_code(root, runs)
        files = plugins.copies(runs)
        # The job imports a sweep file that defines a task, and with it its sweep.
        packages = (*snapshot.PACKAGES, *(("sweeps",) if files else ()))
        code = snapshot.take(root, FOLDER, packages=packages, more=files)
        launches: list[SubmittedArray] = []
        for array in submission.arrays:
            launch = _submit_array(
                array, launches, root, profile, how, label, code, ask
            )
            launches.append(launch)
    return dataclasses.replace(submission, launches=launches)


def refuse_inside_job(environment: Mapping[str, str]) -> None:
    """Refuse to launch from an array job, where each element would launch.

    Launching from an interactive job is allowed.
    """
    for name in ("SUBMITIT_EXECUTOR", "SLURM_ARRAY_JOB_ID"):
        if environment.get(name):
            raise ValueError(
                f"{name} is set: this is an element of an array, and it must not submit "
                "others (every element would). Launch from a login node, or from an "
                "interactive job."
            )


def live_jobs(root: Path, run_ids: Iterable[str], queue: Queue) -> dict[str, str]:
    """The job id of every run that has a live job.

    Read from the launches of `root`, else from the runs' records: a launch may be of
    another sweep that shares the run, or cannot be read.
    """
    names = {entry.name for entry in queue.values() if entry.live}
    job_ids: dict[str, str] = {}
    for launch in read_launches(root):
        if launch.job_id is None or launch.name not in names:
            continue
        for element, pack in enumerate(launch.packs):
            job_id = launch.element_id(element)
            if _is_live(queue, job_id, launch.name):
                job_ids |= dict.fromkeys(pack, job_id)
    wanted = set(run_ids)
    for run_id in wanted - job_ids.keys():
        with contextlib.suppress(OSError, ValueError):
            record = read_record(root, run_id)
            if record and _is_live(queue, record.job_id, record.launch):
                job_ids[run_id] = record.job_id
    return {run_id: job_id for run_id, job_id in job_ids.items() if run_id in wanted}


def _is_live(queue: Queue, job_id: str, name: str) -> bool:
    """Whether a job is live; compares its name too, since a new cluster reuses ids."""
    entry = queue.get(job_id)
    return entry is not None and entry.live and entry.name == name


def _is_done(root: Path, run_id: str) -> bool:
    """Whether a run is done; False for an unreadable folder, whose training then fails."""
    try:
        return RunFolder(root, run_id).state() == "done"
    except (OSError, ValueError):
        return False


def _plan(
    packs: Sequence[JobRuns],
    root: Path,
    profile: Profile,
    label: str,
    ask: Ask,
    news: list[str],
) -> Submission:
    ids = [config.run_id for pack in packs for config in pack]
    queue = scheduler.read_queue(ask, launch_owners(launch_roots(root, ids)))
    done = {run_id for run_id in ids if _is_done(root, run_id)}
    live = live_jobs(root, [run for run in ids if run not in done], queue)
    missing: list[JobRuns] = [
        [c for c in pack if c.run_id not in done | live.keys()] for pack in packs
    ]
    room = None
    if profile.max_submitted is not None:
        mine = [e for e in queue.values() if e.live and e.user == str(os.getuid())]
        room = profile.max_submitted - len(mine)
    shown = ask("scontrol", "show", "config")
    if shown.returncode:
        raise QueueUnavailable(f"scontrol failed: {complaint(shown)}")
    wanted = [pack for pack in missing if pack]
    plan = plan_arrays(wanted, Limits.parse(shown.stdout), profile.max_running, room)
    name = f"DATE-TIME-{label}"
    folder, code = root / FOLDER / name, root / FOLDER / "code" / "DIGEST"
    scripts = []
    for array in plan.arrays:
        after = None if array.after is None else f"ARRAY-{array.after}"
        scripts.append(render_script(profile, folder, name, array, code, after))
    held = [config.run_id for pack in plan.held_back for config in pack]
    return Submission(plan.arrays, scripts, [], sorted(done), sorted(live), held, news)


def _submit_array(
    array: ArrayPlan,
    before: Sequence[SubmittedArray],
    root: Path,
    profile: Profile,
    execution: Execution,
    label: str,
    code: Path,
    ask: Ask,
) -> SubmittedArray:
    """Call sbatch for one array and record its job id."""
    launch = SubmittedArray.create(
        root,
        label,
        profile.name,
        array.packs,
        execution=dataclasses.asdict(execution),
        max_idle_restarts=profile.max_idle_restarts,
        code=str(code),
    )
    after = None if array.after is None else before[array.after].job_id
    try:
        text = render_script(profile, launch.folder, launch.name, array, code, after)
        write_atomically(launch.folder / "submission.sh", text.encode())
    except (OSError, ValueError):
        launch.discard()
        raise
    try:
        job_id = _sbatch(text, ask)
    except (QueueUnavailable, SubmissionRefused) as error:
        job_id = _handle_refusal(launch, str(error), before, ask)
    return launch.record_job(root, job_id)


def _sbatch(text: str, ask: Ask) -> str:
    """Submit a script; returns the job id.

    The text is passed on standard input, so that it cannot be changed in between.
    """
    answer = ask("sbatch", "--parsable", text=text, timeout_s=SBATCH_TIMEOUT_S)
    if answer.returncode:
        raise SubmissionRefused(_distinct_lines(answer.stderr), [])
    job_id = answer.stdout.strip().partition(";")[0]  # "12;cluster" if several
    if not is_job_id(job_id):
        raise SubmissionRefused(f"sbatch gave no job id but {answer.stdout!r}", [])
    return job_id


def _handle_refusal(
    launch: SubmittedArray, message: str, before: Sequence[SubmittedArray], ask: Ask
) -> str:
    """Remove the launch of a refused array, unless the controller has the job.

    A client may time out after the controller accepted its job; the queue shows it.
    """
    try:
        queue = scheduler.read_queue(ask)
    except QueueUnavailable:
        raise SubmissionRefused(
            f"{message}\nThe controller does not answer either; the next launch or "
            "status finds out whether it accepted the jobs.",
            list(before),
        ) from None
    for entry in queue.values():
        if entry.live and entry.name == launch.name:
            return entry.job_id.partition("_")[0]
    launch.discard()
    raise SubmissionRefused(message, list(before)) from None


def _distinct_lines(stderr: str) -> str:
    """The message of sbatch, without repeated lines."""
    lines = (line.strip() for line in stderr.splitlines())
    return "\n".join(dict.fromkeys(filter(None, lines))) or "sbatch failed."
