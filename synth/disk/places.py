"""Paths of a person: the cache folder, and `~` and `$VAR` in what was typed."""

import os
import re
import stat
import tempfile
from pathlib import Path

ROOMS = ("synth", "slurm", "sweeps", "analysis")
"""The packages of this project."""
VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
"""A variable of the environment in a word, `$VAR` or `${VAR}`."""


def expand(word: str) -> str:
    """A path as a shell reads it. One that exists as it is typed may hold a `$`.

    Raises `ValueError`, naming a variable that is not set, or a `~` that stands for no
    home folder.
    """
    if not word.startswith("~") and ("$" not in word or os.path.lexists(word)):
        return word

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise ValueError(f"must name known variables; {name} is not set ({word!r})")
        return os.environ[name]

    replaced = VARIABLE.sub(value, word)
    home = os.path.expanduser(replaced)
    if home.startswith("~") and not os.path.lexists(home):
        whose = home.partition("/")[0]
        raise ValueError(f"must name a known home folder; {whose} is none ({word!r})")
    return home


def nothing_at(word: str) -> str:
    """A sentence about a path at which nothing lies; empty for a name, or if it exists.

    >>> nothing_at("runs/nothing"), nothing_at("quick")
    ('The folder runs/nothing does not exist.', '')
    """
    is_path = os.sep in word
    what = "file" if Path(word).suffix in (".py", ".parquet") else "folder"
    missing = is_path and not os.path.lexists(word)
    return f"The {what} {word} does not exist." if missing else ""


def cache_folder() -> Path:
    """Where derived files go: `$SYNTH_CACHE`, or `synth` in the user's cache folder.

    A user without a home folder (in a container) has one among the temporary files.

    Raises `ValueError` when `$SYNTH_CACHE` names no path, or there is no folder that is
    the user's own.
    """
    for name, below in (("SYNTH_CACHE", ""), ("XDG_CACHE_HOME", "synth")):
        if given := os.environ.get(name):
            try:
                return (Path(expand(given)) / below).absolute()
            except ValueError as error:
                raise ValueError(f"{name} {error}.") from None
    try:
        return Path.home() / ".cache" / "synth"
    except RuntimeError:
        return _own_temporary_folder()


def _own_temporary_folder() -> Path:
    """A folder that nobody else can write: compiled code is loaded from the cache."""
    folder = Path(tempfile.gettempdir()) / f"synth-cache-{os.getuid()}"
    advice = "Set SYNTH_CACHE to a folder of yours for derived files."
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise ValueError(f"There is no home folder, and {error}. {advice}") from None
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    if not mine or status.st_mode & 0o022:
        raise ValueError(
            f"There is no home folder, and {folder} is not yours alone. {advice}"
        )
    return folder
