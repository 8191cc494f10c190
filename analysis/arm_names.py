"""How arms are ordered and called. An arm is the word of an objective: `n4`, `chain2`.

Every comparison and every figure is between arms. Nothing here lists them: an objective
that is defined elsewhere has a place, a name and (in `plots.style`) a colour as well.
"""

import re
from collections.abc import Iterable

import polars as pl

from synth.objectives.objective import NEXT_TOKEN

BASELINE = NEXT_TOKEN
"""What every other arm is compared with, unless another one is named."""

_COUNTED = re.compile(r"(n|chain|transfer)(\d+)((?:_[^_]+)*)")


def arm_name(arm: str) -> str:
    """What a sentence or a table calls an arm; an unknown pattern is its own name.

    >>> [arm_name(arm) for arm in ("n1", "n4_anticausal", "transfer2_linear", "top4")]
    ['n = 1', 'n = 4, anticausal', 'transfer 2, linear', 'top4']
    """
    found = _COUNTED.fullmatch(arm)
    if found is None:
        return arm
    family, count, suffixes = found.groups()
    first = f"n = {count}" if family == "n" else f"{family} {count}"
    return ", ".join([first, *suffixes.split("_")[1:]])


def arm_label(arm: str) -> str:
    """What a legend calls an arm.

    >>> arm_label("n1"), arm_label("n4")
    ('n = 1 (next token)', 'n = 4')
    """
    return arm_name(arm) + (" (next token)" if arm == BASELINE else "")


def in_arm_order(arms: Iterable[str]) -> list[str]:
    """The baseline first, then by name with numbers as numbers.

    >>> in_arm_order(["n16", "n2", "chain1", "n1"])
    ['n1', 'chain1', 'n2', 'n16']
    """
    return sorted(arms, key=lambda arm: (arm != BASELINE, _natural(arm)))


def _natural(arm: str) -> list[str | int]:
    parts = re.split(r"([0-9]+)", arm)  # text and digits in turn, text first
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def arms_of(rows: pl.DataFrame) -> list[str]:
    """The arms in a table, in order."""
    return in_arm_order(rows["arm"].drop_nulls().unique().to_list())


def sort_rows(rows: pl.DataFrame, *by: str, nulls_last: bool = False) -> pl.DataFrame:
    """`rows.sort(*by)` with the column `arm` in the order of arms."""
    keys = [
        pl.col(name).cast(pl.Enum(arms_of(rows))) if name == "arm" else pl.col(name)
        for name in by
    ]
    return rows.sort(keys, nulls_last=nulls_last)
