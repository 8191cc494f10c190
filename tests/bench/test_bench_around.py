"""The breakdown counts the evaluations that a run really has."""

import pytest

from synth import pack
from synth.run.execution import Execution
from synth.training import train
from tests.bench.bench_around import SCALES, measured_parts, schedules
from tests.conftest import tiny_run


@pytest.mark.parametrize("every", [3, 4, 5, 12, 100])
def test_as_many_tokens_are_evaluated_as_in_a_run(tmp_path, monkeypatch, every):
    config = tiny_run(2, evaluate_every_steps=every)
    plain, read = pack.score_tokens, []

    def counted(model, chosen, device):
        read.append(int((chosen.rows.example_RT > 0).sum()) * model.num_lanes)
        return plain(model, chosen, device)

    monkeypatch.setattr(pack, "score_tokens", counted)
    train([config], tmp_path / "run", Execution())
    expected = sum(read)
    found = measured_parts(config, 1, Execution(), tmp_path / "bench")
    assert found.positions == expected
    assert found.form == "eager"
    assert set(found.seconds) == {"training", "data", "evaluation", "checkpoint"}
    assert all(seconds > 0 for seconds in found.seconds.values())


def test_every_rung_has_a_run_of_every_sweep():
    for scale in SCALES:
        found = schedules(scale)
        assert [config.model.scale for _, config in found] == [scale] * 4
        assert len({config.task.kind for _, config in found}) == 4
        assert all(config.objective.horizon == 1 for _, config in found)
