"""Copies of the code: whole or not there, and told when somebody changed them."""

import os
import shutil
import subprocess
import time

import pytest

from synth.run.code_copy import MANIFEST, CopyChanged, check, check_lines, take


@pytest.fixture
def source(tmp_path):
    for name in ("synth/a.py", "synth/data/words.txt", "slurm/b.py"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "source"


def in_shell(copy):
    lines = "\n".join([*check_lines(copy), "echo it runs"])
    return subprocess.run(["bash", "-c", lines], capture_output=True, text=True)


def changed(copy):
    (copy / "synth" / "a.py").write_text("other")


def emptied(copy):
    os.truncate(copy / "slurm" / "b.py", 0)


def removed(copy):
    (copy / "slurm" / "b.py").unlink()


def planted(copy):
    (copy / "sitecustomize.py").write_text("print('planted')")


def compiled(copy):
    (copy / "synth" / "json.pyc").write_text("")


def linked(copy):
    (copy / "torch").symlink_to(copy / "synth")


def blocking(copy):
    (copy / "synth" / "a.py").unlink()
    os.mkfifo(copy / "synth" / "a.py")


def relisted(copy):
    changed(copy)
    text = (copy / MANIFEST).read_text()
    (copy / MANIFEST).write_text(text.replace(text[:64], "0" * 64, 1))


CHANGES = {
    changed: "synth/a.py",
    emptied: "slurm/b.py",
    removed: "slurm/b.py",
    planted: "sitecustomize.py",
    compiled: "synth/json.pyc",
    linked: "torch",
    blocking: "synth/a.py",
    relisted: MANIFEST,
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_copy_is_told_and_not_run(change, source, tmp_path):
    copy = take(tmp_path / "runs", ".slurm", source)
    check(copy)
    done = in_shell(copy)
    assert (done.returncode, done.stdout) == (0, "it runs\n")
    change(copy)
    with pytest.raises(CopyChanged, match=CHANGES[change]):
        check(copy)
    done = in_shell(copy)
    assert done.returncode == 1
    assert "it runs" not in done.stdout
    said = done.stdout + done.stderr
    assert "is not the code that was submitted" in said
    assert CHANGES[change] in said or change is relisted
    with pytest.warns(UserWarning, match=CHANGES[change]):
        assert take(tmp_path / "runs", ".slurm", source) == copy
    check(copy)
    assert in_shell(copy).returncode == 0


def test_compiled_files_are_not_trusted(source, tmp_path):
    copy = take(tmp_path / "runs", ".slurm", source)
    for look in (check, in_shell):
        cache = copy / "synth" / "__pycache__"
        cache.mkdir()
        (cache / "a.cpython-311.pyc").write_text("planted")
        look(copy)
        assert not cache.exists()


def test_a_copy_is_synced_before_it_has_its_name(source, tmp_path, monkeypatch):
    """Killed at any call, nothing bears the name that is not whole."""
    names = ("fsync", "replace", "rename", "mkdir")
    total = 0

    class Killed(BaseException):
        pass

    def counting(name, limit):
        real = getattr(os, name)

        def call(*arguments, **named):
            nonlocal total
            total += 1
            if limit is not None and total > limit:
                raise Killed
            return real(*arguments, **named)

        return call

    def run(root, limit):
        nonlocal total
        total = 0
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, counting(name, limit))
            return take(root, ".slurm", source)

    whole = run(tmp_path / "whole", None)
    calls = total
    files = sum(path.is_file() for path in whole.rglob("*"))
    assert calls > files  # each is synced, and folders too
    for limit in range(calls):
        root = tmp_path / f"killed-{limit}"
        with pytest.raises(Killed):
            run(root, limit)
        copy = root / ".slurm" / "code" / whole.name
        if copy.exists():
            check(copy)
        assert take(root, ".slurm", source).name == whole.name


def test_a_copy_follows_from_what_is_copied(source, tmp_path):
    first = take(tmp_path / "runs", ".slurm", source)
    twin = shutil.copytree(source, tmp_path / "twin")
    (twin / "synth" / "__pycache__").mkdir()
    (twin / "synth" / "__pycache__" / "a.pyc").write_text("")
    assert take(tmp_path / "runs", ".slurm", twin) == first
    (twin / "synth" / "novel.py").touch()
    assert take(tmp_path / "runs", ".slurm", twin) != first


def test_remains_of_killed_launchers_go(source, tmp_path):
    code = take(tmp_path / "runs", ".slurm", source).parent
    for name, age in ((".1f.aa.tmp", 2 * 86400), (".1f.bb.tmp", 60)):
        (code / name).mkdir()
        now = time.time()
        os.utime(code / name, (now - age, now - age))
    (source / "synth" / "c.py").touch()
    take(tmp_path / "runs", ".slurm", source)
    assert sorted(path.name for path in code.glob(".*")) == [".1f.bb.tmp"]
