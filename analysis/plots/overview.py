"""Every picture that a table has data for: the board, `FIGURES`, one for other tasks.

For a task without a figure of its own, its first metric is drawn against size, or
against training tokens where there is one size. If one more field varies, its values
are panels; if several do, each setting has a picture.
"""

from collections.abc import Collection

import polars as pl

from analysis.fields import Fields
from analysis.plots import board
from analysis.plots.by_field import MOST_PANELS, describe_view, field_figure, file_name
from analysis.plots.families import FIGURES
from analysis.plots.gallery import Picture, draw_picture, draw_settings, picture_name
from analysis.plots.learning_rates import rate_figure
from analysis.selection import IS_TRIAL, drop_unreadable
from analysis.settings import Setting, settings_of
from analysis.superseded import keep_tuned_rates
from analysis.views import Query, view


def all_pictures(
    frame: pl.DataFrame, only: Collection[str] = ()
) -> tuple[list[Picture], list[str]]:
    """Every picture, or those of the figures in `only`, and why others are left out.

    The board comes first. One line names all figures that have no runs.
    """
    done = drop_unreadable(frame).filter(pl.col("state") == "done")
    pictures: list[Picture] = []
    reasons, absent = [], []
    drawn_runs: list[str] = []
    if not only or board.NAME in only:
        if first := board.board_picture(frame):
            pictures.append(first)
        else:
            absent.append(board.NAME)
    for name, entry in FIGURES.items():
        if only and name not in only:
            continue
        rows = entry.select_runs(done)
        if rows.is_empty() and not only:
            absent.append(name)
            continue
        drawn, why = entry.pictures(frame)
        pictures += drawn
        reasons += [f"{name} is left out: {reason}" for reason in why]
        if drawn and not entry.any_task:
            drawn_runs += rows["run_id"].unique().to_list()
    if not only:
        ended = pl.col("state").is_in(["done", "failed"])
        drawn, why = rate_pictures(drop_unreadable(frame).filter(IS_TRIAL, ended))
        pictures += drawn
        reasons += [f"rates are left out: {reason}" for reason in why]
        others = done.filter(~pl.col("run_id").is_in(drawn_runs), ~IS_TRIAL)
        others = keep_tuned_rates(others, drop_unreadable(frame).filter(IS_TRIAL))
        for rows in others.sort("task").partition_by("task", maintain_order=True):
            drawn, why = overviews(rows)
            pictures += drawn
            task = rows["task"][0]
            reasons += [f"an overview of {task} is left out: {one}" for one in why]
    if absent:
        reasons.append(f"no finished run is for {', '.join(absent)}")
    return pictures, reasons


def rate_pictures(trials: pl.DataFrame) -> tuple[list[Picture], list[str]]:
    """A picture for each task and setting of the trials of `sweeps tune`."""
    pictures, reasons = [], []
    for rows in trials.sort("task").partition_by("task", maintain_order=True):
        task = rows["task"][0]
        about = f"Trials of the task {task}: the metric that chose the learning rate."

        def draw(setting: Setting, task: str = task, about: str = about) -> Picture:
            name = f"rates-{task}"
            return draw_picture(name, about, setting, rate_figure, "learning_rate")

        drawn, why = draw_settings(
            settings_of(rows, "scale", "arm", "learning_rate"), draw
        )
        pictures += drawn
        reasons += why
    return pictures, reasons


def overviews(
    done: pl.DataFrame, x: str | None = None
) -> tuple[list[Picture], list[str]]:
    """Pictures of the first metric of one task, and why some are left out.

    `x` is the axis as in `python -m analysis plot`; without it, size.
    """
    fields = Fields(done)
    column = fields.resolve(x) if x else "parameters"
    varied = ["scale", "arm", *([column] if column in fields.paths else [])]
    frame = fields.add_column(done, varied[-1])
    mixed = fields.varying_within(frame, varied)
    panel = None
    if column != "parameters" and done["scale"].n_unique() > 1:
        panel = "scale"
    elif len(mixed) == 1 and len(fields.values(mixed[0])) <= MOST_PANELS:
        panel = mixed[0]
    whole = not mixed or panel in mixed
    settings = [Setting("", "", "", done)] if whole else settings_of(frame, *varied)

    def draw(setting: Setting) -> Picture:
        here = view(setting.frame, Query(), x, panel=panel)
        figure, table = field_figure(here, setting.brief)
        about = f"{here.measure.label} of the task {here.rows['task'][0]}.".capitalize()
        about = " ".join([about, *here.notes])
        name = picture_name(file_name(here), setting)
        return Picture(name, about, setting.label, describe_view(here), figure, table)

    return draw_settings(settings, draw)
