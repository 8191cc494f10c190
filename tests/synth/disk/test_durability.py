"""What was written outlasts a kill at any call and a power cut at any moment."""

import errno
import os
import random
import time

import pytest
import torch

from synth.disk import files
from synth.run import checkpoint as checkpoints
from synth.run.checkpoint import Checkpoint, Place
from synth.run.store import RunFolder
from tests.conftest import tiny_run
from tests.synth.run.fake_disk import FakeDisk

OLD, NEW = b"old content", b"content that is new and longer"
CUTS = range(12)
"""Seeds of power cuts: each draws what a disk could hold."""


def nothing(root):
    """Prepare an empty folder."""


def lives(tmp_path, act, prepare=nothing, next_process=None, most=60):
    """The folder after each kill and cut, and whether `act`, or what came next, ended."""
    for calls in range(most):
        for cut in CUTS:
            root = tmp_path / f"{calls}-{cut}" / "here"
            root.mkdir(parents=True)
            prepare(root)
            disk, done = FakeDisk(root.parent), []  # which has what was prepared
            with disk.process(calls):
                act(root)
                done.append(True)
            if next_process:
                with disk.process():
                    next_process(root)
            disk.power_cut(random.Random(cut))
            yield root, bool(done or next_process)
            disk.close()
        if done:
            return
    raise AssertionError(f"it takes more than {most} calls")


def test_a_file_is_old_or_new_and_new_once_it_is_written(tmp_path):
    def prepare(root):
        (root / "a").write_bytes(OLD)

    def write(root):
        files.write_atomically(root / "a", NEW)

    for root, done in lives(tmp_path, write, prepare):
        found = (root / "a").read_bytes()
        assert found == NEW if done else found in (OLD, NEW)


def test_a_folder_that_was_made_is_there(tmp_path):
    """Also where the process that made it was killed before it could sync it."""

    def make(root):
        files.make_folder(root / "one/two/three")

    for after in (None, make):
        for root, done in lives(tmp_path / str(after), make, next_process=after):
            assert (root / "one/two/three").is_dir() or not done


def test_a_whole_folder_is_there_with_all_its_content_or_not_at_all(tmp_path):
    def write(root):
        with files.whole_folder(root / "copy") as folder:
            (folder / "part").mkdir()
            for name in ("a", "part/b"):
                with (folder / name).open("wb") as file:
                    file.write(NEW)

    for root, done in lives(tmp_path, write):
        assert (root / "copy").exists() or not done
        if (root / "copy").exists():
            for name in ("a", "part/b"):
                assert (root / "copy" / name).read_bytes() == NEW


def test_a_full_disk_under_a_whole_folder_is_named_by_its_final_place(tmp_path):
    with (
        pytest.raises(OSError, match=rf"No space left .*: '{tmp_path / 'copy'}'$"),
        files.whole_folder(tmp_path / "copy"),
    ):
        raise OSError(errno.ENOSPC, "Detail: full")
    assert not list(tmp_path.iterdir())


def test_what_killed_writers_of_a_whole_folder_left_stops_no_other(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as in a container
    (tmp_path / ".copy[1].notes.tmp").mkdir()  # somebody's own

    writers = []
    for name in ("copy[1]", "copy[1]", "copy1"):
        writers.append(files.whole_folder(tmp_path / name))
        writers[-1].__enter__()  # and is never left
    other, old, young, notes = sorted(tmp_path.iterdir())
    day_ago = time.time() - files.ABANDONED_SECONDS - 60
    for path in (other, old, notes):
        os.utime(path, (day_ago, day_ago))
    with files.whole_folder(tmp_path / "copy[1]") as folder:
        (folder / "a").write_bytes(NEW)
    assert set(tmp_path.iterdir()) == {tmp_path / "copy[1]", other, young, notes}


def test_the_newest_checkpoints_are_whole_and_stay_once_they_are_saved(tmp_path):
    config = tiny_run()

    def save(root, step):
        tensor = {"w": torch.full((3,), float(step))}
        place = Place(step, step, 0, (0, step))
        folder = RunFolder(root, config.run_id)
        checkpoints.save(folder, Checkpoint(place, tensor, tensor))

    def prepare(root):
        (root / config.run_id).mkdir()

    saved = {}

    def save_three(root):
        saved[root] = 0
        for step in (1, 2, 3):
            save(root, step)
            saved[root] = step

    for root, _ in lives(tmp_path, save_three, prepare, most=120):
        folder = RunFolder(root, config.run_id)
        steps = checkpoints.saved_steps(folder)
        for step in steps[-2:]:  # of an older one the files may be gone, not its name
            checkpoints.check(folder, step)
        assert max(steps, default=0) >= saved[root]
