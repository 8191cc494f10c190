"""Which code trains: a copy taken at launch, and a word when older work has other code.

Workers import `synth` and `sweeps` from a copy below the sweep's folder, so edits while
a launch runs change nothing in it. A run that other code has begun is not gone on with
unless the user accepts the mixture; what differs is recorded in `environment.json`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from slurm import snapshot
from synth.environment import code_state
from synth.store import RunFolder, write_atomically

PACKAGES = ("synth", "slurm", "sweeps")
FOLDER = ".sweep"
"""What a launch keeps beside the runs: the copy of the code, the logs of workers."""
_TYPED = "typed.json"


def take_copy(root: Path) -> Path:
    """Copy the code below `root` (equal code once); workers run from there."""
    return snapshot.take(root, packages=PACKAGES, folder=FOLDER)


@dataclass(frozen=True)
class Typed:
    """What a person typed to launch: `python -m sweeps VERB WORDS`."""

    verb: str
    words: str

    def remember(self, root: Path) -> None:
        """Keep it beside the runs, so that `status` can name the next command."""
        if last_typed(root) != self:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
            text = json.dumps(asdict(self)).encode() + b"\n"
            write_atomically(root / FOLDER / _TYPED, text)


def last_typed(root: Path) -> Typed | None:
    """How the runs below a folder were launched last; `None` if nobody knows."""
    try:
        return Typed(**json.loads((root / FOLDER / _TYPED).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


@cache
def own_code() -> str | None:
    """Digest of the sources of `synth` that this process was started with."""
    return code_state().get("synth_sha256")


def refuse_other_code(root: Path, run_ids: Sequence[str]) -> None:
    """Refuse to go on with runs whose last session had other sources of `synth`.

    Raises
    ------
    ValueError
        Names how many, the first, its commit, and the ways out.
    """
    other = []
    for run_id in run_ids:
        try:
            stored = RunFolder(root, run_id).read_json("environment.json") or {}
            code = stored["sessions"][-1]["code"]
            began = code.get("synth_sha256")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            continue  # never begun, or by code that did not record it
        if began is not None and began != own_code():
            other.append((run_id, code))
    if other:
        run_id, code = other[0]
        dirty = " with local changes" if code.get("patch_sha256") else ""
        commit = str(code.get("commit"))[:10]
        raise ValueError(
            f"{len(other)} unfinished runs were begun by other code than this (the "
            f"first: {run_id}, at commit {commit}{dirty}). Going on would "
            "mix two versions in one run. Check that code out again, or move the "
            "folders away to train them afresh, or accept it with --accept-code-change."
        )
