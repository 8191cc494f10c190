"""One run, one folder: sweeps that hold the same run share it.

Figure 8 and figure S16 show the same 100M runs. When a sweep is launched, a run that it
has no folder for, but a neighbouring sweep has, becomes a symbolic link to that folder:
claims, results and checkpoints are then shared, and nothing is trained twice.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from synth.config import RunConfig


def link_shared(configs: Sequence[RunConfig], root: Path) -> int:
    """Link the runs that other folders beside `root` hold; returns how many."""
    if not root.parent.is_dir():
        return 0
    wanted = {config.run_id for config in configs}
    for run_id in wanted:
        path = root / run_id
        if path.is_symlink() and not path.exists():
            path.unlink(missing_ok=True)  # its target was removed
    wanted = {run_id for run_id in wanted if not (root / run_id).exists()}
    linked = 0
    for other in sorted(root.parent.iterdir()):
        if not wanted or other.resolve() == root.resolve() or not other.is_dir():
            continue
        for run_id in _own_runs(other, wanted):
            root.mkdir(parents=True, exist_ok=True)
            # Relative, so that `runs` may be moved; from where the folder really lies.
            target = os.path.relpath(other.resolve() / run_id, root.resolve())
            try:
                (root / run_id).symlink_to(target)
                linked += 1
            except FileExistsError:
                pass  # another launch was faster
            wanted.discard(run_id)
    return linked


def _own_runs(folder: Path, wanted: set[str]) -> Iterator[str]:
    """The wanted runs that lie in a folder itself, as far as it may be read."""
    with contextlib.suppress(PermissionError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            own = entry.name in wanted and not entry.is_symlink()
            if own and (folder / entry.name / "config.json").exists():
                yield entry.name
