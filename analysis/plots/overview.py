"""Every picture that a table has data for: the known figures, and one for other tasks.

A task without a figure of its own gets its first metric against size, or against
training where there is one size: a panel a value if one more field varies, else a
picture a setting.
"""

from collections.abc import Collection

import polars as pl

from analysis.fields import Fields
from analysis.plots.by_field import MOST_PANELS, facts_of, field_figure, file_name
from analysis.plots.families import FIGURES
from analysis.plots.gallery import Picture, draw_settings, named, one_picture
from analysis.plots.learning_rates import rate_figure
from analysis.selection import IS_TRIAL, usable
from analysis.settings import Setting, settings_of
from analysis.views import Query, view


def all_pictures(
    frame: pl.DataFrame, only: Collection[str] = ()
) -> tuple[list[Picture], list[str]]:
    """Every picture, or those of the figures named, and what is left out with the reason.

    Figures without any runs are named in one line.
    """
    done = usable(frame).filter(pl.col("state") == "done")
    pictures, reasons, absent = [], [], []
    shown: list[str] = []
    for name, entry in FIGURES.items():
        if only and name not in only:
            continue
        here = entry.finished(done)
        if here.is_empty() and not only:
            absent.append(name)
            continue
        drawn, why = entry.pictures(frame)
        pictures += drawn
        reasons += [f"{name} is left out: {reason}" for reason in why]
        if drawn and not entry.any_task:
            shown += here["run_id"].unique().to_list()
    if not only:
        ended = pl.col("state").is_in(["done", "failed"])
        drawn, why = rate_pictures(usable(frame).filter(IS_TRIAL, ended))
        pictures += drawn
        reasons += [f"rates are left out: {reason}" for reason in why]
        others = done.filter(~pl.col("run_id").is_in(shown), ~IS_TRIAL)
        for part in others.sort("task").partition_by("task", maintain_order=True):
            drawn, why = overviews(part)
            pictures += drawn
            task = part["task"][0]
            reasons += [f"an overview of {task} is left out: {one}" for one in why]
    if absent:
        reasons.append(f"no finished run is for {', '.join(absent)}")
    return pictures, reasons


def rate_pictures(trials: pl.DataFrame) -> tuple[list[Picture], list[str]]:
    """A picture a task and setting of the trials of `sweeps tune`."""
    pictures, reasons = [], []
    for part in trials.sort("task").partition_by("task", maintain_order=True):
        task = part["task"][0]
        about = f"The task {task} at every learning rate that was tried for it."

        def draw(setting: Setting, task: str = task, about: str = about) -> Picture:
            name = f"rates-{task}"
            return one_picture(name, about, setting, rate_figure, "learning_rate")

        drawn, why = draw_settings(
            settings_of(part, "scale", "arm", "learning_rate"), draw
        )
        pictures += drawn
        reasons += why
    return pictures, reasons


def overviews(
    done: pl.DataFrame, x: str | None = None
) -> tuple[list[Picture], list[str]]:
    """Pictures of the first metric of one task, and why some are left out.

    Against size, or against `x`, in the words of `python -m analysis plot`.
    """
    fields = Fields(done)
    column = fields.resolve(x) if x else "parameters"
    varied = ["scale", "arm", *([column] if column in fields.paths else [])]
    frame = fields.add(done, varied[-1])
    mixed = fields.mixed(frame, varied)
    panel = None
    if column != "parameters" and done["scale"].n_unique() > 1:
        panel = "scale"
    elif len(mixed) == 1 and len(fields.values(mixed[0])) <= MOST_PANELS:
        panel = mixed[0]
    whole = not mixed or panel in mixed
    parts = [Setting("", "", "", done)] if whole else settings_of(frame, *varied)

    def draw(setting: Setting) -> Picture:
        found = view(setting.frame, Query(), x, panel=panel)
        figure, table = field_figure(found, setting.label)
        about = f"{found.measure.label} of the task {found.rows['task'][0]}."
        name, told = named(file_name(found), setting), facts_of(found)
        return Picture(name, about.capitalize(), setting.label, told, figure, table)

    return draw_settings(parts, draw)
