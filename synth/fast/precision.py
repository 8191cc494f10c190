"""How fast a training step in bf16 is on this CPU, relative to one in fp32.

Precision is part of a run's identity, so it is never changed here. Native layers on tiles
(AMX) gain by their width; their gains are a table. On other processors, whatever their
flags say, products in bf16 may be faster or slower than in fp32; they are measured, in
about thirty milliseconds.
"""

import functools
import time

from synth.fast.compilation import StepForm

GAIN_ON_TILES = ((40, 1.3), (64, 1.8), (128, 2.7))
"""Narrowest width, and how many times as fast a native step is as in fp32
(`python -m tests.bench.bench_peers bf16`, an Intel Xeon)."""
PRODUCTS = 0.65
"""Share of products in a native fp32 step of width 64 and more."""
WORTH_SAYING = 1.5


@functools.cache
def product_speed() -> float:
    """Speed of a matrix product in bf16 relative to fp32, on this CPU."""
    import torch  # takes a second or more, which plans of fp32 runs do not spend

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


def has_tiles() -> bool:
    """Whether this CPU multiplies bf16 on tiles."""
    import torch

    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def bf16_speed(form: StepForm, width: int) -> float:
    """Speed of a step in bf16 relative to fp32, for attention layers of this width."""
    if form == "native" and has_tiles():
        gains = [gain for least, gain in GAIN_ON_TILES if width >= least]
        return gains[-1] if gains else 1.0
    if form == "native" and width < GAIN_ON_TILES[1][0]:
        return 1.0  # narrow layers are computed in fp32 either way
    return 1 / (1 - PRODUCTS + PRODUCTS / product_speed())


def advice(precision: str, form: StepForm, device: str, width: int) -> str | None:
    """A warning for training in fp32 or bf16 here; None if it is fine."""
    if device != "cpu" or (precision == "fp32" and form != "native"):
        return None
    speed = bf16_speed(form, width)
    if precision == "bf16" and speed < 1.0:
        return (
            "TrainingConfig.precision is 'bf16', but a step in bf16 runs at about "
            f"{speed:.1f} x the speed of fp32 on this CPU. The run keeps bf16, which is "
            "part of its identity; --precision fp32 would be another run, and a faster "
            "one here."
        )
    if precision == "fp32" and speed >= WORTH_SAYING:
        return (
            f"A step in bf16 runs at about {speed:.1f} x the speed of fp32 on this CPU. "
            "The run keeps fp32, which is part of its identity; --precision bf16 would "
            "be another run, and a faster one here."
        )
    return None
