"""The breakdown counts the evaluations that a run really has."""

import pytest

from synth import evaluation
from synth.run.execution import Execution
from synth.training import train
from tests.bench.bench_shares import first_packs, measured_parts
from tests.conftest import tiny_run


@pytest.mark.parametrize("every", [3, 4, 5, 12, 100])
def test_as_many_tokens_are_evaluated_as_in_a_run(tmp_path, monkeypatch, every):
    config = tiny_run(2, evaluate_every_steps=every)
    plain, read = evaluation.score_tokens, []

    def counted(model, chosen, device):
        read.append(int((chosen.rows.example_RT > 0).sum()) * model.num_lanes)
        return plain(model, chosen, device)

    monkeypatch.setattr(evaluation, "score_tokens", counted)
    train([config], tmp_path / "run", Execution())
    expected = sum(read)
    found = measured_parts((config,), Execution(), tmp_path / "bench")
    assert found.positions == expected
    assert found.form == "eager"
    assert set(found.seconds) == {"training", "data", "evaluation", "checkpoint"}
    assert all(seconds > 0 for seconds in found.seconds.values())


def test_packs_of_a_sweep_are_those_of_a_launch():
    packs = first_packs("cross", "quick", Execution())
    assert len({pack[0].task.kind for pack in packs}) == len(packs) == 3
    assert all(len(pack) == 3 for pack in packs)  # three seeds are lanes
