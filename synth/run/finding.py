"""Runs by whatever a person calls them: an id, its beginning, a path or a pattern."""

import glob
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from synth.disk.places import expand, nothing_at
from synth.identity import first_few

MARKS = ("config.json",)
"""Files by which a folder is known to be a run's; one of them is enough."""


def find_run(
    name: str | os.PathLike[str],
    runs: Path = Path("runs"),
    marks: Sequence[str] = MARKS,
    option: str = "runs=",
) -> Path:
    """The folder of the one run that `name` fits.

    A path from here comes first, then names of folders below `runs`, two levels deep. A
    pattern (`*`, `?`, `[...]`) and the beginning of an id must fit a single run. Errors
    call `runs` what the caller's user types for it, `option`.

    Raises `ValueError` when no run fits, or several do; names the first of them.
    """
    return _RunSearch(runs, marks, option).find_one(expand(os.fspath(name)))


def find_runs(
    names: Sequence[str],
    runs: Path = Path("runs"),
    marks: Sequence[str] = MARKS,
    option: str = "runs=",
) -> list[Path]:
    """The folders of the runs that `names` fit, each once.

    A pattern, a folder of runs (from here or below `runs`) or a folder of such folders
    may name many; any other word names one, as for `find_run`.

    Raises `ValueError` when a name fits no run, or is the beginning of several ids.
    """
    search = _RunSearch(runs, marks, option)
    folders: dict[Path, Path] = {}
    for name in names:
        for folder in search.find_several(expand(name)):
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


class _RunSearch:
    """Looks up any number of words; the folders below `runs` are listed once."""

    def __init__(self, runs: Path, marks: Sequence[str], option: str) -> None:
        self.runs, self.marks, self.option = runs, marks, option

    def find_one(self, word: str) -> Path:
        """As `find_run`."""
        if word and self._is_run(Path(word)):
            return Path(word).absolute()
        matches = {path.resolve(): path for path in self._matches(word)}
        different = sorted(matches.values())
        if len(different) == 1:
            return different[0].absolute()
        if word and not different and os.path.isdir(word):
            raise ValueError(
                f"{word} is no run folder: it has no {' or '.join(self.marks)}."
            )
        if not different and not glob.has_magic(word) and (said := nothing_at(word)):
            raise ValueError(said)
        if different:
            what = f"fits {len(different)} runs below {self.runs}: "
            what += first_few(different)
        else:
            known = sorted(path for same in self._by_name.values() for path in same)
            there = f"There are {first_few(known)}" if known else "There are none"
            what = f"fits no run below {self.runs}. {there}"
        raise ValueError(
            f"{word!r} {what}. Give a whole run id, or the path of its folder "
            f"({self.option}FOLDER searches another one)."
        )

    def find_several(self, word: str) -> list[Path]:
        """The runs of one word of `find_runs`."""
        here = _pattern(word)
        inside = [f"{here}/*", f"{here}/*/*", f"{_pattern(word, self.runs)}/*"]
        marked = self._marked(inside if word else [])
        # A copy in another format may lie in the folder of its run.
        several = [path for path in marked if not self._is_run(path.parent)]
        if not several and glob.has_magic(word):
            several = sorted(self._matches(word))
        return several or [self.find_one(word)]

    def _matches(self, word: str) -> list[Path]:
        """Runs of that very name; else those that fit a pattern, or begin so."""
        if not word or word in self._by_name:
            return self._by_name.get(word, [])
        if glob.has_magic(word):
            below = [_pattern(f"{depth}{word}", self.runs) for depth in ("", "*/")]
            return self._marked([_pattern(word)]) or self._marked(below)
        known = self._by_name.items()  # a path is no part of a name
        return [path for name, same in known if name.startswith(word) for path in same]

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """All runs below `runs`, two levels deep; none inside another one."""
        by_name: dict[str, list[Path]] = {}
        folders = [self.runs]
        for _ in range(2):
            paths = [Path(path) for above in folders for path in _list_folder(above)]
            folders = []
            for path in paths:
                if self._is_run(path):
                    by_name.setdefault(path.name, []).append(path)
                else:
                    folders.append(path)
        return by_name

    def _is_run(self, folder: Path) -> bool:
        return any(os.path.isfile(folder / mark) for mark in self.marks)

    def _marked(self, patterns: Sequence[str]) -> list[Path]:
        """The run folders that fit any of the patterns, each once."""
        found = {Path(path) for pattern in patterns for path in glob.glob(pattern)}
        return sorted(path for path in found if self._is_run(path))


def _list_folder(folder: Path) -> list[str]:
    return glob.glob(f"{glob.escape(os.fspath(folder))}/*")


def _pattern(word: str, below: Path = Path()) -> str:
    """The pattern of a typed word; a folder that exists stands for itself alone."""
    if os.path.isdir(below / word):
        return glob.escape(os.fspath(below / word))
    return os.path.join(glob.escape(os.fspath(below)), word)
