"""From the host's memory to the device's, without a wait on either side."""

import torch
from torch import Tensor


def pinned(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host from which a GPU may copy while the host goes on.

    Each call takes memory of its own: torch keeps it until the copies that were asked of
    it are done, so a batch may be dropped, but not overwritten, while it is on its way.
    """
    return host.pin_memory() if device.type == "cuda" else host


def send(host: Tensor, buffer: Tensor) -> None:
    """Fill a buffer on the device; kernels that are asked for later see the values."""
    buffer.copy_(pinned(host, buffer.device), non_blocking=True)
