"""What git says of the checkout that this code lies in: commit, patch, untracked files.

A person's settings do not change the answer: every one that git reads for a diff is
overridden, variables that point git elsewhere are removed, and git never looks above
the checkout, where it might find another repository.
"""

import hashlib
import os
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synth.disk.places import ROOMS

PATCH_BYTES = 200_000
"""The longest patch that is recorded; of a longer one, its size and digest."""
UNTRACKED_NAMES = 50
TIMEOUT_SECONDS = 20
COPIES = (":(exclude,glob)**/.sweep/**", ":(exclude,glob)**/.slurm/**")
"""What launches keep beside the runs holds copies of the code; they are not the code."""
NOTHING: dict[str, Any] = {
    "commit": None,
    "git": None,
    "patch": None,
    "patch_bytes": None,
    "patch_sha256": None,
    "untracked": None,
}

_SETTINGS = {
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.fileMode": "false",
    "core.fsmonitor": "false",
    "core.quotePath": "true",
    "diff.suppressBlankEmpty": "false",
}
_DIFF = (
    *("--text", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color"),
    *("--no-relative", "--no-renames", "--no-indent-heuristic", "--unified=3"),
    *("--inter-hunk-context=0", "--diff-algorithm=myers", "--submodule=short"),
    *("--ignore-submodules=all", "--src-prefix=a/", "--dst-prefix=b/"),
    *("--ws-error-highlight=none", f"-O{os.devnull}"),
)
_KEPT = ("GIT_CONFIG_COUNT", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM")
_KEPT_PREFIXES = ("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_", "GIT_CONFIG_SYSTEM")


class GitFailed(Exception):
    """Git is absent, refused, or took too long; with git's message where it has one."""


def read_checkout(root: Path) -> dict[str, Any]:
    """Commit, patch and untracked code of the checkout whose top folder is `root`.

    All are null outside a checkout, and `git` says why. `patch` is `git diff HEAD` of
    the code, with bytes that are not UTF-8 written as `\\xe9`; `patch_sha256` and
    `patch_bytes` are those of git's own output, and beyond `PATCH_BYTES` they are all
    that is kept.
    """
    try:
        return NOTHING | _read(root)
    except GitFailed as error:
        return NOTHING | {"git": str(error)}


def _read(root: Path) -> dict[str, Any]:
    if not (root / ".git").exists():
        raise GitFailed(f"{root} is no git checkout")
    commit = _git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    own = "synth/__init__.py"
    if not _git(root, "ls-files", "-z", "--", own):
        raise GitFailed(
            f"the repository at {root} does not track {own}: its commit says nothing "
            "of this code"
        )
    code = ("*.py", "*.cpp", "*.toml", "constraints.txt", "synth", *COPIES)
    patch = _git(root, "diff", *_DIFF, "HEAD", "--", *code)
    others = ("ls-files", "-z", "--others", "--exclude-standard", "--", *ROOMS, *COPIES)
    return {
        "commit": commit,
        **describe_patch(patch),
        "untracked": _names(_git(root, *others)),
    }


def describe_patch(patch: bytes) -> dict[str, Any]:
    """The patch as it is recorded: text, size in bytes, digest; nulls if it is empty."""
    if not patch:
        return {}
    short = len(patch) <= PATCH_BYTES
    return {
        "patch": patch.decode(errors="backslashreplace") if short else None,
        "patch_bytes": len(patch),
        "patch_sha256": hashlib.sha256(patch).hexdigest(),
    }


def drop_repeated_patch(
    session: dict[str, Any], earlier: Sequence[Any]
) -> dict[str, Any]:
    """A session's record without a patch that an earlier session of the run holds.

    `patch_sha256` says which; so the record of a run that is often interrupted does
    not grow by a patch each time.
    """
    code = session.get("code") or {}
    codes = [one.get("code") or {} for one in earlier if isinstance(one, dict)]
    digests = {c.get("patch_sha256") for c in codes if isinstance(c, dict)}
    if code.get("patch") is None or code.get("patch_sha256") not in digests:
        return session
    return session | {"code": code | {"patch": None}}


def _names(listed: bytes) -> str | None:
    """File names, a line each, or null; of very many, the first and how many more."""
    names = [os.fsdecode(name) for name in listed.split(b"\0") if name]
    shown = [name.encode(errors="backslashreplace").decode() for name in names]
    if len(shown) > UNTRACKED_NAMES:
        more = len(shown) - UNTRACKED_NAMES
        shown = [*shown[:UNTRACKED_NAMES], f"... and {more} more"]
    return "\n".join(shown) or None


def _git(root: Path, *arguments: str) -> bytes:
    """What git prints.

    Raises `GitFailed` with git's message. Unsafe ownership, which a person can fix,
    also warns.
    """
    settings = [word for item in _SETTINGS.items() for word in ("-c", "=".join(item))]
    try:
        done = subprocess.run(
            ["git", "--no-pager", *settings, *arguments],
            cwd=root,
            env=_environment(root),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
        )
    except OSError as error:
        raise GitFailed(f"git cannot be started: {error}") from None
    except subprocess.TimeoutExpired:
        raise GitFailed(f"git took more than {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        if "dubious ownership" in said or "unsafe repository" in said:
            warnings.warn(
                f"{root} belongs to another user, so git does not read it and no commit "
                "is recorded with the runs. If you trust it: "
                f"git config --global --add safe.directory {root}",
                stacklevel=2,
            )
        raise GitFailed(said or f"git ended with exit status {done.returncode}")
    return done.stdout


def _environment(root: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_")
        or name in _KEPT
        or name.startswith(_KEPT_PREFIXES)
    }
    return kept | {
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(root.parent),
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }
