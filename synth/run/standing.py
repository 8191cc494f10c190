"""Where runs stand, by what their folders say.

`slurm.status` adds to such a survey what the queue of a cluster knows.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from synth.config import RunConfig
from synth.run.states import State
from synth.run.store import RunFolder


@dataclass(frozen=True)
class Standing:
    """One run: its state, and what its folder says is wrong."""

    run_id: str
    state: State
    error: str | None = None


AnyRun = TypeVar("AnyRun", bound=Standing, covariant=True)


@dataclass(frozen=True)
class Survey(Generic[AnyRun]):
    """The runs asked for, in that order, and news of earlier launches."""

    root: Path
    runs: Sequence[AnyRun]
    news: list[str] = field(default_factory=list)
    """About earlier launches, a sentence each."""
    queue_known: bool = True

    @property
    def counts(self) -> Counter[State]:
        """How many runs are in each state."""
        return Counter(run.state for run in self.runs)

    def ids(self, *states: State) -> set[str]:
        """The run ids in any of the states."""
        return {run.run_id for run in self.runs if run.state in states}

    def begun(self) -> "Survey[AnyRun]":
        """Without folders that are no run's, or of runs that never began."""
        return replace(self, runs=[run for run in self.runs if run.state != "new"])

    @property
    def first_error(self) -> AnyRun | None:
        """The first run with an error."""
        return next((run for run in self.runs if run.error), None)

    def errors(self) -> Counter[str]:
        """Errors, by their first line without its numbers, and how often each came."""
        return Counter(_kind(run.error) for run in self.runs if run.error)


def standing(root: Path, run_id: str, config: RunConfig | None = None) -> Standing:
    """Where one run stands; given a `config`, an unfinished folder must hold the same."""
    folder = RunFolder(root, run_id)
    state: State | None = None
    try:
        state = folder.state()
        if state == "unreadable":
            return Standing(run_id, state, " ".join(folder.damage()))
        if state == "failed":
            return Standing(run_id, state, folder.failure())
        if state == "stopped" and config is not None:
            return Standing(run_id, state, _edited(folder, config))
        return Standing(run_id, state)
    except (OSError, ValueError, AttributeError) as error:
        failed = state == "failed"  # and its failure.json cannot be read
        return Standing(run_id, "failed" if failed else "unreadable", str(error))


def folders_in(path: Path) -> list[str]:
    """The names of the folders in a folder, links included; none if it is not there.

    A link that leads nowhere, or round in a circle, is none.

    Raises `ValueError`, naming a path that cannot be read as a folder.
    """
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if _is_folder(entry))
    except FileNotFoundError:
        if path.is_symlink():
            raise ValueError(leads_nowhere(path)) from None
        return []
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None


def leads_nowhere(link: Path) -> str:
    """A sentence about a link whose target is not there, and what to do."""
    return (
        f"{link} is a link to {os.readlink(link)}, which is not there. Create that folder "
        "(or mount its disk), or remove the link."
    )


def look(
    root: Path, configs: Iterable[RunConfig | str] | None = None
) -> Survey[Standing]:
    """What folders say of the given runs, or of every folder below `root`.

    Reads the configuration, the result and the measurements of each run: five thousand
    small runs take about a second. Nothing is written.

    Raises `ValueError`, naming a root that cannot be read.
    """
    present = set(folders_in(root))
    if configs is None:
        configs = sorted(name for name in present if not name.startswith("."))
    runs, changed = [], []
    for given in configs:
        config = None if isinstance(given, str) else given
        run_id = given if isinstance(given, str) else given.run_id
        there = run_id in present
        run = standing(root, run_id, config) if there else Standing(run_id, "new")
        runs.append(run)
        if run.state == "done" and config is not None and _is_changed(root, config):
            changed.append(run_id)
    return Survey(root, runs, _changed_in_words(root, changed))


def how_to_renew(path: Path) -> str:
    """What to do about a finished run whose own files are others now, in words."""
    return (
        f"If the change matters to results, raise `version` in its class, or move {path} "
        "away"
    )


def _is_changed(root: Path, config: RunConfig) -> bool:
    """Whether files of a person's own that define the run have changed since."""
    try:
        return RunFolder(root, config.run_id).has_other_plugins(config)
    except (OSError, ValueError):  # its configuration cannot be read, which others say
        return False


def _changed_in_words(root: Path, run_ids: Sequence[str]) -> list[str]:
    """A sentence about finished runs whose own files have changed; none if none has."""
    if not run_ids:
        return []
    several = len(run_ids) > 1
    where = root if several else root / run_ids[0]
    were = "runs were" if several else "run was"
    return [
        f"{len(run_ids)} finished {were} trained with other files of your own than they "
        f"are now, first {run_ids[0]}. {how_to_renew(where)}."
    ]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _edited(folder: RunFolder, config: RunConfig) -> str | None:
    """What `RunFolder.open` would refuse, said before anything starts."""
    stored = folder.stored_config()
    if stored == config.to_dict():
        return None
    try:
        record = folder.path / "config.json"
        if RunConfig.from_dict(stored, record).run_id == config.run_id:
            return None
        problem = "describes another run"
    except (TypeError, ValueError) as error:
        problem = f"cannot be used ({error})"
    return (
        f"{folder.path / 'config.json'} {problem}: it was changed after it was written, or "
        "by another version. Move the folder away to train this run afresh."
    )


def _kind(error: str | None) -> str:
    """The first line with its numbers left out, so that like errors count together."""
    return re.sub(r"\d[\w.+-]*", "#", (error or "").partition("\n")[0])
