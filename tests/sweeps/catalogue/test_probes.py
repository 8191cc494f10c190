"""The probes' sweeps: legal at every scale, and what each compares."""

import pytest

from sweeps.catalogue import CATALOGUE
from synth.tasks.exact import ExactTask

NAMES = ("choice-points", "information", "prediction-law")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", ["quick", "small", "paper"])
def test_every_task_fits_its_context_and_has_both_objectives(name, scale):
    runs = CATALOGUE[name](scale)
    assert {1, 4} <= {run.objective.horizon for run in runs}
    for run in {run.task: run for run in runs}.values():
        task = run.task.build()
        if isinstance(task, ExactTask):
            assert task.length <= run.training.context
    for horizon in (1, 4):
        seeds = {r.seed for r in runs if r.objective.horizon == horizon}
        assert len(seeds) >= 3


def test_the_law_gets_models_with_enough_layers():
    for scale in ("quick", "small", "paper"):
        for run in CATALOGUE["prediction-law"](scale):
            assert run.model.shape.layers >= 8
