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

from slurm.clients import Ask
from sweeps.survey import survey
from synth.config import RunConfig
from synth.run.standing import AnyRun, Standing, Survey, folders_in, leads_nowhere


def link_shared(configs: Sequence[RunConfig], root: Path) -> int:
    """Link to runs in the folders beside `root`; returns the number of new links.

    Raises `ValueError`, naming a link of another kind whose target is not there.
    """
    for path in _broken_links(configs, root):
        path.unlink(missing_ok=True)
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
    standings: Survey[AnyRun], configs: Sequence[RunConfig], ask: Ask | None = None
) -> Survey[AnyRun]:
    """Give runs that a launch would link the states that they have beside `root`.

    With `ask`, SLURM is asked about them, as in `survey`. Raises `ValueError` where
    `link_shared` would.
    """
    _broken_links(configs, standings.root)
    shared = _find_shared(configs, standings.root)
    beside: dict[str, Standing] = {}
    for other in set(shared.values()):
        there = [config for config in configs if shared.get(config.run_id) == other]
        found = survey(Path(other), there, ask=ask)
        beside |= {run.run_id: run for run in found.runs}
    runs = []
    for run in standings.runs:
        if run.state == "new" and run.run_id in beside:
            other_run = beside[run.run_id]
            run = replace(run, state=other_run.state, error=other_run.error)
        runs.append(run)
    return replace(standings, runs=runs)


def _broken_links(configs: Sequence[RunConfig], root: Path) -> list[Path]:
    """Links that `link_shared` made to runs that were removed since.

    Raises `ValueError` for any other broken link: its run may lie on a disk that is not
    mounted, so it must be neither unlinked nor trained again.
    """
    broken = []
    for config in configs:
        path = root / config.run_id
        if not path.is_symlink() or path.exists():
            continue
        with contextlib.suppress(FileNotFoundError):  # another launch has removed it
            if not _leads_beside(path, root):
                raise ValueError(leads_nowhere(path))
            broken.append(path)
    return broken


def _leads_beside(link: Path, root: Path) -> bool:
    """Whether a link is relative and leads into a sweep folder beside `root`."""
    target = os.readlink(link)
    sweep = os.path.dirname(
        os.path.normpath(os.path.join(os.path.realpath(root), target))
    )
    beside = os.path.realpath(root.parent)
    neighbours = (os.path.realpath(root.parent / n) for n in folders_in(root.parent))
    return not os.path.isabs(target) and (
        os.path.dirname(sweep) == beside or sweep in neighbours
    )


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
