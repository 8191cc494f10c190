"""One run, one folder: sweeps that hold the same run share it.

Figure 8 and figure S16 show the same 100M runs. When a sweep is launched, a run that it
has no folder for, but a neighbouring sweep has, becomes a symbolic link to that folder:
claims, results and checkpoints are then shared, and nothing is trained twice.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from synth.config import RunConfig
from synth.run.standing import folders_in


def link_shared(configs: Sequence[RunConfig], root: Path) -> int:
    """Link the runs that other folders beside `root` hold; returns how many."""
    wanted = {config.run_id for config in configs}
    for run_id in wanted:
        path = root / run_id
        if path.is_symlink() and not path.exists():
            path.unlink(missing_ok=True)  # its target was removed
    wanted = {run_id for run_id in wanted if not (root / run_id).exists()}
    linked = 0
    place = os.path.realpath(root)
    for name in folders_in(root.parent):
        other = os.path.realpath(root.parent / name)
        if not wanted or other == place:
            continue
        for run_id in _own_runs(other, wanted):
            root.mkdir(parents=True, exist_ok=True)
            # Relative, so that `runs` may be moved; from where the folder really lies.
            target = os.path.relpath(os.path.join(other, run_id), place)
            try:
                (root / run_id).symlink_to(target)
                linked += 1
            except FileExistsError:
                pass  # another launch was faster
            wanted.discard(run_id)
    return linked


def _own_runs(folder: str, wanted: set[str]) -> list[str]:
    """The wanted runs that lie in a folder itself, as far as it may be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name in wanted
            and not entry.is_symlink()
            and os.path.exists(os.path.join(entry.path, "config.json"))
        )
    return []
