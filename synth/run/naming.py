"""How runs are named on every command line: by id, by path, or by a pattern."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from synth.run.places import expand

HOW = "a run id or its beginning, the path of its folder, or a quoted pattern"
"""What a person may type where a command takes runs."""


def find_run(word: str, runs: Path = Path("runs")) -> Path:
    """The folder of the one run that a word names.

    Raises
    ------
    ValueError
        When it names none, or several.
    """
    found = _named(word, runs)
    if len(found) == 1:
        return found[0]
    raise ValueError(
        f"{word!r} {_several(found)} below {runs}. Give {HOW}; "
        "`python -m sweeps status --json` lists the runs."
    )


def find_runs(words: Sequence[str], runs: Path = Path("runs")) -> list[Path]:
    """The folders of the runs that words name, each once.

    A pattern, or a folder that holds runs, may name many; any other word names one.

    Raises
    ------
    ValueError
        When a word names none, or is the beginning of several ids.
    """
    folders: dict[Path, Path] = {}
    for word in words:
        path = Path(expand(word))
        inside = [] if _is_run(path) else _runs_in(path.glob("*"))
        found = inside or (_named(word, runs) if _is_pattern(word) else None)
        for folder in found or [find_run(word, runs)]:
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def _named(word: str, runs: Path) -> list[Path]:
    """The runs that a word may mean; an exact id is nothing else."""
    path = Path(expand(word))
    if word and _is_run(path):
        return [path]
    if _is_pattern(word):
        from_here = _runs_in(map(Path, glob.glob(str(path))))
        return from_here or _below(runs, word)
    if not word or word != path.name:  # a path is no part of a name
        return []
    found = _below(runs, f"{word}*")
    return [folder for folder in found if folder.name == word] or found


def _below(runs: Path, pattern: str) -> list[Path]:
    """Runs in a folder, or in the folders in it: a sweep has one of its own."""
    if Path(pattern).is_absolute():
        return []
    return _runs_in([*runs.glob(pattern), *runs.glob(f"*/{pattern}")])


def _runs_in(paths: Iterable[Path]) -> list[Path]:
    """The folders of runs among paths; of links to one folder the first."""
    found: dict[Path, Path] = {}
    for path in sorted(paths):
        if _is_run(path):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _is_run(path: Path) -> bool:
    try:
        return (path / "config.json").is_file()
    except (OSError, ValueError):  # a word that no path can be
        return False


def _is_pattern(word: str) -> bool:
    return glob.has_magic(word) and not _is_run(Path(expand(word)))


def _several(found: Sequence[Path]) -> str:
    if not found:
        return "fits no run"
    names = ", ".join(map(str, found[:5]))
    return f"fits {len(found)} runs: {names}"
