"""Packs: who trains beside whom."""

import pytest

from sweeps.packs import cut
from tests.conftest import tiny_run


@pytest.mark.parametrize(
    ("lanes", "sizes"), [(1, [1] * 5), (2, [1, 2, 2]), (4, [2, 3]), (9, [5])]
)
def test_packs_are_few_and_even(lanes, sizes):
    configs = [tiny_run(seed=seed) for seed in range(5)]
    packs = cut(configs, lanes)
    assert sorted(map(len, packs)) == sizes
    assert [config for pack in packs for config in pack] == configs


def test_only_runs_of_one_shape_share_a_pack():
    configs = [tiny_run(n, seed) for seed in range(2) for n in (1, 2)]
    packs = cut(configs, 4)
    assert [[c.objective.horizon for c in pack] for pack in packs] == [[1, 1], [2, 2]]
