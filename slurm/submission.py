"""Packs to the cluster: what is missing and not queued already, as job arrays.

The order of writing is what makes it safe to be killed here: the launch's folder with
its plan, sbatch, the job id in the launch, then a record in every run folder. What a
killed launcher left half-done is settled by the next call.
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
from slurm.clients import Ask, QueueUnavailable
from slurm.job_record import FOLDER, read_record
from slurm.ledger import SentArray, launches, launching, owners, settle
from slurm.profile import Profile
from slurm.queue import Queue, is_job_id
from slurm.script import render
from synth.families import plugins
from synth.run import code_copy as snapshot
from synth.run.defining_code import refuse_other_code
from synth.run.execution import Execution
from synth.run.files import write_atomically
from synth.run.store import RunFolder

SBATCH_TIMEOUT_S = 120.0
"""A busy controller is slow, and after a timeout nobody knows what it took."""


class SubmissionRefused(RuntimeError):
    """sbatch refused an array; `sent` holds the launches before it."""

    def __init__(self, message: str, sent: "list[SentArray]") -> None:
        super().__init__(message)
        self.sent = sent


@dataclass(frozen=True)
class Sending:
    """What a submission did, or in a dry run would do."""

    arrays: list[ArrayPlan]
    scripts: list[str]
    """The sbatch text of each array."""
    launches: list[SentArray]
    """What was sent; empty in a dry run."""
    done: list[str]
    """Run ids that need nothing."""
    queued: list[str]
    """Run ids that a live job has."""
    held_back: list[str]
    """Run ids that the queue has no room for; the next launch sends them."""
    news: list[str] = field(default_factory=list)
    """About earlier launches, a sentence each."""

    @property
    def num_jobs(self) -> int:
        """Elements of all arrays."""
        return sum(len(array.packs) for array in self.arrays)

    def describe(self) -> str:
        """The plan, a line each."""
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
) -> Sending:
    """Send every run of `packs` that is neither done nor queued; one job per pack.

    `execution` is what the profile says unless given here.

    Raises
    ------
    QueueUnavailable
        When the scheduler does not answer, so that nobody knows what is queued.
    SubmissionRefused
        With sbatch's message; what was sent before stays recorded, nothing else is left.
    ValueError
        Inside a job, while another launcher is at work, or for a profile that cannot be
        rendered; or when a run was begun by other code, unless that is accepted.
    """
    refuse_inside_job(os.environ)
    root = root.absolute()
    if profile.num_processes > 1:
        from slurm.data_parallel import check_shares  # torch: only where it is needed

        for pack in packs:
            check_shares(pack[0], profile.num_processes)
    if dry_run:
        return _plan(packs, root, profile, label, ask, [])
    with launching(root):
        news = settle(root, scheduler.read_queue(ask, owners(root)))
        sending = _plan(packs, root, profile, label, ask, news)
        if not sending.arrays:
            return sending
        how = execution or profile.build_execution()
        runs = [c for a in sending.arrays for pack in a.packs for c in pack]
        if not how.accept_code_change:
            refuse_other_code(root, runs)
        files = plugins.copies(runs)
        # A sweep file that defines a task is imported by the job, with its sweep.
        packages = (*snapshot.PACKAGES, *(("sweeps",) if files else ()))
        code = snapshot.take(root, FOLDER, packages=packages, more=files)
        sent: list[SentArray] = []
        for array in sending.arrays:
            sent.append(_send(array, sent, root, profile, how, label, code, ask))
    return dataclasses.replace(sending, launches=sent)


def refuse_inside_job(environment: Mapping[str, str]) -> None:
    """Refuse to launch from an array or a worker, where each element would launch.

    An interactive job is a good place to launch from.
    """
    for name in ("SUBMITIT_EXECUTOR", "SLURM_ARRAY_JOB_ID"):
        if environment.get(name):
            raise ValueError(
                f"{name} is set: this is an element of an array, and it must not submit "
                "others (every element would). Launch from a login node, or from an "
                "interactive job."
            )


def live_runs(root: Path, run_ids: Iterable[str], queue: Queue) -> dict[str, str]:
    """The job id of every run that a live job has.

    Read from the launches; where one of them cannot be read, from the runs' records.
    """
    names = {entry.name for entry in queue.values() if entry.live}
    job_ids: dict[str, str] = {}
    for launch in launches(root):
        if launch.job_id is None or launch.name not in names:
            continue
        names.remove(launch.name)
        for element, pack in enumerate(launch.packs):
            job_id = launch.element_id(element)
            if _has(queue, job_id, launch.name):
                job_ids |= dict.fromkeys(pack, job_id)
    wanted = set(run_ids)
    damaged = any((root / FOLDER / name).is_dir() for name in names)
    for run_id in wanted - job_ids.keys() if damaged else ():
        with contextlib.suppress(OSError, ValueError):
            record = read_record(root, run_id)
            if record and _has(queue, record.job_id, record.launch):
                job_ids[run_id] = record.job_id
    return {run_id: job_id for run_id, job_id in job_ids.items() if run_id in wanted}


def _has(queue: Queue, job_id: str, name: str) -> bool:
    """Whether a job is live; its name too, since a rebuilt cluster reuses ids."""
    entry = queue.get(job_id)
    return entry is not None and entry.live and entry.name == name


def _done(root: Path, run_id: str) -> bool:
    """Whether a run is done; one whose folder cannot be read fails when it trains."""
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
) -> Sending:
    queue = scheduler.read_queue(ask, owners(root))
    ids = [config.run_id for pack in packs for config in pack]
    done = {run_id for run_id in ids if _done(root, run_id)}
    live = live_runs(root, [run for run in ids if run not in done], queue)
    rest: list[JobRuns] = [
        [c for c in pack if c.run_id not in done | live.keys()] for pack in packs
    ]
    room = None
    if profile.max_submitted is not None:
        mine = [e for e in queue.values() if e.live and e.user == str(os.getuid())]
        room = profile.max_submitted - len(mine)
    shown = ask("scontrol", "show", "config")
    if shown.returncode:
        raise QueueUnavailable(f"scontrol failed: {shown.stderr.strip()}")
    wanted = [pack for pack in rest if pack]
    plan = plan_arrays(wanted, Limits.parse(shown.stdout), profile.max_running, room)
    name = f"DATE-TIME-{label}"
    folder, code = root / FOLDER / name, root / FOLDER / "code" / "DIGEST"
    scripts = []
    for array in plan.arrays:
        after = None if array.after is None else f"ARRAY-{array.after}"
        scripts.append(render(profile, folder, name, array, code, after))
    held = [config.run_id for pack in plan.held_back for config in pack]
    return Sending(plan.arrays, scripts, [], sorted(done), sorted(live), held, news)


def _send(
    array: ArrayPlan,
    before: Sequence[SentArray],
    root: Path,
    profile: Profile,
    execution: Execution,
    label: str,
    code: Path,
    ask: Ask,
) -> SentArray:
    """Call sbatch for one array and write its job id down."""
    launch = SentArray.create(
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
        text = render(profile, launch.folder, launch.name, array, code, after)
        write_atomically(launch.folder / "submission.sh", text.encode())
    except (OSError, ValueError):
        launch.discard()
        raise
    try:
        job_id = _sbatch(text, ask)
    except (QueueUnavailable, SubmissionRefused) as error:
        job_id = _after_refusal(launch, str(error), before, ask)
    return launch.accepted(root, job_id)


def _sbatch(text: str, ask: Ask) -> str:
    """Send a script; returns the job id.

    The text goes through standard input, so nobody can change it in between.
    """
    answer = ask("sbatch", "--parsable", text=text, timeout_s=SBATCH_TIMEOUT_S)
    if answer.returncode:
        raise SubmissionRefused(_words(answer.stderr), [])
    job_id = answer.stdout.strip().partition(";")[0]  # "12;cluster" if several
    if not is_job_id(job_id):
        raise SubmissionRefused(f"sbatch gave no job id but {answer.stdout!r}", [])
    return job_id


def _after_refusal(
    launch: SentArray, message: str, before: Sequence[SentArray], ask: Ask
) -> str:
    """Clean up after a refusal, unless the controller has the job all the same.

    A client may time out after the controller took its job; the queue tells which.
    """
    try:
        queue = scheduler.read_queue(ask)
    except QueueUnavailable:
        raise SubmissionRefused(
            f"{message}\nThe controller does not answer either; whether it took the "
            "jobs is settled by the next launch or status.",
            list(before),
        ) from None
    for entry in queue.values():
        if entry.live and entry.name == launch.name:
            return entry.job_id.partition("_")[0]
    launch.discard()
    raise SubmissionRefused(message, list(before)) from None


def _words(stderr: str) -> str:
    """The message of sbatch, each line once."""
    lines = (line.strip() for line in stderr.splitlines())
    return "\n".join(dict.fromkeys(filter(None, lines))) or "sbatch failed."
