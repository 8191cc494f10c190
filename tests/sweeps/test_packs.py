"""Packs: who trains beside whom."""

import pytest

from sweeps import packs
from sweeps.packs import (
    bytes_per_lane,
    cut_packs,
    default_lanes,
    lane_rule,
    memory_per_slot,
)
from synth.run.execution import Execution
from tests.conftest import tiny_run

CPU, GPU = Execution(), Execution(device="cuda")


@pytest.mark.parametrize(
    ("lanes", "sizes"), [(1, [1] * 5), (2, [1, 2, 2]), (4, [2, 3]), (9, [5])]
)
def test_packs_are_few_and_even(lanes, sizes):
    configs = [tiny_run(seed=seed) for seed in range(5)]
    found = cut_packs(configs, lanes)
    assert sorted(map(len, found)) == sizes
    assert [config for pack in found for config in pack] == configs


def test_only_runs_of_one_shape_share_a_pack():
    configs = [tiny_run(n, seed) for seed in range(2) for n in (1, 2)]
    found = cut_packs(configs, 4)
    assert [[c.objective.horizon for c in pack] for pack in found] == [[1, 1], [2, 2]]


def test_suspects_go_in_smaller_packs_of_their_own():
    configs = [tiny_run(seed=seed) for seed in range(9)]
    most = {config.run_id: 2 for config in configs[:4]} | {configs[8].run_id: 9}
    seeds = [[config.seed for config in pack] for pack in cut_packs(configs, 4, most)]
    assert seeds == [[0, 1], [2, 3], [4, 5, 6, 7], [8]]


def test_lanes_leave_no_slot_idle():
    assert lane_rule(CPU, slots=4)(tiny_run(), 4, 1) == 1
    assert lane_rule(CPU, slots=4)(tiny_run(), 4, 2) == 2
    assert lane_rule(CPU, slots=4)(tiny_run(), 2, 1) == 1
    assert lane_rule(CPU, slots=2)(tiny_run(), 3, 6) == 3


def test_lanes_fit_in_memory(monkeypatch):
    need = bytes_per_lane(tiny_run())
    for fit in (1, 2, 3):
        monkeypatch.setattr(
            packs, "memory_per_slot", lambda *_, n=fit: (n + 0.5) * need
        )
        assert lane_rule(CPU, slots=1)(tiny_run(), 8, 1) == fit
    assert bytes_per_lane(tiny_run(batch_rows=400)) > 20 * need
    state = 4.0 * 4 * 99.1e6  # weights, gradients, two moments
    assert bytes_per_lane(tiny_run(scale="100M", context=2048)) > state


def test_slots_share_four_fifths_of_the_free_memory(monkeypatch):
    pages = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(packs.os, "sysconf", pages.__getitem__)
    assert memory_per_slot(CPU, 4) == pytest.approx(0.8 * 1000 * 4096 / 4)
    monkeypatch.setattr(packs, "_gpu_bytes", lambda: 2.0**30)
    assert memory_per_slot(GPU, 2) == pytest.approx(0.8 * 2**30 / 2)


def test_no_pack_has_more_than_sixteen_lanes(monkeypatch):
    monkeypatch.setattr(packs, "memory_per_slot", lambda *_: 2.0**40)
    small = tiny_run(batch_rows=1, context=64)
    assert default_lanes(small, GPU) == 1024
    assert lane_rule(GPU, slots=1)(small, 100, 1) == 16


def test_shapes_get_lanes_by_size_and_device():
    assert lane_rule(CPU, slots=1)(tiny_run(scale="10k"), 8, 1) == 4
    assert lane_rule(CPU, slots=1)(tiny_run(scale="1M"), 8, 1) == 1
    assert default_lanes(tiny_run(batch_rows=64, context=128), GPU) == 8
