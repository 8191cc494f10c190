"""Packs to arrays: nothing lost, nothing twice, no limit broken."""

from hypothesis import given
from hypothesis import strategies as some

from slurm.arrays import Limits, plan_arrays

from .conftest import tiny

RUNS = [tiny(seed) for seed in range(40)]


@given(
    number=some.integers(0, 40),
    size=some.integers(1, 12),
    max_running=some.none() | some.integers(1, 9),
    room=some.none() | some.integers(-3, 50),
)
def test_plans_keep_all_limits(number, size, max_running, room):
    packs = [[run] for run in RUNS[:number]]
    plan = plan_arrays(packs, Limits(max_array_size=size), max_running, room)
    assert [p for array in plan.arrays for p in array.packs] + plan.held_back == packs
    sent = number - len(plan.held_back)
    assert sent == (number if room is None else max(0, min(number, room)))
    assert all(1 <= len(array.packs) <= size for array in plan.arrays)
    assert all(1 <= array.parallelism <= len(array.packs) for array in plan.arrays)
    if max_running is None:
        return
    # At any time at most one array of each chain runs.
    chains: dict[int, int] = {}
    for index, array in enumerate(plan.arrays):
        first = index if array.after is None else array.after
        while plan.arrays[first].after is not None:
            first = plan.arrays[first].after
        chains[first] = max(chains.get(first, 0), array.parallelism)
    assert sum(chains.values()) <= max_running


def test_a_full_limit_is_used():
    packs = [[run] for run in RUNS[:30]]
    plan = plan_arrays(packs, Limits(max_array_size=10), max_running=8)
    assert [array.parallelism for array in plan.arrays] == [3, 3, 2]


def test_limits_are_read_from_the_controller():
    text = "MaxArraySize            = 9\nMaxJobCount             = 10000\nX = y"
    assert Limits.parse(text) == Limits(9, 10_000)
    assert Limits.parse("") == Limits()
