"""The sweeps that come with the suite: one file per experiment family."""

from sweeps.catalogue.characters import characters
from sweeps.catalogue.cross import cross
from sweeps.catalogue.graph_paths import blocksworld, graph_paths, graph_paths_width
from sweeps.catalogue.induction import (
    induction,
    induction_books,
    repeats,
    repeats_ladder,
)
from sweeps.catalogue.planning import countdown, sat, star
from sweeps.catalogue.polynomial import polynomial, polynomial_pause, polynomial_sizes
from sweeps.catalogue.precision import precision
from sweeps.catalogue.probes import (
    best_horizon,
    choice_points,
    information,
    prediction_law,
    prediction_law_mixers,
)
from sweeps.catalogue.quick import choices, quick
from sweeps.sweep import Sweep

CATALOGUE: dict[str, Sweep] = {
    sweep.name: sweep
    for sweep in (
        quick,
        choices,
        polynomial,
        polynomial_pause,
        polynomial_sizes,
        induction,
        induction_books,
        repeats,
        repeats_ladder,
        star,
        countdown,
        sat,
        choice_points,
        best_horizon,
        information,
        prediction_law,
        prediction_law_mixers,
        precision,
        graph_paths,
        graph_paths_width,
        blocksworld,
        cross,
        characters,
    )
}
"""The sweeps by name."""
