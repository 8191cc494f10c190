"""Attention maps: the weights of every head of a run, layer by layer."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analysis.plots import style
from analysis.plots.gallery import annotate

MOST_WORDS = 32
"""Tokens of a row that the axes name; those of a longer row have no names."""


def attention_figure(
    weights: dict[str, Tensor], words: list[str], title: str, period: int | None = None
) -> tuple[Figure, pl.DataFrame]:
    """A map for each head: the position that attends downwards, attended ones across.

    Parameters
    ----------
    weights
        By layer, (1, H, T, T), as `synth.load(...).attention` returns them.
    words
        The text of the T tokens.
    title
        Of the figure.
    period
        The period of a row that repeats itself. The positions to which an induction head
        attends are marked by a line, and the mean weight on it is in each title.
    """
    layers = {name: np.asarray(map_1HTT[0]) for name, map_1HTT in weights.items()}
    heads = len(next(iter(layers.values())))
    tables = []
    with style.house_style():
        figure = style.empty_figure(0.4 + 1.5 * heads, 0.6 + 1.6 * len(layers))
        grid = figure.subplots(len(layers), heads, squeeze=False)
        for axes_H, (name, map_HTT) in zip(grid, layers.items(), strict=True):
            for head, (axes, map_TT) in enumerate(zip(axes_H, map_HTT, strict=True), 1):
                image = axes.imshow(map_TT, vmin=0, vmax=1, cmap="magma")
                axes.grid(visible=False)
                label = f"{name}\nattention head {head}"
                if period is not None:
                    at = np.arange(period, len(words))
                    axes.plot(at - period + 1, at, ":", color="white", linewidth=0.6)
                    label += f": {map_TT[at, at - period + 1].mean():.2f}"
                axes.set_title(label, fontsize=7)
                _name_tokens(axes, words)
                tables.append(_unpivot(name, head, map_TT))
        figure.colorbar(image, ax=grid, label="attention weight", shrink=0.8)
    annotate(figure, title)
    return figure, pl.concat(tables)


def _name_tokens(axes: Axes, words: list[str]) -> None:
    names = words if len(words) <= MOST_WORDS else []
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=4)
    axes.set_yticks(range(len(names)), names, fontsize=4)


def _unpivot(layer: str, head: int, map_TT: np.ndarray) -> pl.DataFrame:
    """The weights on and below the diagonal, one a row."""
    to, at = np.tril_indices(len(map_TT))
    return pl.DataFrame(
        {"position": to, "attends_to": at, "weight": map_TT[to, at]}
    ).with_columns(layer=pl.lit(layer), head=pl.lit(head))
