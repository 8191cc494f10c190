"""Whether bf16 agrees with fp32: loss curves of twins, and the effect of objectives.

Twins are two runs that differ in the precision of training alone: they have the same
initial weights and the same data. Both are evaluated in fp32.
"""

import json
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.arm_names import BASELINE, arm_label, arm_name, arms_of, sort_rows
from analysis.comparisons import pair_arms, subtract_pairs, summarize_pairs
from analysis.events import event_times
from analysis.plots import style
from analysis.selection import TRAIN, select_metric

PRECISIONS = ("fp32", "bf16")
GAP = "bf16 - fp32"
"""The value of `precision` in rows of the difference between both."""
FP32: dict[str, Any] = {"lw": 4, "alpha": 0.3}
BF16: dict[str, Any] = {"lw": 1.2, "ls": (0, (3, 1.2))}
"""Styles of the two means: a broad pale line, and dashes that stay visible on it."""
FORMED = 0.9
"""Accuracy from which the ability counts as formed."""
MEASURES = {
    "accuracy": "mean test accuracy during training",
    "formed": f"thousand tokens to {FORMED:.0%} accuracy\n(pairs that reached it)",
    "loss": "mean test loss of head 1, nats",
}
"""Outcomes on which objectives are compared, with the label of the axis."""


def twins(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of finished runs that have a twin, with `twin` and `cell`.

    `twin` is equal for two runs that differ in precision alone, `cell` for all runs
    that differ in precision, arm and seeds.

    Raises
    ------
    ValueError
        When there are none.
    """
    done = frame.filter(pl.col("state") == "done", pl.col("config").is_not_null())
    configs = done.select("config", "precision").unique().sort("config")
    keys = pl.DataFrame(
        [(config, *_twin_keys(config)) for config in configs["config"]],
        schema={"config": pl.String(), "twin": pl.String(), "cell": pl.String()},
        orient="row",
    )
    both = configs.join(keys, on="config").group_by("twin").agg(pl.col("precision"))
    both = both.filter(pl.col("precision").list.n_unique() == len(PRECISIONS))
    rows = done.join(keys, on="config").filter(pl.col("twin").is_in(both["twin"]))
    if rows.is_empty():
        raise ValueError("no finished run has a twin in the other precision")
    if rows["cell"].n_unique() > 1:
        names = rows.select("task", "scale").unique().sort("task", "scale").rows()
        raise ValueError(
            f"the table has twins of several settings ({names}): draw one at a time"
        )
    return rows.sort("run_id", "step")


def _twin_keys(config: str) -> tuple[str, str]:
    """The configuration without its precision, and without arm and seeds as well."""
    stored = json.loads(config)
    del stored["training"]["precision"]
    twin = json.dumps(stored, sort_keys=True)
    for name in ("seed", "data_seed"):
        stored.pop(name, None)
    stored["objective"] = {"scored": stored["objective"].get("scored")}
    return twin, json.dumps(stored, sort_keys=True)


def curve_differences(frame: pl.DataFrame) -> pl.DataFrame:
    """Training loss of head 1 of twins at each row of metrics: fp32, bf16, difference."""
    rows = select_metric(twins(frame), "loss", TRAIN).filter(
        pl.col("slice") == "horizon=1"
    )
    keys = ["arm", "seed", "twin", "step", "tokens"]
    sides = [
        rows.filter(pl.col("precision") == kind).select(
            *keys, pl.col("value").alias(kind)
        )
        for kind in PRECISIONS
    ]
    table = sort_rows(sides[0].join(sides[1], on=keys), "arm", "seed", "step")
    return table.with_columns(difference=pl.col("bf16") - pl.col("fp32")).drop("twin")


def precision_curves(frame: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """Draw the loss of twins in fp32 and in bf16, and below it the difference.

    A column for each arm, a thin line for each seed; thick lines are means over seeds.
    """
    table = curve_differences(frame)
    arms = arms_of(table)
    with style.house_style():
        figure = style.empty_figure(style.PANEL_WIDTH * len(arms), 4.2)
        grid = figure.subplots(
            2,
            len(arms),
            sharex=True,
            sharey="row",
            squeeze=False,
            height_ratios=(3, 2),
        )
        for (above, below), arm in zip(grid.T, arms, strict=True):
            here = table.filter(pl.col("arm") == arm)
            color = style.color_of(arm)
            _draw_lines(above, here, "fp32", color, **FP32)
            _draw_lines(above, here, "bf16", color, **BF16)
            _draw_lines(below, here, "difference", color)
            below.axhline(0, color=style.FAINT, ls=":", lw=1, zorder=1)
            above.set_title(arm_label(arm))
            style.short_numbers(below)
        grid[0][0].set_ylabel("training loss of head 1, nats")
        grid[1][0].set_ylabel("bf16 - fp32, nats")
        style.label_x(figure, "training tokens")
        style.legend_below(figure, _curve_keys())
        figure.align_ylabels(grid[:, 0])
    return figure, table


def _draw_lines(
    axes: Axes, rows: pl.DataFrame, column: str, color: str, **options: Any
) -> None:
    for run in rows.partition_by("seed", maintain_order=True):
        axes.plot(run["tokens"], run[column], lw=0.6, alpha=0.35, color=color)
    mean = rows.group_by("tokens").agg(pl.col(column).mean()).sort("tokens")
    axes.plot(mean["tokens"], mean[column], color=color, **options)


def _curve_keys() -> list[Line2D]:
    ink: dict[str, Any] = {"color": style.INK}
    return [
        Line2D([], [], label="fp32, mean", **ink, **FP32),
        Line2D([], [], label="bf16, mean", **ink, **BF16),
        Line2D([], [], lw=0.6, alpha=0.5, label="one seed", **ink),
    ]


def arm_effects(frame: pl.DataFrame) -> pl.DataFrame:
    """Every other arm minus n = 1, paired by seed, in both precisions.

    A row for each measure, arm and precision: mean difference, t interval, pairs. Rows
    of precision `GAP` have the difference between the two precisions.
    """
    rows = _outcomes(twins(frame))
    by = ["measure", "precision", "arm"]
    sides = [
        pair_arms(rows.filter(pl.col("precision") == kind), ["measure"])
        for kind in PRECISIONS
    ]
    if any(side.is_empty() for side in sides):
        raise ValueError(f"twins have no arm to compare with {arm_name(BASELINE)}")
    gap = subtract_pairs(sides[0], sides[1], ["measure", "arm"])
    names = (*PRECISIONS, GAP)
    columns = ["measure", "arm", "data_seed", "difference"]
    rows = pl.concat(
        differences.select(*columns, precision=pl.lit(name))
        for differences, name in zip((*sides, gap), names, strict=True)
    )
    order = pl.col("precision").cast(pl.Enum(names))
    ordered = sort_rows(rows.with_columns(order), "arm", "precision", "measure")
    return summarize_pairs(
        ordered.with_columns(pl.col("precision").cast(pl.String())), by
    )


def _outcomes(rows: pl.DataFrame) -> pl.DataFrame:
    """The `value` of each run and measure."""
    accuracy = select_metric(rows, "accuracy", "test").filter(pl.col("slice") == "")
    loss = select_metric(rows, "loss", "test").filter(pl.col("slice") == "horizon=1")
    if accuracy.is_empty():
        raise ValueError("twins have no test/accuracy")
    keys = ["run_id", "precision", "arm", "data_seed"]
    times = event_times(accuracy, FORMED).filter("happened")
    formed = times.with_columns(value=pl.col("tokens") / 1000)
    runs = accuracy.select(keys).unique()
    outcomes = {
        "accuracy": accuracy.group_by(keys).agg(pl.col("value").mean()),
        "formed": runs.join(formed, on="run_id"),
        "loss": loss.group_by(keys).agg(pl.col("value").mean()),
    }
    return pl.concat(
        [
            values.select(*keys, "value", measure=pl.lit(name))
            for name, values in outcomes.items()
        ]
    ).sort("measure", *keys)


def precision_effects(frame: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """Draw the differences of arms from n = 1, measured in fp32 and in bf16.

    A panel for each measure. A dot is the mean of paired differences over seeds, with its
    95 % t interval. The precisions agree where both intervals lie on one side of zero.
    """
    table = arm_effects(frame)
    arms = arms_of(table)
    kinds = [*PRECISIONS, GAP]
    with style.house_style():
        figure = style.empty_figure(2.5 * len(MEASURES) + 1.2, 1.1 + 0.75 * len(arms))
        grid = figure.subplots(1, len(MEASURES), sharey=True, squeeze=False)
        for axes, (name, label) in zip(grid[0], MEASURES.items(), strict=True):
            for row in table.filter(pl.col("measure") == name).iter_rows(named=True):
                place = kinds.index(row["precision"])
                y = arms.index(row["arm"]) * (len(kinds) + 0.8) + place
                is_gap = row["precision"] == GAP
                color = style.FAINT if is_gap else style.color_of(row["arm"])
                if row["low"] is not None:
                    axes.plot([row["low"], row["high"]], [y, y], color=color, lw=1.2)
                marker = style.marker_of(row["arm"])
                fill = "white" if row["precision"] == "bf16" else color
                axes.plot(row["difference"], y, marker, color=color, mfc=fill)
            axes.axvline(0, color=style.FAINT, ls=":", lw=1, zorder=1)
            axes.set_xlabel(f"difference in\n{label}")
            axes.grid(visible=False, axis="y")
        ticks = {
            i * (len(kinds) + 0.8) + j: f"{arm_name(arm)}, {kind}"
            for i, arm in enumerate(arms)
            for j, kind in enumerate(kinds)
        }
        grid[0][0].set_yticks(list(ticks), list(ticks.values()))
        grid[0][0].set_ylim(max(ticks) + 0.6, -0.6)
    return figure, table
