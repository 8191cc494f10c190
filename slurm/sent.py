"""What the last launch of a run sent: its configuration, and who shared its pack."""

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path

from slurm.job_record import FOLDER, read_record
from slurm.ledger import PACKS, SentArray
from synth.config import RunConfig
from synth.run.store import RunFolder


def stored_config(root: Path, run_id: str) -> RunConfig:
    """The configuration in a run folder, if it is that of the run.

    A run whose job never started has none there; then its launch says it.

    Raises
    ------
    OSError, ValueError, IndexError
        When there is none, or that of another run.
    """
    folder = RunFolder(root, run_id)
    config = None
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # of another shape
        if (folder.path / "config.json").exists():
            config = folder.config()
        elif record := read_record(root, run_id):
            launch = SentArray.read(root / FOLDER / record.launch)
            index = launch.packs[record.element].index(run_id)
            values = launch.configs(record.element)[index]
            config = RunConfig.from_dict(values, launch.folder / PACKS)
    if config is None or config.run_id != run_id:
        raise ValueError(
            f"{folder.path / 'config.json'} does not describe this run. Move the folder "
            "away to train the run afresh."
        )
    return config


def smaller_packs(root: Path, run_ids: Iterable[str]) -> dict[str, int]:
    """Half the size of the pack that each of the runs had last, as far as is known.

    For runs that may have ended those beside them: one that does is soon alone.
    """
    read = functools.cache(SentArray.read)
    found = {}
    for run_id in run_ids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            if record := read_record(root, run_id):
                launch = read(root / FOLDER / record.launch)
                found[run_id] = max(1, len(launch.packs[record.element]) // 2)
    return found
