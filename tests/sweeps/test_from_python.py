"""A sweep trained from a script or a notebook, in its process."""

import pytest

from sweeps.from_python import train_here
from sweeps.sweep import sweep
from synth.run.store import RunFolder
from tests.conftest import tiny_run


def test_runs_that_are_left_alone_are_returned(tmp_path):
    damaged, failed, new = configs = [tiny_run(seed=seed) for seed in range(3)]
    for config in (damaged, failed):
        RunFolder(tmp_path, config.run_id).open(config)
    (tmp_path / damaged.run_id / "config.json").write_bytes(b"")
    RunFolder(tmp_path, failed.run_id).write_failure("it broke")

    @sweep(scales=("quick",))
    def mine(scale):
        return configs

    trained, *left = train_here(mine, tmp_path, quiet=True)
    assert (trained.run_id, trained.state) == (new.run_id, "done")
    assert train_here(mine, tmp_path, quiet=True) == left
    assert [outcome.run_id for outcome in left] == [damaged.run_id, failed.run_id]
    assert [outcome.state for outcome in left] == ["unreadable", "failed"]
    assert "config.json is not valid JSON" in left[0].message
    assert left[1].message == "it broke"


@pytest.mark.parametrize("given", ["quick", lambda scale: []])
def test_what_is_no_sweep_is_refused_in_words(tmp_path, given):
    with pytest.raises(ValueError, match="sweep must be a function under @sweep; got"):
        train_here(given, tmp_path)


def test_options_of_training_are_an_execution(tmp_path):
    @sweep(scales=("quick",))
    def mine(scale):
        return [tiny_run()]

    with pytest.raises(ValueError, match="execution must be an Execution; got "):
        train_here(mine, tmp_path, execution={"threads": 1})
    assert not list(tmp_path.iterdir())
