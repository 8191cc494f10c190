"""Which runs are left to train, and the checkpoint that each of them resumes from."""

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from synth.config import RunConfig
from synth.run import checkpoint as checkpoints
from synth.run.checkpoint import CorruptCheckpoint
from synth.run.claim import RunBusy
from synth.run.progress import Outcome
from synth.run.standing import how_to_renew
from synth.run.store import RunFolder

Run = tuple[RunConfig, RunFolder]


def claim_unfinished(
    configs: Sequence[RunConfig], root: Path, claims: contextlib.ExitStack
) -> tuple[list[Run], dict[str, Outcome]]:
    """Claim the runs that are neither done nor busy, until `claims` is closed.

    Returns them with their folders, and the outcomes of the others by run id.
    """
    mine: list[Run] = []
    outcomes: dict[str, Outcome] = {}
    for config in configs:
        folder = RunFolder(root, config.run_id)
        try:
            if (ended := _ended(folder, config)) is None:
                claims.enter_context(folder.claim())
                folder.open(config)
                ended = _ended(folder, config)  # meanwhile, by another process
        except RunBusy as error:
            ended = Outcome(config.run_id, "running", str(error))
        except (ValueError, OSError) as error:
            ended = Outcome(config.run_id, "failed", str(error))
        if ended is None:
            mine.append((config, folder))
        else:
            outcomes[config.run_id] = ended
    return mine, outcomes


def _ended(folder: RunFolder, config: RunConfig) -> Outcome | None:
    """The outcome of a run that needs no training: it is done, or damaged."""
    if not (folder.path / "result.json").exists():
        return None
    if damage := folder.damage():
        return Outcome(folder.run_id, "failed", " ".join(damage))
    with contextlib.suppress(OSError, RunBusy):  # after a kill at the very end
        if checkpoints.saved_steps(folder, resumable=True):
            with folder.claim():
                checkpoints.free_moments(folder)
    message = "was done before"
    if folder.has_other_plugins(config):
        message += ", with other files of your own than they are now. "
        message += how_to_renew(folder.path)
    return Outcome(folder.run_id, "done", message)


def by_step(
    runs: list[Run], outcomes: dict[str, Outcome]
) -> dict[int | None, list[Run]]:
    """Group runs by the step to go on from (`None`: the start).

    Runs of one pack normally share a checkpoint step, since the two newest are kept; if
    not (regrouped packs), each group trains on its own. Runs that have checkpoints, but
    none that can be used, are put into `outcomes` as failed.
    """
    steps: list[set[int]] = []
    usable: list[Run] = []
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
    groups: dict[int | None, list[Run]] = defaultdict(list)
    for run, own_steps in zip(usable, steps, strict=True):
        groups[max(own_steps, default=None)].append(run)
    return groups


def usable_steps(folder: RunFolder) -> set[int]:
    """Steps that a run can go on from: whole checkpoints whose metrics are still there.

    Damaged ones are skipped, and so are those that count more metrics than there are: they
    are left from before the run went back to an earlier step.

    Raises `CorruptCheckpoint` when there are checkpoints, but none is usable; says why
    the newest is not.
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
