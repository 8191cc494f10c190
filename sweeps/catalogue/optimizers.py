"""Does what several heads gain survive a better optimiser? AdamW beside Muon.

Two effects that appear within a minute at tuned rates are measured again with Muon:
choices are learned with four heads and not with one, and induction forms earlier with two.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from sweeps.catalogue.induction import REPEATS
from sweeps.catalogue.quick import CHOICES
from sweeps.sweep import sweep
from synth.config import RunConfig

OPTIMIZERS: tuple[Literal["adamw", "muon"], ...] = ("adamw", "muon")


@sweep(
    figure="loss at choices and accuracy on repeats against tokens",
    answers="does the gain of several heads survive Muon?",
    scales=("quick",),
    rates=(1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
)
def optimizers(scale: str) -> Iterator[RunConfig]:
    """Choice points and repeats with AdamW and with Muon, one head and more, ten seeds."""
    for design in (CHOICES, REPEATS):
        for optimizer in OPTIMIZERS:
            training = replace(design.training, optimizer=optimizer)
            yield from replace(design, seeds=10, training=training).runs()
