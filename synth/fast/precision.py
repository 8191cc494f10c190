"""Advises whether bf16 is faster than fp32 on this processor.

Precision is part of a run's identity, so it is never changed here. Processors with matrix
units for bf16 (AMX) multiply about ten times faster in it; others may be slower than in
fp32, whatever their flags say. So it is measured, in about thirty milliseconds.
"""

import functools
import time

import torch


@functools.cache
def bf16_speed() -> float:
    """Speed of a matrix product in bf16 relative to fp32, on this CPU."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1152, dtype=dtype)
        times = []
        for _ in range(6):
            began = time.perf_counter()
            torch.mm(a, b)
            times.append(time.perf_counter() - began)
        seconds[dtype] = min(times)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def advice(precision: str, device: str) -> str | None:
    """A warning for training in this precision here; None if it is fine."""
    if precision != "bf16" or device != "cpu" or (speed := bf16_speed()) > 1.0:
        return None
    return (
        f"TrainingConfig.precision is 'bf16', but matrix products in bf16 run at "
        f"{speed:.1f} x the speed of fp32 on this CPU. The run keeps bf16, which is part "
        "of its identity; --precision fp32 would be another run, and a faster one here."
    )
