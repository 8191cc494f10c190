"""Order and names of arms. An arm is the short word of an objective: `n4`, `chain2`.

Comparisons and figures are between arms. Arms are not listed here, so an objective that a
user defines also has a place in the order, a name and (in `plots.style`) a colour.
"""

import re
from collections.abc import Iterable

import polars as pl

from synth.objectives.objective import NEXT_TOKEN

BASELINE = NEXT_TOKEN
"""The default baseline of comparisons."""

_COUNTED = re.compile(r"(n|chain|transfer)(\d+)((?:_[^_]+)*)")


def arm_name(arm: str) -> str:
    """The name of an arm in sentences and tables; an unknown pattern is unchanged.

    >>> [arm_name(arm) for arm in ("n1", "n4_anticausal", "transfer2_linear", "top4")]
    ['n = 1', 'n = 4, anticausal', 'transfer 2, linear', 'top4']
    >>> arm_name("n4_added_w0.3")
    'n = 4, added, weight 0.3'
    """
    match = _COUNTED.fullmatch(arm)
    if match is None:
        return arm
    family, count, suffixes = match.groups()
    first = f"n = {count}" if family == "n" else f"{family} {count}"
    words = [re.sub(r"^w(?=\d)", "weight ", word) for word in suffixes.split("_")[1:]]
    return ", ".join([first, *words])


def arm_label(arm: str) -> str:
    """The name of an arm in legends.

    >>> arm_label("n1"), arm_label("n4")
    ('n = 1 (next token)', 'n = 4')
    """
    return arm_name(arm) + (" (next token)" if arm == BASELINE else "")


def in_arm_order(arms: Iterable[str]) -> list[str]:
    """Sort arms: the baseline first, then by name with numbers as numbers.

    >>> in_arm_order(["n16", "n2", "chain1", "n1"])
    ['n1', 'chain1', 'n2', 'n16']
    """
    return sorted(arms, key=lambda arm: (arm != BASELINE, natural_key(arm)))


def natural_key(text: str) -> list[str | int]:
    """A sort key that orders the numbers in a text by value."""
    words = re.split(r"([0-9]+)", text)  # text and digits in turn, text first
    return [int(word) if i % 2 else word for i, word in enumerate(words)]


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
