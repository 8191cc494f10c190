"""Copies from the host to the device that neither side waits for."""

import torch
from torch import Tensor


def pinned(host: Tensor, device: torch.device) -> Tensor:
    """A copy in pinned memory, from which a GPU can read while the host goes on.

    Each call allocates: torch keeps the memory until all copies from it are done, so a
    batch may be dropped, but not overwritten, in the meantime.
    """
    return host.pin_memory() if device.type == "cuda" else host


def send(host: Tensor, buffer: Tensor) -> None:
    """Fill a buffer on the device; kernels launched later see the values."""
    buffer.copy_(pinned(host, buffer.device), non_blocking=True)
