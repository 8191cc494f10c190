"""How fast a training step in bf16 is on this CPU, relative to one in fp32.

Precision is part of a run's identity, so it is never changed here. Native layers with bf16
products (tiles of AMX, vectors of AMD's avx512_bf16) gain by their width; their gains are
tables. On other processors, whatever their flags say, products in bf16 may be faster or
slower than in fp32; they are measured, in about thirty milliseconds.
"""

import functools
import time
from pathlib import Path
from typing import Literal

from synth.fast.compilation import StepForm

Units = Literal["tiles", "vectors"]
GAINS: dict[Units, tuple[tuple[int, float], ...]] = {
    "tiles": ((40, 1.3), (64, 1.8), (128, 2.7)),
    "vectors": ((40, 1.2), (64, 1.5), (128, 2.0)),
}
"""Narrowest width, and how many times as fast a native step is as in fp32
(`python -m tests.bench.bench_peers bf16`, an Intel Xeon and an AMD EPYC)."""
PRODUCTS = 0.65
"""Share of products in a step of width 128 and more, and in a native one of 64 and more."""
NARROW_EAGER = 0.6
"""The gain of an eager step below width 128, which spends its time between products
(0.5 at 10k to 0.7 at 300k, the same EPYC)."""
WORTH_SAYING = 1.5


@functools.cache
def product_speed() -> float:
    """Speed of a matrix product in bf16 relative to fp32, on this CPU."""
    import torch  # takes a second or more, which plans of fp32 runs do not spend

    from synth.models.products import product

    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(64, 384, dtype=dtype), torch.ones(384, 1152, dtype=dtype)
        times = []
        for _ in range(6):
            began = time.perf_counter()
            product(a, b)
            times.append(time.perf_counter() - began)
        seconds[dtype] = min(times)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def bf16_units(cpuinfo: Path = Path("/proc/cpuinfo")) -> Units | None:
    """What native layers multiply bf16 with on this CPU; None where nothing is fast."""
    try:
        words = set(cpuinfo.read_text().split())
    except OSError:
        return None
    if "amx_bf16" in words:
        return "tiles"
    amd = "AuthenticAMD" in words and "avx512_bf16" in words
    return "vectors" if amd else None


def bf16_speed(form: StepForm, width: int) -> float:
    """Speed of a step in bf16 relative to fp32, for attention layers of this width."""
    if form == "native":
        units = bf16_units()
        if units is not None:
            gains = [gain for least, gain in GAINS[units] if width >= least]
            return gains[-1] if gains else 1.0
        if width < 64:
            return 1.0  # narrow layers are computed in fp32 either way
    elif width < 128:
        return NARROW_EAGER
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
            "part of its identity; precision 'fp32' would be another run, and a faster "
            "one here."
        )
    if precision == "fp32" and speed >= WORTH_SAYING:
        return (
            f"A step in bf16 runs at about {speed:.1f} x the speed of fp32 on this CPU. "
            "The run keeps fp32, which is part of its identity; precision 'bf16' would "
            "be another run, and a faster one here."
        )
    return None
