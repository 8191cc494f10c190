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
from analysis.selection import IS_TRIAL, usable
from analysis.settings import Setting, check_one_setting, facts, settings_of

Drawn = tuple[Figure, pl.DataFrame]
Draw = Callable[[pl.DataFrame], Drawn]


@dataclass(frozen=True)
class Picture:
    """A figure of one setting, ready to be saved or shown."""

    name: str
    """Of its files: the figure, and what tells its setting apart if there are several."""
    about: str
    """What it shows, as a sentence."""
    label: str
    """What tells its setting apart; empty when there is one."""
    facts: str
    """What was trained."""
    figure: Figure
    table: pl.DataFrame
    """What is plotted."""

    @property
    def caption(self) -> str:
        """What it shows, of which runs."""
        apart = f" ({self.label})" if self.label else ""
        return f"{self.about} {self.facts}{apart}."


@dataclass(frozen=True)
class Entry:
    """A figure of the suite."""

    name: str
    draw: Draw
    varied: tuple[str, ...]
    """Columns, or dotted paths of fields, that its runs may differ in."""
    runs: pl.Expr
    """Rows of the runs that it is about."""
    missing: str
    """What no run has if it cannot be drawn."""
    any_task: bool = False
    """Whether it serves runs of any task, which keep the overview of their task."""

    @property
    def about(self) -> str:
        """The first sentence of the function's docstring."""
        return (self.draw.__doc__ or self.name).strip().partition("\n\n")[0]

    def pictures(self, frame: pl.DataFrame) -> tuple[list[Picture], list[str]]:
        """A picture for each setting of finished runs, and why others have none."""
        done = self.finished(usable(frame))
        if done.is_empty():
            return [], [f"no finished run has {self.missing}"]

        def draw(setting: Setting) -> Picture:
            return one_picture(self.name, self.about, setting, self.draw, *self.varied)

        return draw_settings(settings_of(done, *self.varied), draw)

    def finished(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Its runs that are done, with the fields that vary as columns.

        Trials of rates have a figure of their own.
        """
        done = frame.filter((pl.col("state") == "done") & ~IS_TRIAL & self.runs)
        for path in self.varied:
            if "." in path:
                done = Fields(done).add(done, path)
        return done


def draw_settings(
    settings: Iterable[Setting], draw: Callable[[Setting], Picture]
) -> tuple[list[Picture], list[str]]:
    """A picture of each setting; each reason why some have none, once.

    A drawing that raises `ValueError` says so why it cannot be made.
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
            told = of[0] if len(of) == 1 else f"in {len(of)} settings"
            reasons.append(f"{told}: {reason}" if told else reason)
    return pictures, reasons


def one_picture(
    name: str, about: str, setting: Setting, draw: Draw, *shown: str
) -> Picture:
    """Draw a setting, with what was trained above the panels; `shown`: see `facts`."""
    figure, table = draw(setting.frame)
    apart = setting.label.split(", ")
    words = facts(setting.frame, *shown).split("; ")
    told = "; ".join(word for word in words if word not in apart)
    annotate(figure, told, setting.label)
    return Picture(named(name, setting), about, setting.label, told, figure, table)


FIGURES: dict[str, Entry] = {}
"""In the order of the report."""


def drawing(
    name: str, *varied: str, runs: pl.Expr, missing: str, any_task: bool = False
) -> Callable[[Draw], Draw]:
    """Enter a figure function; called directly, it refuses runs of several settings."""

    def enter(draw: Draw) -> Draw:
        @functools.wraps(draw)
        def checked(frame: pl.DataFrame) -> Drawn:
            here = entry.finished(frame)
            if here.is_empty():
                raise ValueError(f"no finished run has {missing}")
            check_one_setting(here, *varied)
            return draw(here)

        entry = FIGURES[name] = Entry(name, draw, varied, runs, missing, any_task)
        return checked

    return enter


def named(name: str, setting: Setting) -> str:
    """The name of a picture's files: the few fields that tell its setting apart."""
    words = re.sub(r"[^\w.+-]+", "-", setting.brief.replace(", ", "_"))
    return f"{name}_{words}" if words else name


def annotate(figure: Figure, *texts: str) -> None:
    """Quiet lines above the panels: of which runs the figure is."""
    text = "; ".join(filter(None, texts))
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
