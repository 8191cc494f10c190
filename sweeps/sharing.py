"""Sweeps that contain the same run share its folder.

Figures 8 and S16, for instance, show the same 100M runs. At launch, a run without a folder
in this sweep but with one in a neighbouring sweep becomes a symbolic link to that folder,
so that claims, results and checkpoints are shared and no run is trained twice.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from synth.config import RunConfig
from synth.run.standing import folders_in


def link_shared(configs: Sequence[RunConfig], root: Path) -> int:
    """Link to runs in the folders beside `root`; returns the number of new links."""
    wanted = {config.run_id for config in configs}
    for run_id in wanted:
        path = root / run_id
        if path.is_symlink() and not path.exists():
            path.unlink(missing_ok=True)  # its target was removed
    wanted = {run_id for run_id in wanted if not (root / run_id).exists()}
    linked = 0
    real_root = os.path.realpath(root)
    for name in folders_in(root.parent):
        other = os.path.realpath(root.parent / name)
        if not wanted or other == real_root:
            continue
        for run_id in _own_runs(other, wanted):
            root.mkdir(parents=True, exist_ok=True)
            # Relative, so that `runs` may be moved; to the real path of the sweep folder.
            target = os.path.relpath(os.path.join(other, run_id), real_root)
            try:
                (root / run_id).symlink_to(target)
                linked += 1
            except FileExistsError:
                pass  # another launch has linked it
            wanted.discard(run_id)
    return linked


def _own_runs(folder: str, wanted: set[str]) -> list[str]:
    """The wanted runs in a folder, without links; none if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name in wanted
            and not entry.is_symlink()
            and os.path.exists(os.path.join(entry.path, "config.json"))
        )
    return []
