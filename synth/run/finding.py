"""Runs by whatever a person calls them: an id, its beginning, a path or a pattern."""

import glob
import os
from collections.abc import Sequence
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
    word = expand(os.fspath(name))
    if word and _is_run(Path(word), marks):
        return Path(word).absolute()
    matches = {path.resolve(): path for path in _matches(word, runs, marks)}
    exact = [path for path in matches.values() if path.name == word]
    different = exact or sorted(matches.values())
    if len(different) == 1:
        return different[0].absolute()
    if word and not different and Path(word).is_dir():
        raise ValueError(f"{word} is no run folder: it has no {' or '.join(marks)}.")
    if not different and not glob.has_magic(word) and (said := nothing_at(word)):
        raise ValueError(said)
    if different:
        what = f"fits {len(different)} runs below {runs}: {first_few(different)}"
    else:
        known = _marked([f"{runs}/*", f"{runs}/*/*"], marks)
        there = f"There are {first_few(known)}" if known else "There are none"
        what = f"fits no run below {runs}. {there}"
    raise ValueError(
        f"{word!r} {what}. Give a whole run id, or the path of its folder ({option}FOLDER "
        "searches another one)."
    )


def _is_run(folder: Path, marks: Sequence[str]) -> bool:
    return any((folder / mark).is_file() for mark in marks)


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
    folders: dict[Path, Path] = {}
    for name in names:
        word = expand(name)
        folders_of_runs = [f"{word}/*", f"{word}/*/*", f"{runs / word}/*"]
        inside = _marked(folders_of_runs if word else [], marks)
        # A copy in another format may lie in the folder of its run.
        several = [path for path in inside if not _is_run(path.parent, marks)]
        if not several and glob.has_magic(word):
            several = sorted(_matches(word, runs, marks))
        for folder in several or [find_run(word, runs, marks, option)]:
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def _matches(word: str, runs: Path, marks: Sequence[str]) -> list[Path]:
    if not word:
        return []
    if glob.has_magic(word):
        return _marked([word], marks) or _marked(
            [f"{runs / depth / word}" for depth in ("", "*")], marks
        )
    if word != Path(word).name:
        return []  # a path is no part of a name
    return _marked([f"{runs / depth / word}*" for depth in ("", "*")], marks)


def _marked(patterns: Sequence[str], marks: Sequence[str]) -> list[Path]:
    """The run folders that fit any of the patterns, each once."""
    files = (glob.glob(f"{pattern}/{mark}") for pattern in patterns for mark in marks)
    return sorted({Path(file).parent for found in files for file in found})
