"""What the last launch of a run submitted: its configuration and the size of its pack."""

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path

from slurm.job_record import read_record
from slurm.ledger import PACKS, SubmittedArray
from synth.config import RunConfig
from synth.run.store import RunFolder


def stored_config(root: Path, run_id: str) -> RunConfig:
    """Read the configuration of a run, and check that it has the run's id.

    If the job never started, it is read from the launch instead of the run folder.

    Raises `OSError`, `ValueError` or `IndexError` when there is none, or when it describes
    another run.
    """
    folder = RunFolder(root, run_id)
    config = None
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # damaged JSON
        if (folder.path / "config.json").exists():
            config = folder.config()
        elif record := read_record(root, run_id):
            launch = SubmittedArray.read(record.launch_folder(root / run_id))
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
    """Half the size of each run's last pack, where it is known.

    So a run that crashes its pack trains alone after a few attempts.
    """
    read = functools.cache(SubmittedArray.read)
    sizes = {}
    for run_id in run_ids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            if record := read_record(root, run_id):
                launch = read(record.launch_folder(root / run_id))
                sizes[run_id] = max(1, len(launch.packs[record.element]) // 2)
    return sizes
