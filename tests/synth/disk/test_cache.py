import multiprocessing
import os
import signal
import time

import pytest

from synth.disk.cache import MANIFEST, entry
from synth.disk.files import ABANDONED_SECONDS
from synth.disk.places import cache_folder
from tests.conftest import PATIENCE_S


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path))
    return tmp_path


def fill(content, calls):
    def build(to):
        calls.append(content)
        (to / "a.bin").write_bytes(content)

    return build


def test_built_once(folder):
    calls = []
    path = entry("kind", "key", fill(b"x" * 100, calls))
    again = entry("kind", "key", fill(b"y", calls))
    assert path == again == folder / "kind" / "key"
    assert (path / "a.bin").read_bytes() == b"x" * 100
    assert len(calls) == 1


HARMS = ["truncate", "lose", "manifest", "garbage", "flip", "sizes", "list"]


@pytest.mark.parametrize("harm", HARMS)
def test_torn_entries_are_made_anew(folder, harm):
    path = entry("kind", "key", fill(b"x" * 100, []))
    if harm == "truncate":
        os.truncate(path / "a.bin", 50)
    elif harm == "lose":
        (path / "a.bin").unlink()
    elif harm == "manifest":
        (path / MANIFEST).unlink()
    elif harm == "flip":
        (path / "a.bin").write_bytes(b"x" * 50 + b"y" + b"x" * 49)
    else:
        content = {"garbage": "[1, 2", "sizes": '{"a.bin": 100}', "list": "[]"}[harm]
        (path / MANIFEST).write_text(content)
    calls = []
    entry("kind", "key", fill(b"z" * 10, calls))
    assert len(calls) == 1
    assert (path / "a.bin").read_bytes() == b"z" * 10
    assert [p.name for p in (folder / "kind").iterdir()] == ["key"]


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o775), (0o077, 0o700)])
def test_modes_follow_the_umask(folder, umask, mode):
    before = os.umask(umask)
    try:
        path = entry("kind", "key", fill(b"x", []))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    assert path.parent.stat().st_mode & 0o777 == mode
    for file in path.iterdir():
        assert file.stat().st_mode & 0o777 == mode & 0o666


def test_an_entry_of_another_user_that_does_not_fit_is_named(folder, monkeypatch):
    path = entry("kind", "key", fill(b"x", []))
    os.truncate(path / "a.bin", 0)

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(OSError, match=r"kind/key cannot be written.* SYNTH_CACHE"):
        entry("kind", "key", fill(b"x", []))


def test_a_failed_build_leaves_nothing(folder):
    def build(to):
        (to / "a.bin").write_bytes(b"half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        entry("kind", "key", build)
    assert list((folder / "kind").iterdir()) == []


def _race(folder, number):
    os.environ["SYNTH_CACHE"] = str(folder)

    def build(to):
        for part in range(3):
            (to / f"{part}.bin").write_bytes(b"same" * 1000)
            time.sleep(0.02)

    path = entry("kind", "key", build)
    assert [(path / f"{p}.bin").read_bytes() for p in range(3)] == [b"same" * 1000] * 3


def test_writers_may_race(folder):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_race, args=(folder, i)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert [p.name for p in (folder / "kind").iterdir()] == ["key"]


def _build_slowly(folder, begun):
    os.environ["SYNTH_CACHE"] = str(folder)

    def build(to):
        (to / "0.bin").write_bytes(b"half of it")
        begun.set()
        signal.pause()

    entry("kind", "key", build)


def test_a_writer_killed_in_the_middle_leaves_no_entry(folder):
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    worker = context.Process(target=_build_slowly, args=(folder, begun))
    worker.start()
    assert begun.wait(PATIENCE_S)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    (left,) = (folder / "kind").iterdir()
    assert left.name.startswith(".key-")
    path = entry("kind", "key", fill(b"whole", []))
    assert (path / "a.bin").read_bytes() == b"whole"
    assert left.exists(), "young enough to belong to a living writer"


def test_what_killed_writers_left_is_removed_after_a_day(folder):
    kept = folder / "kind" / ".other-young"
    dead = folder / "kind" / ".other-old"
    busy = folder / "kind" / ".other-busy"
    day_ago = time.time() - ABANDONED_SECONDS - 60
    for path in (kept, dead, busy):
        path.mkdir(parents=True)
        (path / "0.bin").write_bytes(b"half")
    for path in (dead / "0.bin", dead, busy):
        os.utime(path, (day_ago, day_ago))
    entry("kind", "key", fill(b"x", []))
    names = {path.name for path in (folder / "kind").iterdir()}
    assert names == {"key", ".other-young", ".other-busy"}


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.delenv("SYNTH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "synth"
