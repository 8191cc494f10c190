"""The ladder of model sizes, and what a model of each size costs.

The rungs from 1M up are those of table S14 of arXiv 2404.19737; the smaller ones are
this suite's own, for CPUs, deep enough for a horizon of 4. Names count non-embedding
parameters, 12 L d^2 for L layers of width d.
"""

import re
from dataclasses import dataclass

from synth.identity import nearest


@dataclass(frozen=True)
class Scale:
    """The shape of a trunk and its heads: `layers` counts both."""

    width: int
    layers: int
    heads: int

    @property
    def mlp_width(self) -> int:
        """Width of the gated MLP: 8d/3, to the nearest multiple of 8 (12 L d^2 holds)."""
        return max(8, 8 * round(self.width / 3))

    @property
    def nominal_parameters(self) -> int:
        """12 L d^2, the count that gives a rung its name."""
        return 12 * self.layers * self.width**2


SCALES = {
    "10k": Scale(12, 6, 2),
    "30k": Scale(24, 5, 2),
    "100k": Scale(40, 5, 2),
    "300k": Scale(64, 6, 4),
    "1M": Scale(128, 5, 4),
    "3M": Scale(256, 4, 8),
    "10M": Scale(384, 6, 8),
    "30M": Scale(512, 10, 8),
    "100M": Scale(768, 14, 12),
    "300M": Scale(1024, 25, 16),
    "1B": Scale(1536, 36, 24),
}

MAX_WIDTH, MAX_LAYERS = 1 << 16, 1024
_EXPLICIT = re.compile(r"d(\d+)-L(\d+)-h(\d+)")


def resolve(name: str) -> tuple[str, Scale]:
    """The scale called `name`, with its canonical name.

    Besides the rungs, `d64-L6-h4` means width 64, 6 layers, 4 attention heads; a shape
    that is a rung takes the name of the rung.

    >>> resolve("d128-L5-h4"), resolve("d016-L4-h2")[0]
    (('1M', Scale(width=128, layers=5, heads=4)), 'd16-L4-h2')

    Raises `ValueError` for an unknown name, or a width that the heads do not divide
    into even parts.
    """
    if name in SCALES:
        return name, SCALES[name]
    match = _EXPLICIT.fullmatch(name)
    if match is None:
        raise ValueError(
            f"ModelConfig.scale must be a rung of the ladder or a shape such as "
            f"'d64-L6-h4'; got {name!r}. {nearest(name, SCALES)}"
        )
    # Python converts no more than some thousand digits; nine are too many anyway.
    numbers = [digits.lstrip("0") or "0" for digits in match.groups()]
    width, layers, heads = (int(digits[:9]) for digits in numbers)
    if width > MAX_WIDTH or layers > MAX_LAYERS:
        raise ValueError(
            f"ModelConfig.scale must have at most width {MAX_WIDTH} and {MAX_LAYERS} "
            f"layers; got {name!r}."
        )
    if min(width, layers, heads) < 1:
        raise ValueError(
            f"ModelConfig.scale {name!r} is impossible: width, layers and attention heads "
            "must be at least 1."
        )
    if width % heads or (width // heads) % 2:
        raise ValueError(
            f"ModelConfig.scale {name!r} is impossible: the width must be a multiple of "
            "twice the number of attention heads (rotary positions turn pairs)."
        )
    shape = Scale(width, layers, heads)
    names = [rung for rung, known in SCALES.items() if known == shape]
    return (names[0] if names else f"d{width}-L{layers}-h{heads}"), shape


def format_count(number: float | None) -> str:
    """A count in about four characters, a dash for None.

    >>> [format_count(n) for n in (None, 950, 10_368, 31_457_280, 26.2144e9)]
    ['-', '950', '10.4k', '31.5M', '26.2B']
    """
    if number is None:
        return "-"
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
