"""SLURM as the executor of a sweep: packs become the jobs of arrays."""

from slurm.clients import QueueUnavailable
from slurm.profile import Profile, available_profiles, load_profile
from slurm.submission import Submission, SubmissionRefused, submit
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

        Raises `ValueError` when the controller does not answer or refuses an array;
        arrays submitted before it stay recorded.
        """
        try:
            submission = submit(
                work.packs,
                work.root,
                self.profile,
                self.label,
                execution=work.execution,
                dry_run=self.dry_run,
            )
        except (QueueUnavailable, SubmissionRefused) as error:
            raise ValueError(str(error)) from error
        self.scripts = submission.scripts
        work.display.say(submission.describe())
        for launch in submission.launches:
            work.display.say(f"job {launch.job_id}: {launch.folder}")
        outcomes = _outcomes(submission)
        work.progress.outcomes |= {outcome.run_id: outcome for outcome in outcomes}
        return list(work.progress.outcomes.values())


def _outcomes(submission: Submission) -> list[Outcome]:
    """The outcome of every run of a submission."""
    outcomes = [
        Outcome(run_id, "queued", f"job {launch.element_id(element)}")
        for launch in submission.launches
        for element, pack in enumerate(launch.packs)
        for run_id in pack
    ]
    outcomes += [
        Outcome(run, "queued", "a job has it already") for run in submission.queued
    ]
    outcomes += [Outcome(run, "done", "done meanwhile") for run in submission.done]
    full = "held back: the queue is full; run the same command later"
    return outcomes + [Outcome(run, "stopped", full) for run in submission.held_back]


def profile_named(name: str | None) -> Profile:
    """Load the profile that --profile names.

    Raises `ValueError` without a name, or for an invalid profile.
    """
    if name is None:
        names = ", ".join(available_profiles())
        raise ValueError(f"--on slurm needs a --profile: {names}, or a TOML file.")
    return load_profile(name)
