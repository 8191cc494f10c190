"""Every figure by name, drawn once for each setting that the table holds.

A figure function draws runs of one setting. Tables of several sweeps hold several, and
each gets a picture of its own with a name of its own: nothing is averaged over settings,
and no sweep hides another.
"""

import functools
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure

from analysis.fields import Fields
from analysis.plots import style
from analysis.selection import IS_TRIAL, drop_unreadable
from analysis.settings import (
    Setting,
    append_label,
    check_one_setting,
    describe_training,
    settings_of,
)
from analysis.superseded import keep_tuned_rates

Drawn = tuple[Figure, pl.DataFrame]
Draw = Callable[[pl.DataFrame], Drawn]


@dataclass(frozen=True)
class Picture:
    """A figure of one setting with its name, caption and plotted table."""

    name: str
    """Of its files: the figure, and its setting if there are several."""
    about: str
    """What it shows, as a sentence."""
    label: str
    """The label of its setting."""
    training: str
    """What was trained; see `describe_training`."""
    figure: Figure
    table: pl.DataFrame
    """What is plotted."""

    @property
    def caption(self) -> str:
        """What it shows, of which runs."""
        return append_label(f"{self.about} {self.training}", self.label) + "."


@dataclass(frozen=True)
class Entry:
    """A figure of the suite."""

    name: str
    draw: Draw
    varied: tuple[str, ...]
    """Columns, or dotted paths of fields, that its runs may differ in."""
    runs: pl.Expr
    """Selects the rows of its runs."""
    missing: str
    """What runs lack if it cannot be drawn."""
    any_task: bool = False
    """Whether it draws runs of any task; `overview` draws these runs too."""

    @property
    def about(self) -> str:
        """The first sentence of the function's docstring."""
        return (self.draw.__doc__ or self.name).strip().partition("\n\n")[0]

    def pictures(self, frame: pl.DataFrame) -> tuple[list[Picture], list[str]]:
        """A picture for each setting of finished runs, and why others have none.

        Of cells that were tuned, the runs at the tuned rate are drawn, as in answers.
        """
        readable = drop_unreadable(frame)
        done = self.select_runs(readable)
        done = keep_tuned_rates(done, readable.filter(IS_TRIAL))
        if done.is_empty():
            return [], [f"no finished run has {self.missing}"]

        def draw(setting: Setting) -> Picture:
            return draw_picture(self.name, self.about, setting, self.draw, *self.varied)

        return draw_settings(settings_of(done, *self.varied), draw)

    def select_runs(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Its runs that are done, with the fields that vary as columns.

        Trials of rates are left out: `overview.rate_pictures` draws them.
        """
        done = frame.filter((pl.col("state") == "done") & ~IS_TRIAL & self.runs)
        for path in self.varied:
            if "." in path:
                done = Fields(done).add_column(done, path)
        return done


def draw_settings(
    settings: Iterable[Setting], draw: Callable[[Setting], Picture]
) -> tuple[list[Picture], list[str]]:
    """A picture of each setting, and the reasons why some have none, each once.

    `draw` raises `ValueError` with the reason where it cannot draw a setting.
    """
    pictures: list[Picture] = []
    labels: dict[str, list[str]] = {}
    for setting in settings:
        try:
            pictures.append(draw(setting))
        except ValueError as error:
            labels.setdefault(f"{error}".rstrip("."), []).append(setting.label)
    reasons = []
    for reason, of in labels.items():
        if not pictures and len(labels) == 1:
            reasons.append(reason)
        else:
            where = of[0] if len(of) == 1 else f"in {len(of)} settings"
            reasons.append(f"{where}: {reason}" if where else reason)
    return pictures, reasons


def draw_picture(
    name: str, about: str, setting: Setting, draw: Draw, *columns: str
) -> Picture:
    """Draw a setting, with what was trained above the panels (`describe_training`)."""
    figure, table = draw(setting.frame)
    in_label = setting.label.split(", ")
    words = describe_training(setting.frame, *columns).split("; ")
    training = "; ".join(word for word in words if word not in in_label)
    annotate(figure, training, setting.brief)
    name = picture_name(name, setting)
    return Picture(name, about, setting.label, training, figure, table)


FIGURES: dict[str, Entry] = {}
"""In the order of the report."""


def drawing(
    name: str, *varied: str, runs: pl.Expr, missing: str, any_task: bool = False
) -> Callable[[Draw], Draw]:
    """Register a figure function in `FIGURES`.

    The decorated function refuses runs of several settings.
    """

    def register(draw: Draw) -> Draw:
        @functools.wraps(draw)
        def checked(frame: pl.DataFrame) -> Drawn:
            rows = entry.select_runs(frame)
            if rows.is_empty():
                raise ValueError(f"no finished run has {missing}")
            check_one_setting(rows, *varied)
            return draw(rows)

        entry = FIGURES[name] = Entry(name, draw, varied, runs, missing, any_task)
        return checked

    return register


def picture_name(name: str, setting: Setting) -> str:
    """The name of a picture's files: the figure, and the setting in brief."""
    words = re.sub(r"[^\w.+-]+", "-", setting.brief.replace(", ", "_"))
    return f"{name}_{words}" if words else name


def annotate(figure: Figure, facts: str, label: str = "") -> None:
    """Write grey lines above the panels: what was trained, and the label of a setting.

    What the label says is not said twice.
    """
    in_label = label.split(", ")
    words = [word for word in facts.split("; ") if word not in in_label]
    text = "; ".join(filter(None, (*words, label)))
    lines = textwrap.wrap(text, int(figure.get_figwidth() * 19))
    figure.set_figheight(figure.get_figheight() + 0.13 * len(lines))
    with style.house_style():
        figure.suptitle(
            "\n".join(lines),
            fontsize=7.5,
            color=style.FAINT,
            x=0.01,
            ha="left",
        )
