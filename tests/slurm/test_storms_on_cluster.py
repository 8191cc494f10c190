"""Random faults on a cluster; `python -m tests.storms cluster` has more."""

import pytest

from tests.storms.on_cluster import Storm

from .conftest import tiny


@pytest.mark.cluster
@pytest.mark.slow
def test_a_storm_changes_no_result(site, assert_undisturbed):
    packs = [[tiny(2 * i, 60), tiny(2 * i + 1, 60)] for i in range(3)]
    storm = Storm(site, packs, seed=1)
    storm.blow(faults=8)
    storm.calm()
    assert_undisturbed(site, *(config for pack in packs for config in pack))
