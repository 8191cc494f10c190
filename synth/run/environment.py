"""What a session ran on: versions, commit, dirty patch, device, threads, precision."""

import functools
import os
import platform
import socket
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from synth.config import RunConfig
from synth.identity import require
from synth.run.defining_code import code_of
from synth.run.execution import Execution

PACKAGES = ("torch", "numpy", "safetensors", "polars", "optuna", "submitit")


def require_device(device: str) -> None:
    """Refuse a GPU that is not there, or a word that is no device: a `ValueError`."""
    require(device in ("cpu", "cuda"), "device", "'cpu' or 'cuda'", device)
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("device 'cuda': torch finds no GPU here. Use 'cpu'.")


def capture(
    config: RunConfig, execution: Execution, lanes: int, form: str
) -> dict[str, Any]:
    """The record of one session for `environment.json`; `config` is any of its runs."""
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
        "code": code_of(config),
        "device": device,
        "device_kind": execution.device,
        "threads": execution.threads,
        "compile": execution.compile,
        "step": form,
        "precision": config.training.precision,
        "lanes": lanes,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "command": sys.argv,
    }


@functools.cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results may depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions
