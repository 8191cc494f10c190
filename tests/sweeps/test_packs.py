"""Packs: who trains beside whom."""

import pytest

from sweeps import packs
from sweeps.calibration import Calibration
from sweeps.costs import flops_per_token
from sweeps.packs import bytes_per_lane, chooser, cut, usual_lanes
from synth.execution import Execution
from tests.conftest import tiny_run

CPU = Execution()


@pytest.mark.parametrize(
    ("lanes", "sizes"), [(1, [1] * 5), (2, [1, 2, 2]), (4, [2, 3]), (9, [5])]
)
def test_packs_are_few_and_even(lanes, sizes):
    configs = [tiny_run(seed=seed) for seed in range(5)]
    found = cut(configs, lanes)
    assert sorted(map(len, found)) == sizes
    assert [config for pack in found for config in pack] == configs


def test_only_runs_of_one_shape_share_a_pack():
    configs = [tiny_run(n, seed) for seed in range(2) for n in (1, 2)]
    found = cut(configs, 4)
    assert [[c.objective.horizon for c in pack] for pack in found] == [[1, 1], [2, 2]]


def test_lanes_follow_the_measured_throughput(tmp_path):
    known = Calibration(tmp_path / "c.json")
    config = tiny_run()
    lanes = chooser(known, CPU, slots=1)
    for count, speed in {1: 100.0, 2: 180.0, 4: 300.0, 8: 301.0}.items():
        known.learn(config, CPU, count, speed)
    assert lanes(config, 8, 1) == 4  # eight are no faster than four
    assert lanes(config, 3, 1) == 2
    known.learn(config, CPU, 2, 90.0)
    known.learn(config, CPU, 4, 80.0)
    known.learn(config, CPU, 8, 70.0)
    assert lanes(config, 8, 1) == 1


def test_lanes_leave_no_slot_idle(tmp_path):
    known = Calibration(tmp_path / "c.json")
    assert chooser(known, CPU, slots=4)(tiny_run(), 4, 1) == 1
    assert chooser(known, CPU, slots=4)(tiny_run(), 4, 2) == 2
    assert chooser(known, CPU, slots=2)(tiny_run(), 3, 6) == 3


def test_lanes_fit_in_memory(tmp_path, monkeypatch):
    known = Calibration(tmp_path / "c.json")
    need = bytes_per_lane(tiny_run())
    for fit in (1, 2, 3):
        monkeypatch.setattr(
            packs, "memory_per_slot", lambda *_, n=fit: (n + 0.5) * need
        )
        assert chooser(known, CPU, slots=1)(tiny_run(), 8, 1) == fit
    assert bytes_per_lane(tiny_run(batch_rows=400)) > 20 * need
    state = 4.0 * 4 * 99.1e6  # weights, gradients, two moments
    assert bytes_per_lane(tiny_run(scale="100M", context=2048)) > state


def test_unmeasured_shapes_get_lanes_by_size_and_device(tmp_path):
    known = Calibration(tmp_path / "c.json")
    assert chooser(known, CPU, slots=1)(tiny_run(scale="10k"), 8, 1) == 4
    assert chooser(known, CPU, slots=1)(tiny_run(scale="1M"), 8, 1) == 1
    gpu = Execution(device="cuda")
    assert usual_lanes(tiny_run(batch_rows=64, context=128), gpu) == 8


def test_measurements_are_kept_and_merged(tmp_path):
    first, second = Calibration.load(tmp_path), Calibration.load(tmp_path)
    first.learn(tiny_run(), CPU, 1, 100.0)
    first.save()
    second.learn(tiny_run(2), CPU, 2, 200.0)
    second.save()
    known = Calibration.load(tmp_path)
    assert known.speeds(tiny_run(seed=5), CPU) == {1: 100.0}
    assert known.speed(tiny_run(2), CPU, 4) == (200.0, True)
    assert known.speeds(tiny_run(), Execution(threads=2)) == {}
    # A model of twice the cost has half the speed until it is measured itself.
    cost_2, cost_3 = flops_per_token(tiny_run(2)), flops_per_token(tiny_run(3))
    speed, own = known.speed(tiny_run(3), CPU, 1) or (0.0, True)
    assert not own
    assert speed == pytest.approx(200.0 * cost_2 / cost_3)
    assert known.speed(tiny_run(), Execution(device="cuda"), 1) is None
    known.path.write_text("{ torn")
    assert Calibration.load(tmp_path).shapes == {}


def test_what_packs_reach_in_passing_does_not_choose_lanes(tmp_path):
    known = Calibration.load(tmp_path)
    known.observe(tiny_run(), CPU, 1, 100.0)
    known.observe(tiny_run(), CPU, 3, 50.0)
    assert known.speeds(tiny_run(), CPU) == {3: 50.0}
    assert chooser(known, CPU, slots=1)(tiny_run(), 8, 1) == 4
    known.save()
    known.learn(tiny_run(), CPU, 1, 100.0)
    known.observe(tiny_run(), CPU, 2, 1.0)
    assert known.speeds(tiny_run(), CPU) == {1: 100.0, 3: 50.0}
