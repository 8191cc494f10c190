"""The navigation sweep: heads beside one trunk, paired graph by graph."""

import pytest

from sweeps.catalogue import CATALOGUE
from sweeps.cells import cell_key
from synth.models.describe import describe_model


@pytest.mark.parametrize("scale", CATALOGUE["navigation"].scales)
def test_arms_share_trunk_graph_and_training(scale):
    runs = list(CATALOGUE["navigation"](scale))
    by_graph = {}
    for run in runs:
        assert run.seed == run.task.graph_seed
        assert run.training.context == run.task.longest + 2  # one whole row
        by_graph.setdefault(run.task, []).append(run)
    depths = {
        describe_model(run.model, run.objective, 300, run.training.context)[
            "depth_to_head_1"
        ]
        for run in runs
    }
    assert depths == {2 if scale == "quick" else 6}
    arms = [[run.objective.arm for run in graph] for graph in by_graph.values()]
    assert arms == [["n1", "n2_linear_added", "n4_linear_added"]] * len(by_graph)
    assert len({run.training for run in runs}) == 1
    assert len(set(map(cell_key, runs))) == 3
