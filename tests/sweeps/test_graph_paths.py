"""The arms of the path-planning sweeps: one planner, paired graph by graph."""

import pytest

from sweeps.catalogue import CATALOGUE
from sweeps.cells import cell_key
from synth.models.describe import describe_model

SWEEPS = [
    (name, scale)
    for name in ("graph-paths", "blocksworld")
    for scale in CATALOGUE[name].scales
]


@pytest.mark.parametrize(("name", "scale"), SWEEPS)
def test_every_arm_predicts_the_next_token_with_one_layer(name, scale):
    arms = {}
    for run in CATALOGUE[name](scale):
        arms.setdefault(run.objective.arm, run)
    for run in arms.values():
        found = describe_model(run.model, run.objective, 102, run.training.context)
        assert found["depth_to_head_1"] == 1
        assert all(head.weight == 1 for head in run.objective.heads())


@pytest.mark.parametrize(("name", "scale"), SWEEPS)
def test_arms_share_graph_data_and_training(name, scale):
    by_task, cells = {}, set()
    for run in CATALOGUE[name](scale):
        (own,) = run.task.seeds
        assert run.seed == run.resolved_data_seed == getattr(run.task, own)
        by_task.setdefault(run.task, []).append(run)
        cells.add(cell_key(run))
    arms = [[run.objective.arm for run in runs] for runs in by_task.values()]
    assert all(one == arms[0] for one in arms)
    assert arms[0][0] == "n1"
    assert len({run.training for runs in by_task.values() for run in runs}) == 1
    longest = {getattr(task, "longest", 7) for task in by_task}
    assert {n + 3 for n in longest} == {by_task[t][0].training.context for t in by_task}
    kinds = {task.paths for task in by_task}
    assert len(cells) == len(arms[0]) * len(kinds)


def test_the_table_of_widths_has_its_four_columns():
    for scale in ("night", "paper"):
        cells = {
            (run.task.nodes, run.model.shape.width)
            for run in CATALOGUE["graph-paths-width"](scale)
        }
        assert cells == {(100, 120), (200, 120), (300, 120), (300, 320)}
    night = {run.run_id for run in CATALOGUE["graph-paths"]("night")}
    shared = [r for r in CATALOGUE["graph-paths-width"]("night") if r.run_id in night]
    assert len(shared) == 5 * 8  # graphs of 100 nodes are trained once for both
