"""Execution paths: whether arms trained on the same device, with the same kind of step."""

import polars as pl

from analysis.arm_names import arm_name, arms_of

PATHS = {
    "device": "device",
    "step_form": "step",
    "precision": "precision",
    "lanes": "lanes",
}
"""Columns that describe how a run was computed, and their names in a note."""


def path_difference(rows: pl.DataFrame) -> str:
    """The execution paths of the arms in `rows`, where they differ; "" if they do not.

    A column that is unknown for some arm is left out.

    >>> rows = pl.DataFrame({"arm": ["n1", "n2"], "step_form": ["eager", "native"]})
    >>> path_difference(rows)
    'step: n = 1 eager, n = 2 native'
    """
    notes = []
    for column, word in PATHS.items():
        if column not in rows.columns:
            continue
        used = {
            arm: rows.filter(pl.col("arm") == arm)[column].drop_nulls().unique().sort()
            for arm in arms_of(rows)
        }
        paths = {arm: [str(value) for value in values] for arm, values in used.items()}
        if all(paths.values()) and len({tuple(some) for some in paths.values()}) > 1:
            by_arm = (
                f"{arm_name(arm)} {' or '.join(some)}" for arm, some in paths.items()
            )
            notes.append(f"{word}: {', '.join(by_arm)}")
    return "; ".join(notes)
