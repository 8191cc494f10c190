"""Runs by whatever a person calls them: an id, its beginning, a path or a pattern."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from synth.run.places import expand


def find_run(name: str | os.PathLike[str], runs: Path = Path("runs")) -> Path:
    """The folder of the one run that `name` fits.

    A path from here comes first, then names of folders below `runs`, two levels deep. A
    pattern (`*`, `?`, `[...]`) and the beginning of an id must fit a single run.

    Raises
    ------
    ValueError
        When no run fits, or several do; names the first of them.
    """
    word = expand(os.fspath(name))
    if word and (Path(word) / "config.json").is_file():
        return Path(word).absolute()
    matches = {path.resolve(): path for path in _matches(word, runs)}
    exact = [path for path in matches.values() if path.name == word]
    different = exact or sorted(matches.values())
    if len(different) == 1:
        return different[0].absolute()
    if word and not different and Path(word).is_dir():
        raise ValueError(f"{word} is no run folder: it has no config.json.")
    names = ", ".join(str(path) for path in different[:5])
    several = f"fits {len(different)} runs: {names}" if names else "fits no run"
    raise ValueError(
        f"{word!r} {several} below {runs}. Give a whole run id, or the path of its "
        "folder; `python -m sweeps status --json` lists them."
    )


def find_runs(names: Sequence[str], runs: Path = Path("runs")) -> list[Path]:
    """The folders of the runs that `names` fit, each once.

    A pattern, or a folder that holds runs, may name many; any other word names one, as
    for `find_run`.

    Raises
    ------
    ValueError
        When a name fits no run, or is the beginning of several ids.
    """
    folders: dict[Path, Path] = {}
    for name in names:
        word = expand(name)
        within = sorted(file.parent for file in Path(word).glob("*/config.json"))
        several = within or (
            sorted(_matches(word, runs)) if glob.has_magic(word) else []
        )
        for folder in several or [find_run(word, runs)]:
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def _matches(word: str, runs: Path) -> list[Path]:
    if not word:
        return []
    if glob.has_magic(word):
        whole = [f"{word}/config.json"]
        below = [f"{runs / depth / word}/config.json" for depth in ("", "*")]
    else:
        # A part of a name is no pattern, and a path is no part of a name.
        part = f"{word}*" if word == Path(word).name else None
        whole = []
        below = [f"{runs / depth / part}/config.json" for depth in ("", "*") if part]
    found = [Path(file).parent for pattern in whole for file in glob.glob(pattern)]
    return found or [
        Path(file).parent for pattern in below for file in glob.glob(pattern)
    ]
