"""Lanes by measurement: in turns, by the right clock, where training pays for it."""

import dataclasses
import itertools

import pytest

from sweeps import launch as launching
from sweeps import measuring
from sweeps.calibration import Calibration
from sweeps.launch import Wishes, launch
from sweeps.measuring import pays, requests_for, time_in_turns, time_lanes
from sweeps.packs import chooser
from sweeps.plan import plan
from sweeps.survey import survey
from synth.config import ModelConfig
from synth.execution import Execution
from tests.conftest import tiny_run, with_training

CPU = Execution()
BY_SCALE = {
    "10k": {1: 100.0, 2: 180.0, 4: 300.0, 8: 420.0},
    "30k": {1: 50.0, 2: 60.0, 4: 61.0, 8: 40.0},
}


def grid(scales=("10k", "30k"), seeds=8, **training):
    return [
        tiny_run(seed=s, scale=scale, **training)
        for scale in scales
        for s in range(seeds)
    ]


def fake_measure(monkeypatch, share=1.0):
    """Replaces the measuring process by the numbers above; keeps what was asked."""
    asked = []

    def measure(requests, execution):
        for config, lanes in requests:
            asked.append((config.model.scale, lanes))
            speeds = BY_SCALE[config.model.scale]
            yield config, {k: speeds[k] for k in lanes}, share

    monkeypatch.setattr(measuring, "measure", measure)
    return asked


class Clock:
    """Time that passes where it is spent, more of it while a neighbour is at work."""

    def __init__(self, busy=()):
        self.now, self.calls, self.busy = 0.0, 0, busy

    def __call__(self):
        return self.now

    def work(self, name, seconds, order):
        def step():
            order.append(name)
            self.calls += 1
            self.now += seconds * (5 if self.calls in self.busy else 1)

        return step


def test_numbers_of_lanes_take_turns_and_a_burst_disturbs_none():
    order = []
    clock = Clock(busy=range(4, 10))  # two turns of five
    works = {k: clock.work(k, 0.01 * k, order) for k in (1, 2, 4)}
    assert time_in_turns(works, clock, seconds=0.0, rounds=5) == pytest.approx(
        {1: 0.01, 2: 0.02, 4: 0.04}
    )
    assert order == [1, 2, 4] * 5


def test_short_steps_are_taken_until_they_sum_to_the_time():
    order = []
    clock = Clock()
    works = {1: clock.work(1, 0.01, order), 8: clock.work(8, 0.2, order)}
    time_in_turns(works, clock, seconds=0.5, rounds=2)
    assert (order.count(1), order.count(8)) == (50, 3)


def test_one_thread_is_timed_by_the_time_it_was_given(monkeypatch):
    """Most of the time others run here: the speeds are those of a quiet machine."""
    given, passed = itertools.count(), itertools.count()
    monkeypatch.setattr(measuring.time, "process_time", lambda: next(given) * 0.1)
    monkeypatch.setattr(measuring.time, "monotonic", lambda: next(passed) * 100.0)
    speeds, share = time_lanes(tiny_run(), [1, 2], CPU)
    assert speeds == pytest.approx({1: 4 * 48 / 0.1, 2: 2 * 4 * 48 / 0.1})
    assert share < 0.05
    speeds, share = time_lanes(tiny_run(), [1], Execution(threads=2))
    assert speeds[1] <= 4 * 48 / 100.0  # by the time that passed
    assert share == 1.0


def test_a_measurement_of_this_machine(monkeypatch):
    monkeypatch.setattr(measuring, "SECONDS", 0.02)
    configs = [tiny_run(), tiny_run(2)]
    found = list(measuring.measure([(c, [1, 2]) for c in configs], CPU))
    assert [config for config, _, _ in found] == configs
    for _, speeds, share in found:
        assert sorted(speeds) == [1, 2]
        assert all(speed > 100 for speed in speeds.values())
        assert 0 < share <= 1


def test_what_is_asked_fits_and_is_not_known(tmp_path, monkeypatch):
    known = Calibration(tmp_path / "c.json")
    configs = grid()
    monkeypatch.setattr(measuring, "memory_per_slot", lambda *_: 1e12)
    asked = requests_for(configs, known, CPU, 2)
    assert [lanes for _, lanes in asked] == [[1, 2, 4, 8]] * 2
    known.observe(configs[0], CPU, 3, 50.0)  # what a pack reached is no calibration
    assert len(requests_for(configs, known, CPU, 2)) == 2
    known.learn(configs[0], CPU, 1, 60.0)
    assert [c.model.scale for c, _ in requests_for(configs, known, CPU, 2)] == ["30k"]
    monkeypatch.setattr(
        measuring,
        "memory_per_slot",
        lambda *_: 6 * measuring.bytes_per_lane(configs[8]),
    )
    assert [lanes for _, lanes in requests_for(configs, known, CPU, 2)] == [[1, 2, 3]]


def test_the_plan_states_lanes_and_where_they_come_from(tmp_path, monkeypatch):
    configs = grid()
    known = Calibration.load(tmp_path / "cache")

    def planned(**wishes):
        found = survey(tmp_path, configs)
        return plan("mine", configs, found, CPU, 1, calibration=known, **wishes)

    before = planned()
    assert [(c.lanes, c.lanes_from, c.gain) for c in before.cells] == [
        (4, "rule", None),
        (4, "rule", None),
    ]
    assert "by size, unmeasured, for 2 of 2 cells" in before.as_text()
    fake_measure(monkeypatch)
    said = []
    requests = requests_for(configs, known, CPU, 1)
    measuring.calibrate(requests, CPU, known, said.append)
    assert len(said) == 2
    known = Calibration.load(tmp_path / "cache")  # it was saved
    after = planned()
    assert [(c.lanes, c.lanes_from) for c in after.cells] == [
        (8, "measured"),
        (2, "measured"),
    ]
    assert [c.gain for c in after.cells] == pytest.approx([4.2, 1.2])
    text = after.as_text()
    assert "4.20x" in text
    assert "lanes: measured for 2 of 2 cells" in text
    assert "other work" not in text
    stated = planned(lanes=2)
    assert "lanes: as stated for 2 of 2 cells" in stated.as_text()
    assert [c.gain for c in stated.cells] == pytest.approx([1.8, 1.2])


def test_a_loaded_machine_is_said(tmp_path, monkeypatch):
    configs = grid(("10k",))
    known = Calibration.load(tmp_path / "cache")
    fake_measure(monkeypatch, share=0.31)
    measuring.calibrate(
        requests_for(configs, known, CPU, 1), CPU, known, lambda line: None
    )
    known = Calibration.load(tmp_path / "cache")
    found = plan("mine", configs, survey(tmp_path, configs), CPU, 1, calibration=known)
    assert "down to 31% of a core" in found.as_text()
    assert "quiet machine" in found.notes[0]


def test_an_unmeasured_shape_follows_the_nearest_measured_one(tmp_path):
    known = Calibration(tmp_path / "c.json")
    near = tiny_run(scale="10k")
    for lanes, speed in BY_SCALE["10k"].items():
        known.learn(near, CPU, lanes, speed)
    other = tiny_run(2, scale="10k")
    assert known.lane_speeds(other, CPU) == (BY_SCALE["10k"], "nearest")
    assert chooser(known, CPU, slots=1)(other, 16, 1) == 8
    for far, execution in (
        (tiny_run(scale="300k"), CPU),
        (other, Execution(threads=2)),
        (with_training(other, precision="bf16"), CPU),
        (dataclasses.replace(near, model=ModelConfig(scale="10k", mixer="rwkv")), CPU),
    ):
        assert known.lane_speeds(far, execution) == ({}, "rule")


def test_measuring_must_pay(tmp_path):
    known = Calibration(tmp_path / "c.json")

    def worth(configs, execution=CPU):
        requests = requests_for(configs, known, execution, 2)
        return pays(requests, configs, execution, known, 2)

    long = {"steps": 200_000, "batch_rows": 16, "context": 64}
    assert not worth(grid())
    assert worth(grid(**long))
    assert not worth(grid(seeds=1, **long))  # nothing to choose
    assert not worth(grid(**long), Execution(device="cuda"))
    for config in grid(**long):
        known.learn(config, CPU, 1, 1e9)  # so fast that there is little ahead
    assert not worth(grid(**long))


class Recorder:
    """An executor that keeps the packs, and a display that keeps the words."""

    slots = 1

    def __init__(self):
        self.packs, self.words = [], []

    def carry_out(self, packs, root, execution, board, display):
        self.packs = packs
        return []

    def say(self, text):
        self.words.append(text)

    def refresh(self, board):
        pass

    def close(self):
        pass


def launched(tmp_path, lanes=None):
    recorder = Recorder()
    wishes = Wishes(execution=CPU, lanes=lanes)
    root = tmp_path / "runs"
    launch("mine", grid(), root, recorder, wishes, recorder, "in_domain/exact_match")
    return recorder


def test_a_long_launch_measures_first(tmp_path, monkeypatch):
    asked = fake_measure(monkeypatch)
    assert sorted(map(len, launched(tmp_path).packs)) == [4] * 4
    assert asked == []
    monkeypatch.setattr(launching, "pays", lambda *_: True)
    found = launched(tmp_path)
    assert sorted(map(len, found.packs)) == [2, 2, 2, 2, 8]
    assert asked == [("10k", [1, 2, 4, 8]), ("30k", [1, 2, 4, 8])]
    assert found.words[0].startswith("measuring 2 shapes first")
    assert sorted(map(len, launched(tmp_path, lanes=16).packs)) == [8, 8]
    assert len(asked) == 2


def test_a_measurement_that_fails_stops_no_launch(tmp_path, monkeypatch):
    def fail(requests, execution):
        raise ValueError("The measurement failed: no word")

    monkeypatch.setattr(launching, "pays", lambda *_: True)
    monkeypatch.setattr(measuring, "measure", fail)
    found = launched(tmp_path)
    assert sorted(map(len, found.packs)) == [4] * 4
    assert any("Lanes are chosen without it" in text for text in found.words)
