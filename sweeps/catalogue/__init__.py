"""The sweeps that come with the suite: one file per experiment family."""

from sweeps.catalogue import (
    characters,
    cross,
    graph_paths,
    induction,
    navigation,
    optimizers,
    planning,
    polynomial,
    precision,
    probes,
    quick,
)
from sweeps.sweep import Sweep

_FAMILIES = (
    *(quick, polynomial, induction, planning, probes),
    *(precision, optimizers, graph_paths, navigation, cross, characters),
)
CATALOGUE: dict[str, Sweep] = {
    sweep.name: sweep
    for family in _FAMILIES
    for sweep in vars(family).values()
    if isinstance(sweep, Sweep)
}
"""The sweeps by name, in the order of their families and files."""
