"""Planning: equal depth to head 1, one example a row, the settings of the sources."""

import pytest

from sweeps.catalogue.planning import countdown, sat, star
from synth.objectives.objective import NEXT_TOKEN

GRIDS = [(sweep, scale) for sweep in (star, countdown, sat) for scale in sweep.scales]


@pytest.mark.parametrize(
    ("sweep", "scale"), GRIDS, ids=[f"{sweep.name}-{scale}" for sweep, scale in GRIDS]
)
def test_arms_differ_in_heads_alone(sweep, scale):
    """At each task: the same seeds, data and layers from the tokens to head 1."""
    cells = {}
    for run in sweep(scale):
        layers = run.model.shape.layers
        first = run.objective.heads()[0]
        depth = run.objective.trunk_layers(layers) + first.layers
        assert depth == layers, run.objective.arm
        cell = cells.setdefault((run.task, run.training, run.model), {})
        cell.setdefault(run.objective.arm, []).append(run.seed)
        assert run.training.context == run.task.build().length
        assert run.objective.scored == "answer"
    for cell in cells.values():
        seeds = cell[NEXT_TOKEN]
        assert seeds == list(range(len(seeds)))
        assert all(other == seeds for other in cell.values())


def test_every_star_has_its_reversed_control():
    for scale in star.scales:
        tasks = {run.task for run in star(scale)}
        sizes = {
            answers: {(t.degree, t.length) for t in tasks if t.answers == answers}
            for answers in ("forward", "reversed")
        }
        assert sizes["forward"] == sizes["reversed"]
        control = {r.objective.arm for r in star(scale) if r.task.answers == "reversed"}
        assert control == {NEXT_TOKEN}
    assert {run.seed for run in star("night")} == set(range(10))


def test_the_paper_scales_are_as_many_epochs_as_the_sources_state():
    for sweep, epochs in ((star, 100), (sat, 300)):
        for run in sweep("paper"):
            shown = run.training.steps * run.training.batch_rows
            assert shown / run.task.pool == pytest.approx(epochs, rel=1e-3)
    arms = {run.objective.arm for run in sat("paper")}
    assert arms == {NEXT_TOKEN, *(f"n{n}_added" for n in range(2, 8))}


def test_formulas_at_paper_have_the_clauses_of_the_source():
    """Rows of 325 tokens: 51 clauses of 6 tokens, an answer of 18, and a mark."""
    (task,) = {run.task for run in sat("paper")}
    clauses = round(task.ratio * task.variables)
    assert 6 * clauses + 2 * task.variables + 1 == 325
    # A clause takes four tokens here ("1 -2 4 |"), an answer one a variable.
    assert task.build().length == 4 * clauses + task.variables
