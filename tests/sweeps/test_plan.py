"""Plans: states, sizes, packs, time; nothing is executed."""

import json

import pytest

from sweeps import costs
from sweeps.calibration import Calibration
from sweeps.commands import PlanCommand
from sweeps.plan import plan, short
from sweeps.survey import survey
from synth.describe import describe_run
from synth.execution import Execution
from synth.training import train
from tests.conftest import tiny_run

CPU = Execution()


def runs(seeds=2):
    return [tiny_run(horizon, seed) for horizon in (1, 2) for seed in range(seeds)]


def planned(configs, root, known, **wishes):
    found = survey(root, configs)
    return plan("mine", configs, found, CPU, 2, calibration=known, **wishes)


def test_a_plan_counts_what_is_there_and_what_is_missing(tmp_path):
    configs = runs()
    train(configs[:1], tmp_path)
    found = planned(configs, tmp_path, Calibration(tmp_path / "c.json"))
    assert found.counts == {"done": 1, "new": 3}
    missing = [config for pack in found.packs for config in pack]
    assert sorted(c.run_id for c in missing) == sorted(c.run_id for c in configs[1:])
    assert found.tokens == sum(c.training.steps * 4 * 48 for c in missing)
    expected = sum(describe_run(config)["training_flops"] for config in missing)
    assert found.flops == pytest.approx(expected)
    assert [(cell.runs, cell.missing) for cell in found.cells] == [(2, 1), (2, 2)]
    assert found.seconds is None
    assert "not measured yet" in found.as_text()


def test_times_follow_a_stated_rate(tmp_path):
    configs = runs()
    known = Calibration(tmp_path / "c.json")
    found = planned(configs, tmp_path, known, lanes=1, flops_per_second=1e6)
    spans = sorted((costs.flops(config) / 1e6 for config in configs), reverse=True)
    assert found.device_hours == pytest.approx(sum(spans) / 3600)
    # Two slots: the longest and the shortest go to one, the other two to the other.
    assert found.seconds == pytest.approx(max(spans[0] + spans[3], spans[1] + spans[2]))


def test_times_follow_the_measurements(tmp_path):
    configs = runs()
    known = Calibration(tmp_path / "c.json")
    known.learn(configs[0], CPU, 2, 1000.0)
    found = planned(configs, tmp_path, known, lanes=2)
    assert "1 of 2 shapes measured" in found.source
    known.learn(configs[2], CPU, 2, 500.0)
    found = planned(configs, tmp_path, known, lanes=2)
    tokens = 2 * costs.tokens(configs[0])
    assert found.seconds == pytest.approx(tokens / 500.0)
    assert found.device_hours == pytest.approx(tokens * (1 / 1000 + 1 / 500) / 3600)
    assert found.packs[0] == tuple(configs[2:])  # the slow pack first
    assert found.source == "measured on this machine"


def test_failed_runs_are_planned_for_retry_alone(tmp_path):
    configs = runs()
    folder = tmp_path / configs[0].run_id
    folder.mkdir()
    stored = json.dumps({"config": configs[0].to_dict()})
    (folder / "config.json").write_text(stored)
    (folder / "failure.json").write_text('{"message": "it broke"}')
    known = Calibration(tmp_path / "c.json")
    assert sum(map(len, planned(configs, tmp_path, known).packs)) == 3
    assert sum(map(len, planned(configs, tmp_path, known, retry=True).packs)) == 4


def test_the_plan_command_measures_and_answers_programs(sweep_file, tmp_path, capsys):
    path = sweep_file(seeds=2, layers=(3,))
    root = tmp_path / "runs"
    wishes = {"sweep": str(path), "runs": root, "json": True}
    assert PlanCommand(**wishes, calibrate=True).run() == 0
    captured = capsys.readouterr()
    assert captured.err.count("tokens/s by lanes") == 2
    found = json.loads(captured.out)
    assert found["counts"] == {"new": 4}
    assert found["source"] == "measured on this machine"
    assert found["seconds"] > 0
    assert sorted(len(pack) for pack in found["packs"]) in ([1] * 4, [1, 1, 2], [2, 2])
    assert not root.exists()
    PlanCommand(**wishes, calibrate=True).run()
    assert capsys.readouterr().err == ""  # known by now


def test_what_is_impossible_is_refused_before_anything_starts(tmp_path):
    known = Calibration(tmp_path / "c.json")
    with pytest.raises(ValueError, match=r"Run polynomial-.* is impossible: context"):
        planned([tiny_run(context=10)], tmp_path, known)
    with pytest.raises(ValueError, match="--lanes must be at least 1; got 0"):
        planned(runs(), tmp_path, known, lanes=0)


def test_counts_in_words():
    assert [short(n) for n in (950, 31.46e6, 26.2144e9)] == ["950", "31.5M", "26.2B"]
