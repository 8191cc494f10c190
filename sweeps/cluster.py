"""SLURM as the executor of a sweep: packs become the jobs of arrays."""

from slurm.clients import QueueUnavailable
from slurm.profile import Profile, available, load
from slurm.submission import Sending, SubmissionRefused, submit
from sweeps.executor import Executor, Work
from synth.run.progress import Outcome

UNBOUNDED = 10_000
"""Slots of a profile that sets no `max_running`."""


class OnCluster(Executor):
    """Submits packs and returns; with `dry_run` it only renders the scripts."""

    remote = True

    def __init__(self, profile: Profile, label: str, dry_run: bool = False) -> None:
        self.profile, self.label, self.dry_run = profile, label, dry_run
        self.slots = profile.max_running or UNBOUNDED
        self.scripts: list[str] = []
        """The text of sbatch for each array."""

    def carry_out(self, work: Work) -> list[Outcome]:
        """Submit the packs.

        Raises
        ------
        ValueError
            When the controller does not answer or refuses an array; arrays submitted
            before it stay recorded.
        """
        try:
            sending = submit(
                work.packs,
                work.root,
                self.profile,
                self.label,
                execution=work.execution,
                dry_run=self.dry_run,
            )
        except (QueueUnavailable, SubmissionRefused) as error:
            raise ValueError(str(error)) from error
        self.scripts = sending.scripts
        work.display.say(sending.describe())
        for launch in sending.launches:
            work.display.say(f"job {launch.job_id}: {launch.folder}")
        outcomes = _outcomes(sending)
        work.progress.outcomes |= {outcome.run_id: outcome for outcome in outcomes}
        return list(work.progress.outcomes.values())


def _outcomes(sending: Sending) -> list[Outcome]:
    """The outcome of every run of a submission."""
    outcomes = [
        Outcome(run_id, "queued", f"job {launch.element_id(element)}")
        for launch in sending.launches
        for element, pack in enumerate(launch.packs)
        for run_id in pack
    ]
    outcomes += [
        Outcome(run, "queued", "a job has it already") for run in sending.queued
    ]
    outcomes += [Outcome(run, "done", "done meanwhile") for run in sending.done]
    full = "held back: the queue is full; run the same command later"
    return outcomes + [Outcome(run, "stopped", full) for run in sending.held_back]


def profile_named(name: str | None) -> Profile:
    """Load the profile that --profile names.

    Raises
    ------
    ValueError
        Without a name, or for an invalid profile.
    """
    if name is None:
        raise ValueError(
            f"--on slurm needs a --profile: {', '.join(available())}, or a TOML file."
        )
    return load(name)
