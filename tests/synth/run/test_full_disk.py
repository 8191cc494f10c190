"""A disk that is full at any write of a run: told in words, and nothing finished lost."""

import contextlib
import resource

import pytest

from synth.run.result_file import verify
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.run.fake_disk import FakeDisk
from tests.synth.run.test_power_cuts import OFTEN, RUNS, TinyPack, content


def trained(root, config, build=TinyPack):
    (outcome,) = train([config], root, OFTEN, build=build)
    return outcome


def test_a_disk_that_fills_at_any_call_loses_nothing(tmp_path):
    finished, config = RUNS[:2]
    trained(tmp_path / "calm", config)
    expected = content(tmp_path / "calm", config)
    disk, full, calls = FakeDisk(tmp_path / "runs"), True, 0
    trained(disk.root, finished)
    before = content(disk.root, finished)
    while full:
        with disk.process(calls, full=True):
            outcome = trained(disk.root, config)
        full, folder = disk.dead, RunFolder(disk.root, config.run_id)
        if outcome.state == "failed":
            assert "No space left on device" in outcome.message
        else:  # what was lost is for people, or room that is freed later
            assert outcome.state == "done"
        assert trained(disk.root, config).state == "done"
        assert content(disk.root, config) == expected
        assert content(disk.root, finished) == before
        assert verify(folder.path) == verify(disk.root / finished.run_id) == []
        folder.path.rename(tmp_path / f"ended-{calls}")
        calls += 1
    assert calls > 50
    disk.close()


@contextlib.contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 500, 2000, 6000, 20_000, 40_000, 80_000])
def test_a_write_that_the_system_cuts_short_is_told(tmp_path, size):
    """In the middle of a line or of a tensor; the limit is met by one file or another."""
    config = tiny_run()
    train([config], tmp_path / "calm", OFTEN)
    expected = (tmp_path / "calm" / config.run_id / "metrics.jsonl").read_bytes()
    root = tmp_path / "runs"
    with files_of_at_most(size):
        (outcome,) = train([config], root, OFTEN)
    assert outcome.state == "failed"
    assert "File too large" in outcome.message
    (outcome,) = train([config], root, OFTEN)
    assert outcome.state == "done", outcome
    assert (root / config.run_id / "metrics.jsonl").read_bytes() == expected
    assert verify(root / config.run_id) == []
