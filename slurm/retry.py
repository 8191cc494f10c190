"""Runs that have a folder and no job, back into packs and onto the cluster."""

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from slurm import clients
from slurm.arrays import Pack
from slurm.clients import Ask, QueueUnavailable
from slurm.ledger import FOLDER, Launch, read_record
from slurm.profile import Profile
from slurm.status import read_status
from slurm.submission import Sending, submit
from synth.config import RunConfig
from synth.run.store import RunFolder

SUSPECT = ("failed", "lost")
"""States of runs that may have ended those that trained beside them."""


def retry(
    root: Path,
    profile: Profile,
    run_ids: Sequence[str] | None,
    states: Sequence[str],
    *,
    dry_run: bool = False,
    accept_code_change: bool = False,
    ask: Ask = clients.ask,
) -> Sending:
    """Send the given runs (all by default) that are in one of `states`.

    Runs that failed or got lost are sent in packs half as large as the last one, and
    apart from others, so that one that ends its neighbours is soon alone. Those whose
    folder does not say what they are stay out, with a sentence each.

    Raises
    ------
    QueueUnavailable
        When nobody knows what is queued.
    ValueError
        When a run was begun by other code, unless that is accepted.
    """
    root = root.absolute()
    found = read_status(root, run_ids, ask)
    if not found.queue_known:
        raise QueueUnavailable(found.news[-1])
    news = list(found.news)
    configs: list[RunConfig] = []
    most: dict[str, int] = {}
    for run in found.runs:
        if run.state == "unreadable":
            news.append(f"{run.run_id} is left out: {run.detail}")
        if run.state not in states:
            continue
        try:
            configs.append(_config(root, run.run_id))
        except (OSError, ValueError, IndexError) as error:
            news.append(f"{run.run_id} is left out: {error}")
            continue
        if run.state in SUSPECT:
            most[run.run_id] = max(1, _last_pack(root, run.run_id) // 2)
    packs = pack_up(configs, profile.lanes, most)

    execution = profile.build_execution()
    if accept_code_change:
        execution = dataclasses.replace(execution, accept_code_change=True)
    sending = submit(
        packs, root, profile, "retry", execution=execution, dry_run=dry_run, ask=ask
    )
    return dataclasses.replace(sending, news=[*news, *sending.news])


def _config(root: Path, run_id: str) -> RunConfig:
    """The configuration in a run folder, if it is that of the run.

    A run whose job never started has none there; then its launch says it.
    """
    folder = RunFolder(root, run_id)
    config = None
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # of another shape
        if (folder.path / "config.json").exists():
            config = folder.config()
        elif record := read_record(root, run_id):
            launch = Launch.read(root / FOLDER / record.launch)
            index = launch.packs[record.element].index(run_id)
            config = RunConfig.from_dict(launch.configs(record.element)[index])
    if config is None or config.run_id != run_id:
        raise ValueError(
            f"{folder.path / 'config.json'} does not describe this run. Move the folder "
            "away to train the run afresh."
        )
    return config


def _last_pack(root: Path, run_id: str) -> int:
    """How many runs the last pack of a run had; 1 if nobody knows."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        record = read_record(root, run_id)
        if record is not None:
            launch = Launch.read(root / FOLDER / record.launch)
            return len(launch.packs[record.element])
    return 1


def pack_up(
    configs: Sequence[RunConfig], lanes: int, most: Mapping[str, int] | None = None
) -> list[Pack]:
    """Runs that can train side by side, at most `lanes` to a pack.

    Those in `most` share packs of at most so many with each other alone.
    """
    groups: dict[tuple[str, int | None], list[RunConfig]] = defaultdict(list)
    for config in configs:
        groups[config.pack_key, (most or {}).get(config.run_id)].append(config)
    packs: list[Pack] = []
    for (_, limit), group in groups.items():
        size = lanes if limit is None else min(lanes, limit)
        packs += [group[start : start + size] for start in range(0, len(group), size)]
    return packs
