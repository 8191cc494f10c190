"""What a session ran on: versions, commit, dirty patch, device, threads, precision."""

import functools
import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from synth.execution import Execution

PACKAGES = ("torch", "numpy", "safetensors", "polars", "optuna", "submitit")
ROOT = Path(__file__).resolve().parent.parent


def require_device(device: str) -> None:
    """Refuse a GPU that is not there, with a `ValueError`."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("--device cuda: torch finds no GPU here. Use cpu.")


def capture(
    execution: Execution, precision: str, lanes: int, form: str
) -> dict[str, Any]:
    """The record of one session for `environment.json`."""
    import torch

    device = platform.processor() or platform.machine()
    if execution.device == "cuda":
        device = torch.cuda.get_device_name()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "code": code_state(),
        "device": device,
        "device_kind": execution.device,
        "threads": execution.threads,
        "compile": execution.compile,
        "step": form,
        "precision": precision,
        "lanes": lanes,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "command": sys.argv,
    }


@functools.cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results may depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


@functools.cache
def code_state() -> dict[str, str | None]:
    """Commit of the code, and what differs from it; nulls outside a git checkout.

    `patch` is the output of `git diff HEAD`; files that git does not track are listed in
    `untracked`. `synth_sha256` is the digest of this package's sources: what trained.
    A copy of the code (see `slurm.snapshot`) brings the state of what it was
    copied from in `code_state.json`.
    """
    copied = ROOT / "code_state.json"
    if copied.exists():
        stored: dict[str, str | None] = json.loads(copied.read_bytes())
        return stored
    state: dict[str, str | None]
    state = {"commit": None, "patch": None, "patch_sha256": None, "untracked": None}
    state["synth_sha256"] = _sources()
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return state
    patch = _git("diff", "HEAD", "--", "*.py", "*.cpp", "*.toml", "*.txt") or ""
    digest = hashlib.sha256(patch.encode()).hexdigest() if patch else None
    untracked = _git("ls-files", "--others", "--exclude-standard") or ""
    return state | {
        "commit": commit.strip(),
        "patch": patch or None,
        "patch_sha256": digest,
        "untracked": untracked.strip() or None,
    }


def _sources() -> str:
    package, sha = Path(__file__).resolve().parent, hashlib.sha256()
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.cpp")]):
        content = path.read_bytes()
        name = path.relative_to(package).as_posix()
        sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
