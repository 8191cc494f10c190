"""Random signals to launchers and workers; `python -m tests.storms` has more."""

import pytest

from sweeps.sweep_lookup import find_sweep
from tests.storms.on_this_machine import aftermath, storm
from tests.sweeps.conftest import content


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_changes_no_result(sweep_file, tmp_path, expected, seed):
    path = sweep_file(seeds=4, steps=40, layers=(3,))
    configs = find_sweep(str(path))("quick")
    root = tmp_path / "runs" / "depths-quick"
    story = storm(seed, 5, path, root, tmp_path)
    assert aftermath(configs, path, root, tmp_path) == [], story
    assert [content(root, config) for config in configs] == expected(configs), story
