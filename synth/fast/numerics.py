"""Threads and determinism of a training process."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from synth.run.execution import Execution


@contextlib.contextmanager
def numerics(execution: Execution) -> Iterator[None]:
    """Set threads and determinism for an execution; restore them afterwards."""
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "Execution.device is 'cuda', but torch finds no GPU here. Use device 'cpu'."
        )
    threads = torch.get_num_threads()
    deterministic = torch.get_deterministic_debug_mode()
    determinism: Any = torch.utils.deterministic
    filled = determinism.fill_uninitialized_memory
    torch.set_num_threads(execution.threads)
    # Not `use_deterministic_algorithms`, which imports the compiler (a second for each
    # process) to switch off benchmarks that it only does on GPUs.
    torch.set_deterministic_debug_mode("error" if execution.device == "cpu" else 0)
    # Every tensor is written before it is read, so filling it first is a wasted pass.
    determinism.fill_uninitialized_memory = False
    try:
        with warnings.catch_warnings():
            # Lanes are rows of a flat tensor, so gradients have the parameters' strides.
            warnings.filterwarnings("ignore", message="grad and param do not obey")
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(deterministic)
        determinism.fill_uninitialized_memory = filled
