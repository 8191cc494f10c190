"""Which checkpoint a run resumes from: the newest usable one that its pack shares."""

import contextlib
from collections import defaultdict

from synth.config import RunConfig
from synth.run import checkpoint as checkpoints
from synth.run.checkpoint import CorruptCheckpoint
from synth.run.progress import Outcome
from synth.run.store import RunFolder


def by_step(
    runs: list[tuple[RunConfig, RunFolder]], outcomes: dict[str, Outcome]
) -> dict[int | None, list[tuple[RunConfig, RunFolder]]]:
    """Group runs by the step to go on from (`None`: the start).

    Runs of one pack normally share a checkpoint step, since the two newest are kept; if
    not (regrouped packs), each group trains on its own. Runs that have checkpoints, but
    none that can be used, are put into `outcomes` as failed.
    """
    steps: list[set[int]] = []
    usable: list[tuple[RunConfig, RunFolder]] = []
    for config, folder in runs:
        try:
            steps.append(usable_steps(folder))
            usable.append((config, folder))
        except (CorruptCheckpoint, OSError) as error:
            message = (
                f"No checkpoint can be used: {error} Remove {folder.checkpoints} to "
                "train the run from the start."
            )
            outcomes[config.run_id] = Outcome(config.run_id, "failed", message)
            with contextlib.suppress(OSError):
                folder.write_failure(message)
    if not usable:
        return {}
    common = set.intersection(*steps)
    if common:
        return {max(common): usable}
    groups: dict[int | None, list[tuple[RunConfig, RunFolder]]] = defaultdict(list)
    for run, own_steps in zip(usable, steps, strict=True):
        groups[max(own_steps, default=None)].append(run)
    return groups


def usable_steps(folder: RunFolder) -> set[int]:
    """Steps that a run can go on from: whole checkpoints whose metrics are still there.

    Damaged ones are skipped, and so are those that count more metrics than there are: they
    are left from before the run went back to an earlier step.

    Raises
    ------
    CorruptCheckpoint
        When there are checkpoints, but none is usable; says why the newest is not.
    """
    good: set[int] = set()
    newest: CorruptCheckpoint | None = None
    for step in reversed(checkpoints.saved_steps(folder, resumable=True)):
        try:
            place = checkpoints.check(folder, step)
            damage = folder.metrics.damage(place.metrics_bytes, place.metrics_sha256)
            if damage:
                raise CorruptCheckpoint(damage)
            good.add(step)
        except ValueError as error:
            newest = newest or CorruptCheckpoint(str(error))
    if newest and not good:
        raise newest
    return good
