"""Where runs go on: the newest checkpoints that can be read, shared by a pack."""

import contextlib
from collections import defaultdict

from synth import checkpoint as checkpoints
from synth.checkpoint import CorruptCheckpoint
from synth.config import RunConfig
from synth.progress import Outcome
from synth.store import RunFolder


def by_step(
    runs: list[tuple[RunConfig, RunFolder]], found: dict[str, Outcome]
) -> dict[int | None, list[tuple[RunConfig, RunFolder]]]:
    """Group runs by the step to go on from (`None`: the start).

    Runs of one pack normally share a checkpoint step, since the two newest are kept; if
    not (regrouped packs), each group trains on its own. Runs without a readable
    checkpoint among those they have are put into `found` as failed.
    """
    steps: list[set[int]] = []
    usable: list[tuple[RunConfig, RunFolder]] = []
    for config, folder in runs:
        try:
            steps.append(_loadable(folder))
            usable.append((config, folder))
        except CorruptCheckpoint as error:
            message = (
                f"No checkpoint can be read: {error} Remove {folder.checkpoints} to "
                "train the run from the start."
            )
            found[config.run_id] = Outcome(config.run_id, "failed", message)
            with contextlib.suppress(OSError):
                folder.write_json(
                    "failure.json", {"run_id": config.run_id, "message": message}
                )
    if not usable:
        return {}
    common = set.intersection(*steps)
    if common:
        return {max(common): usable}
    groups: dict[int | None, list[tuple[RunConfig, RunFolder]]] = defaultdict(list)
    for run, known in zip(usable, steps, strict=True):
        groups[max(known, default=None)].append(run)
    return groups


def _loadable(folder: RunFolder) -> set[int]:
    """Steps whose checkpoints are whole; damaged ones are passed over for older ones."""
    known = checkpoints.saved_steps(folder, resumable=True)
    good: set[int] = set()
    damaged: CorruptCheckpoint | None = None
    for step in known:
        try:
            checkpoints.load(folder, step)
            good.add(step)
        except CorruptCheckpoint as error:
            damaged = error
    if damaged and not good:
        raise damaged
    return good
