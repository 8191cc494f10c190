"""Runs that have a folder and no job, back into packs and onto the cluster."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from slurm import queue as scheduler
from slurm.arrays import Pack
from slurm.profile import Profile
from slurm.queue import Ask, QueueUnavailable
from slurm.status import read_status
from slurm.submission import Sending, submit
from synth.config import RunConfig
from synth.store import RunFolder


def retry(
    root: Path,
    profile: Profile,
    run_ids: Sequence[str] | None,
    states: Sequence[str],
    *,
    dry_run: bool = False,
    ask: Ask = scheduler.ask,
) -> Sending:
    """Send the given runs (all by default) that are in one of `states`.

    Raises
    ------
    ValueError
        When a run that was asked for has no folder.
    """
    found = read_status(root, run_ids, ask)
    if not found.queue_known:
        raise QueueUnavailable(found.news[-1])
    chosen = [run.run_id for run in found.runs if run.state in states]
    configs = [RunFolder(root, run_id).config() for run_id in chosen]
    packs = pack_up(configs, profile.lanes)
    return submit(packs, root, profile, "retry", dry_run=dry_run, ask=ask)


def pack_up(configs: Sequence[RunConfig], lanes: int) -> list[Pack]:
    """Runs that can train side by side, at most `lanes` to a pack."""
    groups: dict[str, list[RunConfig]] = defaultdict(list)
    for config in configs:
        groups[config.pack_key].append(config)
    return [
        group[start : start + lanes]
        for group in groups.values()
        for start in range(0, len(group), lanes)
    ]
