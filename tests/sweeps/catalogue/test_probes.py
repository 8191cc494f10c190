"""The probes' sweeps: legal at every scale, and what each compares."""

import pytest

from sweeps.catalogue import CATALOGUE
from synth.models.describe import describe_run
from synth.tasks.exact import ExactTask

NAMES = ("choice-points", "information", "prediction-law", "prediction-law-mixers")


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


@pytest.mark.parametrize("scale", ["quick", "small", "paper"])
def test_mixers_are_compared_at_equal_size_seeds_and_data(scale):
    runs = CATALOGUE["prediction-law-mixers"](scale)
    cells = {}
    for run in runs:
        rest = (run.task, run.objective, run.training, run.seed)
        found = describe_run(run)["non_embedding_parameters"]
        cells.setdefault(rest, {})[run.model.mixer] = found
    for sizes in cells.values():
        assert set(sizes) == {"attention", "mamba2", "rwkv"}
        assert max(sizes.values()) < 1.03 * min(sizes.values())
    own = {run.run_id for run in runs if run.model.mixer == "attention"}
    assert own <= {run.run_id for run in CATALOGUE["prediction-law"](scale)}


def test_the_law_gets_models_with_enough_layers():
    for scale in ("quick", "small", "paper"):
        for run in [*CATALOGUE["prediction-law"](scale), *CATALOGUE[NAMES[-1]](scale)]:
            assert run.model.shape.layers >= 8
