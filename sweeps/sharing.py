"""Sweeps that contain the same run share its folder.

Figures 8 and S16, for instance, show the same 100M runs. At launch, a run without a folder
in this sweep but with one in a neighbouring sweep becomes a symbolic link to that folder,
so that claims, results and checkpoints are shared and no run is trained twice.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from synth.config import RunConfig
from synth.run.standing import AnyRun, Survey, folders_in, standing


def link_shared(configs: Sequence[RunConfig], root: Path) -> int:
    """Link to runs in the folders beside `root`; returns the number of new links."""
    for config in configs:
        path = root / config.run_id
        if path.is_symlink() and not path.exists():
            path.unlink(missing_ok=True)  # its target was removed
    linked = 0
    for run_id, other in _find_shared(configs, root).items():
        root.mkdir(parents=True, exist_ok=True)
        # Relative, so that `runs` may be moved; to the real path of the sweep folder.
        target = os.path.relpath(os.path.join(other, run_id), os.path.realpath(root))
        try:
            (root / run_id).symlink_to(target)
            linked += 1
        except FileExistsError:
            pass  # another launch has linked it
    return linked


def mark_shared(
    standings: Survey[AnyRun], configs: Sequence[RunConfig]
) -> Survey[AnyRun]:
    """Give runs that a launch would link the states that they have beside `root`."""
    shared = _find_shared(configs, standings.root)
    runs = []
    for run in standings.runs:
        if run.state == "new" and run.run_id in shared:
            found = standing(Path(shared[run.run_id]), run.run_id)
            run = replace(run, state=found.state, error=found.error)
        runs.append(run)
    return replace(standings, runs=runs)


def _find_shared(configs: Sequence[RunConfig], root: Path) -> dict[str, str]:
    """The real folder beside `root` of each run that `root` has no folder of."""
    wanted = {c.run_id for c in configs if not (root / c.run_id).exists()}
    found: dict[str, str] = {}
    for name in folders_in(root.parent):
        other = os.path.realpath(root.parent / name)
        if wanted and other != os.path.realpath(root):
            for run_id in _own_runs(other, wanted):
                found[run_id] = other
                wanted.discard(run_id)
    return found


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
