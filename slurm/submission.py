"""Packs to the cluster: what is missing and not queued already, as job arrays.

The order of writing is what makes it safe to be killed here: the launch's folder with
its plan, sbatch, the job id in the launch, then a record in every run folder. What a
killed launcher left half-done is settled by the next call.
"""

import dataclasses
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from slurm import queue as scheduler
from slurm import snapshot
from slurm.arrays import ArrayPlan, Limits, Pack, plan_arrays
from slurm.ledger import FOLDER, Launch, launching, read_record, settle
from slurm.profile import Profile
from slurm.queue import Ask, Queue, QueueUnavailable
from slurm.worker import Worker
from synth.execution import Execution


class SubmissionRefused(RuntimeError):
    """sbatch took no further array; `sent` holds the launches before that one."""

    def __init__(self, message: str, sent: "list[Launch]") -> None:
        super().__init__(message)
        self.sent = sent


@dataclass(frozen=True)
class Sending:
    """What a submission did, or in a dry run would do."""

    arrays: list[ArrayPlan]
    scripts: list[str]
    """The sbatch text of each array."""
    launches: list[Launch]
    """What was sent; empty in a dry run."""
    done: list[str]
    """Run ids that need nothing."""
    queued: list[str]
    """Run ids that a live job has."""
    held_back: list[str]
    """Run ids that the queue has no room for; the next launch sends them."""
    news: list[str] = field(default_factory=list)
    """What was found out about earlier launches."""

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
    packs: Sequence[Pack],
    root: Path,
    profile: Profile,
    label: str = "runs",
    *,
    execution: Execution | None = None,
    dry_run: bool = False,
    check: Callable[[Sequence[str]], None] | None = None,
    ask: Ask = scheduler.ask,
) -> Sending:
    """Send every run of `packs` that is neither done nor queued; one job per pack.

    `execution` is what the profile says unless given here. `check` sees the ids of the
    runs that are about to be sent, and raises if they must not be.

    Raises
    ------
    QueueUnavailable
        When the scheduler does not answer: then nobody knows what is queued.
    SubmissionRefused
        With sbatch's own words; what was sent before stays known, nothing else is left.
    ValueError
        Inside a job, while another launcher is at work, or for a profile that cannot be
        rendered.
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
        news = settle(root, scheduler.read_queue(ask))
        sending = _plan(packs, root, profile, label, ask, news)
        if not sending.arrays:
            return sending
        if check is not None:
            check([c.run_id for a in sending.arrays for pack in a.packs for c in pack])
        code = snapshot.take(root)
        how = execution or profile.build_execution()
        sent: list[Launch] = []
        for array in sending.arrays:
            sent.append(_send(array, sent, root, profile, how, label, code, ask))
    return dataclasses.replace(sending, launches=sent)


def refuse_inside_job(environment: Mapping[str, str]) -> None:
    """Refuse to launch from inside a job: its children would inherit its identity."""
    for name in ("SUBMITIT_EXECUTOR", "SLURM_ARRAY_JOB_ID"):
        if environment.get(name):
            raise ValueError(
                f"{name} is set: this is a job, and a job must not submit others (they "
                "would take its array for theirs). Launch from a login node."
            )


def live_runs(root: Path, run_ids: Iterable[str], queue: Queue) -> dict[str, str]:
    """The job id of every run that a live job has."""
    found = {}
    for run_id in run_ids:
        record = read_record(root, run_id)
        entry = queue.get(record.job_id) if record else None
        # Ids are reused when a cluster is rebuilt; the name is ours alone.
        if record and entry and entry.live and entry.name == record.launch:
            found[run_id] = record.job_id
    return found


def _plan(
    packs: Sequence[Pack],
    root: Path,
    profile: Profile,
    label: str,
    ask: Ask,
    news: list[str],
) -> Sending:
    queue = scheduler.read_queue(ask)
    ids = [config.run_id for pack in packs for config in pack]
    done = {run for run in ids if (root / run / "result.json").exists()}
    live = live_runs(root, [run for run in ids if run not in done], queue)
    rest: list[Pack] = [
        [c for c in pack if c.run_id not in done | live.keys()] for pack in packs
    ]
    room = None
    if profile.max_submitted is not None:
        room = profile.max_submitted - sum(entry.live for entry in queue.values())
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


def render(
    profile: Profile,
    folder: Path,
    name: str,
    array: ArrayPlan,
    code: Path,
    after: str | None,
) -> str:
    """The text that sbatch gets for an array."""
    executor = _executor(profile, folder, name, array, code, after)
    if len(array.packs) > 1:
        executor.parameters["map_count"] = len(array.packs)
    command = executor._submitit_command_str
    return str(executor._make_submission_file_text(command, "dry-run"))


def _executor(
    profile: Profile,
    folder: Path,
    name: str,
    array: ArrayPlan,
    code: Path,
    after: str | None,
) -> submitit.SlurmExecutor:
    """submitit's executor with the profile's wishes."""
    # Until the worker handles signals they are ignored: their default is to kill it,
    # and SLURM does not requeue a job that ends by itself.
    python = profile.python or sys.executable
    guarded = f'bash -c \'trap "" TERM USR2; exec "$@"\' bash {shlex.quote(python)}'
    executor = submitit.SlurmExecutor(folder=folder, python=guarded)
    wishes: dict[str, Any] = {
        "job_name": name,
        "time": profile.time,
        "nodes": profile.nodes,
        "ntasks_per_node": profile.tasks,
        "cpus_per_task": profile.cpus,
        "mem": f"{max(1, round(profile.memory_gb * 1024))}M",
        "signal_delay_s": profile.signal_delay_s,
        "array_parallelism": array.parallelism,
        "stderr_to_stdout": True,
        "setup": setup_lines(profile, code),
        # A site's JobRequeue=0 would refuse the worker's own requeue otherwise.
        "additional_parameters": {"requeue": True}
        | {key: value for key, value in profile.sbatch.items() if value is not False},
        "wckey": profile.wckey or None,
    }
    for key in ("partition", "account", "qos", "constraint"):
        if getattr(profile, key):
            wishes[key] = getattr(profile, key)
    if profile.gpus:
        wishes["gpus_per_node"] = profile.gpus
    if after:
        wishes["dependency"] = f"afterany:{after}"
    executor._internal_update_parameters(**wishes)
    return executor


def setup_lines(profile: Profile, code: Path) -> list[str]:
    """Shell lines that run on the node before the worker."""
    lines = list(profile.setup)
    for key, value in profile.environment.items():
        lines.append(f"export {key}={shlex.quote(value)}")
    path = shlex.quote(str(code))
    return [
        *lines,
        # sbatch's --cpus-per-task no longer reaches srun by itself (since 22.05).
        'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
        "export PYTHONSAFEPATH=1",
        f'export PYTHONPATH={path}"${{PYTHONPATH:+:$PYTHONPATH}}"',
    ]


def _send(
    array: ArrayPlan,
    before: Sequence[Launch],
    root: Path,
    profile: Profile,
    execution: Execution,
    label: str,
    code: Path,
    ask: Ask,
) -> Launch:
    """One sbatch, and its job id on disk."""
    launch = Launch.create(root, label, profile.name, array.packs)
    workers = [
        Worker(
            root=str(root),
            launch=launch.name,
            element=element,
            configs=[config.to_dict() for config in pack],
            execution=dataclasses.asdict(execution),
            max_idle_restarts=profile.max_idle_restarts,
            profile=profile.name,
            submitted=launch.created,
            code=str(code),
        )
        for element, pack in enumerate(array.packs)
    ]
    after = None if array.after is None else before[array.after].job_id
    try:
        executor = _executor(profile, launch.folder, launch.name, array, code, after)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # submitit's word on missing accounting
            with executor.batch():
                jobs = [executor.submit(worker) for worker in workers]
        job_id = jobs[0].job_id.partition("_")[0]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        job_id = _after_refusal(launch, error, before, ask)
    return launch.accepted(root, job_id)


def _after_refusal(
    launch: Launch, error: Exception, before: Sequence[Launch], ask: Ask
) -> str:
    """Clean up after sbatch said no, unless the controller has the job all the same.

    A client may time out after the controller took its job; only the queue can tell.
    """
    message = _words(error)
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
            settle(launch.folder.parent.parent, queue)
            return entry.job_id.partition("_")[0]
    launch.discard()
    raise SubmissionRefused(message, list(before)) from None


def _words(error: Exception) -> str:
    """What sbatch said, without submitit's stack around it."""
    lines = re.findall(r"^\W*((?:sbatch|salloc|srun): .*)$", str(error), re.MULTILINE)
    return "\n".join(dict.fromkeys(lines)) or str(error)
