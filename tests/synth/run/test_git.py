"""The recorded state of a checkout, under hostile settings and in odd places."""

import hashlib
import os
import shutil
import subprocess

import pytest

from synth.run.git import (
    PATCH_BYTES,
    UNTRACKED_NAMES,
    drop_repeated_patch,
    read_checkout,
)

HOSTILE = {
    "color.ui": "always",
    "color.diff": "always",
    "core.attributesFile": "ATTRIBUTES",
    "core.quotePath": "false",
    "core.abbrev": "4",
    "diff.algorithm": "patience",
    "diff.colorMoved": "zebra",
    "diff.context": "0",
    "diff.external": "/bin/true",
    "diff.interHunkContext": "9",
    "diff.mnemonicPrefix": "true",
    "diff.noprefix": "true",
    "diff.orderFile": "ORDER",
    "diff.relative": "true",
    "diff.renames": "copies",
    "diff.suppressBlankEmpty": "true",
    "diff.wsErrorHighlight": "all",
    "diff.upper.binary": "true",
    "diff.upper.command": "/bin/true",
    "diff.upper.textconv": "tr a-z A-Z <",
}
POINTERS = {
    "GIT_DIR": "/nowhere",
    "GIT_WORK_TREE": "/nowhere",
    "GIT_INDEX_FILE": "/nowhere",
    "GIT_EXTERNAL_DIFF": "/bin/true",
    "GIT_DIFF_OPTS": "-u0",
    "GIT_CONFIG_PARAMETERS": "'diff.noprefix'='true'",
}


def git(folder, *words):
    return subprocess.check_output(["git", *words], cwd=folder)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a change to two files, whose user has no settings."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b.c")
    root = tmp_path / "checkout"
    (root / "synth").mkdir(parents=True)
    for name in ("__init__", "b", "moved"):
        lines = [f"{name} line {i}\n" for i in range(30)]
        (root / "synth" / f"{name}.py").write_text("".join(lines) + "\n\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    for name in ("__init__", "b"):
        path = root / "synth" / f"{name}.py"
        path.write_text(path.read_text().replace("line 9", "line nine  "))
    git(root, "mv", "synth/moved.py", "synth/caf\u00e9.py")
    return root


def test_no_setting_changes_the_patch(checkout, tmp_path, monkeypatch):
    plain = read_checkout(checkout)
    assert plain["commit"] == git(checkout, "rev-parse", "HEAD").decode().strip()
    assert plain["git"] is None
    (tmp_path / "order").write_text("synth/b.py\n")
    (tmp_path / "attributes").write_text("*.py diff=upper\n")
    places = {"ORDER": "order", "ATTRIBUTES": "attributes"}
    for key, value in HOSTILE.items():
        value = str(tmp_path / places[value]) if value in places else value
        for scope in ("--global", "--local"):
            git(checkout, "config", scope, key, value)
    for name, value in POINTERS.items():
        monkeypatch.setenv(name, value)
    assert read_checkout(checkout) == plain
    for name in POINTERS:
        monkeypatch.delenv(name)
    clone = tmp_path / "clone"
    git(tmp_path, "-c", "diff.noprefix=false", "clone", "-q", checkout, clone)
    subprocess.run(
        ["git", "apply"], input=plain["patch"].encode(), cwd=clone, check=True
    )
    for path in (checkout / "synth").iterdir():
        assert (clone / "synth" / path.name).read_bytes() == path.read_bytes()


def test_a_touched_file_is_no_change(checkout):
    git(checkout, "commit", "-qam", "second")
    os.utime(checkout / "synth" / "b.py", (1, 1))
    assert read_checkout(checkout)["patch"] is None


def test_bytes_that_are_not_utf8_are_recorded(checkout):
    (checkout / "synth" / "b.py").write_bytes(b"caf\xe9\r\n")
    found = read_checkout(checkout)
    assert "+caf\\xe9\r\n" in found["patch"]
    assert found["patch_bytes"] < len(found["patch"].encode())


def test_a_long_patch_is_a_size_and_a_digest(checkout):
    (checkout / "synth" / "b.py").write_text("x = 1\n" * PATCH_BYTES)
    found = read_checkout(checkout)
    assert found["patch"] is None
    assert found["patch_bytes"] > PATCH_BYTES
    assert len(found["patch_sha256"]) == 64


def test_data_and_runs_are_no_part_of_the_code(checkout):
    before = read_checkout(checkout)
    (checkout / "big.txt").write_text("x\n" * 10_000)
    copy = checkout / "mine" / ".sweep" / "code" / "1f" / "synth"
    copy.mkdir(parents=True)
    (copy / "a.py").write_text("")
    git(checkout, "add", "big.txt", "mine")
    (copy / "b.py").write_text("")
    (checkout / "mine" / "config.json").write_text("{}")
    assert read_checkout(checkout) == before
    (checkout / "synth" / "novel.py").write_text("")
    assert read_checkout(checkout)["untracked"] == "synth/novel.py"
    for number in range(UNTRACKED_NAMES + 7):
        (checkout / "synth" / f"x{number:03}.py").write_text("")
    assert read_checkout(checkout)["untracked"].endswith("\n... and 8 more")


def test_another_repository_is_never_recorded(checkout, tmp_path):
    inside = checkout / "unpacked"
    shutil.copytree(checkout / "synth", inside / "synth")
    found = read_checkout(inside)
    assert found["commit"] is None
    assert found["git"] == f"{inside} is no git checkout"
    (inside / ".git").mkdir()  # damaged: git would look above
    assert read_checkout(inside)["commit"] is None
    # Unpacked into the top folder of a repository that tracks other things.
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "x")
    shutil.copytree(checkout / "synth", other / "synth")
    found = read_checkout(other)
    assert found["commit"] is None
    assert "does not track synth/__init__.py" in found["git"]


def test_the_owner_of_a_checkout_is_told_what_to_type(checkout, monkeypatch):
    monkeypatch.setattr(
        "subprocess.run",
        lambda *_, **__: subprocess.CompletedProcess(
            [], 128, b"", b"fatal: detected dubious ownership in repository at '/x'\n"
        ),
    )
    with pytest.warns(UserWarning, match=r"--add safe.directory .*checkout"):
        found = read_checkout(checkout)
    assert found["commit"] is None
    assert "dubious ownership" in found["git"]


def test_a_machine_without_git_has_a_reason(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert read_checkout(checkout)["git"].startswith("git cannot be started")


def test_a_patch_is_recorded_once_in_a_run():
    digest = hashlib.sha256(b"p").hexdigest()
    session = {"code": {"patch": "p", "patch_sha256": digest}, "host": "a"}
    assert drop_repeated_patch(session, [{"problem": "torn"}, "odd"]) == session
    second = drop_repeated_patch(session, [session])
    assert second == {"code": {"patch": None, "patch_sha256": digest}, "host": "a"}
    other = {"code": {"patch": "q", "patch_sha256": "0"}}
    assert drop_repeated_patch(other, [session, second]) == other
