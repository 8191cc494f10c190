"""What a typed path means, and where derived files go."""

import os
from pathlib import Path

import pytest

from synth.cli.parsing import parse
from synth.disk.places import cache_folder, expand


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A user without a home folder, as in a container."""

    def home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("SYNTH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"synth-cache-{os.getuid()}"


def test_paths_are_read_as_a_shell_reads_them(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    assert expand("runs/a b") == "runs/a b"
    assert expand("~/runs") == "/home/me/runs"
    assert expand("$DATA/x/${DATA}") == "/data/x//data"
    assert expand("a~b") == "a~b"
    (tmp_path / "price$list").touch()
    assert expand("price$list") == "price$list"
    with pytest.raises(ValueError, match="NOWHERE is not set"):
        expand("$NOWHERE/x")
    with pytest.raises(ValueError, match="~nobody-at-all is none"):
        expand("~nobody-at-all/x")


def test_options_that_are_paths_are_expanded(monkeypatch):
    from sweeps.commands import RunCommand
    from synth.cli.commands import Train

    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("NOWHERE", raising=False)
    commands = {"train": Train, "run": RunCommand}
    run = ["run", "quick", "--runs=~/x", "--tuned", "~/t.json"]
    found = parse(commands, "prog", "", run)
    assert found.runs == Path("/home/me/x")
    assert found.tuned == (Path("/home/me/t.json"),)
    with pytest.raises(ValueError, match=r"--runs must .* NOWHERE is not set"):
        parse(commands, "prog", "", ["run", "quick", "--runs", "$NOWHERE/x"])


def test_the_cache_has_one_rule(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("SYNTH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path("/home/me/.cache/synth")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/synth")
    for given, meant in (("~/c", "/home/me/c"), ("here", str(tmp_path / "here"))):
        monkeypatch.setenv("SYNTH_CACHE", given)
        assert cache_folder() == Path(meant)
    monkeypatch.setenv("SYNTH_CACHE", "$NOWHERE/c")
    with pytest.raises(ValueError, match="SYNTH_CACHE must name known variables"):
        cache_folder()


def test_without_a_home_the_cache_is_among_temporary_files(homeless):
    assert cache_folder() == homeless
    assert cache_folder() == homeless
    assert homeless.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_no_cache(homeless):
    homeless.mkdir()
    homeless.chmod(0o777)
    with pytest.raises(ValueError, match="not yours alone"):
        cache_folder()
    homeless.rmdir()
    homeless.symlink_to("/etc")
    with pytest.raises(ValueError, match="Set SYNTH_CACHE"):
        cache_folder()
