"""Profiles: every shipped one loads, every mistake is named."""

import dataclasses
from pathlib import Path

import pytest

from slurm.__main__ import main
from slurm.profile import (
    SHIPPED,
    Profile,
    available_profiles,
    from_values,
    load_profile,
    parse_minutes,
    read_profile,
)
from synth.run.execution import Execution


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """No profile of the person who runs the tests."""
    monkeypatch.setenv("SYNTH_PROFILES", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def test_every_shipped_profile_loads():
    names = sorted(path.stem for path in SHIPPED.glob("*.toml"))
    assert names == ["cpu", "example", "private"]
    assert sorted(available_profiles()) == names
    for name in names:
        assert load_profile(name).name == name


def test_the_example_explains_every_key():
    text = (SHIPPED / "example.toml").read_text()
    for field in dataclasses.fields(Profile):
        if field.name not in ("name", "wckey"):
            assert field.name in text, field.name


def test_the_example_means_what_it_says():
    profile = load_profile("example")
    assert profile.time == 240
    assert profile.environment["OMP_NUM_THREADS"] == "4"
    assert profile.build_execution() == Execution(
        device="cuda", checkpoint_every_seconds=300.0
    )


def test_own_profiles_come_first(own_folder):
    (own_folder / "cpu.toml").write_text("partition = 'mine'\n")
    assert load_profile("cpu").partition == "mine"
    assert load_profile(str(own_folder / "cpu.toml")).partition == "mine"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("90:30", 91),
        ("02:30:00", 150),
        ("00:00:01", 1),
        ("1-0", 1440),
        ("2-12", 3600),
        ("1-01:01", 1501),
        ("1-00:00:01", 1441),
    ],
)
def test_times_as_slurm_writes_them(text, expected):
    assert parse_minutes("site", text) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"partitoin": "gpu"}, "no key 'partitoin'.*Did you mean 'partition'"),
        ({"time": "an hour"}, "time must be minutes, .* got 'an hour'"),
        ({"time": "1:2:3:4"}, "time must be minutes"),
        ({"time": "1.5"}, "time must be minutes"),
        ({"time": 0}, "time must be from 1 to 5,000,000; got 0"),
        ({"time": 2.5}, "time must be a whole number; got 2.5"),
        ({"cpus": True}, "cpus must be a whole number; got True"),
        ({"gpus": -1}, "gpus must be from 0 to 10,000; got -1"),
        ({"memory_gb": "8G"}, "memory_gb must be a number; got '8G'"),
        ({"memory_gb": -1}, "memory_gb must be from 0 to 1,000,000; got -1"),
        ({"memory_gb": float("inf")}, "memory_gb must be finite; got inf"),
        ({"memory_gb": float("nan")}, "memory_gb must be finite; got nan"),
        ({"memory_gb": 10**400}, "memory_gb must be within 64 bits; got 1000"),
        ({"memory_gb": 2, "memory_per_cpu_gb": 1}, "_gb and memory_.* exclude each"),
        ({"memory_gb": 2, "sbatch": {"mem-per-gpu": "1G"}}, "exclude each other"),
        (
            {"sbatch": {"mem-per-cpu": "1G"}},
            "mem-per-cpu must not .* memory_per_cpu_gb",
        ),
        ({"sbatch": {"mem_per_cpu": "1G"}}, "long names of options .* 'mem_per_cpu'"),
        ({"sbatch": {"comment": "a\n#SBATCH -p b"}}, "sbatch.comment must be one line"),
        ({"partition": "a\nb"}, "partition must be one line"),
        ({"environment": {"A": "a\x00b"}}, "environment.A must be one line"),
        ({"environment": {"\u00c4": "a"}}, "environment must hold names"),
        ({"max_running": {}}, "max_running must be a whole number; got {}"),
        ({"max_running": [1]}, r"max_running must be a whole number; got \[1\]"),
        ({"lanes": {"a": 1}}, "lanes must be a whole number; got {'a': 1}"),
        ({"cpus": 16**5000}, "cpus must be within 64 bits; got a number of thousands"),
        ({"cpus": [16**5000]}, "cpus must be a whole number; got"),
        ({"time": "9" * 5000}, "time must be minutes"),
        ({"time": "1\u00b2"}, "time must be minutes"),
        ({"time": "99999999-00:00:00"}, "time must be from 1 to 5,000,000; got 1439"),
        ({"signal_delay_s": 10**9}, "signal_delay_s must be from 1 to 65,535"),
        ({"gpus": 4}, "at most tasks = 1, .* got 4. Use gpus = 1 .* or tasks = 4 to"),
        ({"setup": "module load"}, "setup must be a list; got"),
        ({"setup": ["a", 1]}, r"setup\[1\] must be text; got 1"),
        ({"max_running": 0}, "max_running must be from 1 to 10,000,000; got 0"),
        ({"time": 1, "signal_delay_s": 60}, "below the time limit of 60 s; got 60"),
        ({"environment": {"a b": 1}}, "environment must hold names .* got 'a b'"),
        ({"environment": {"A": [1]}}, "environment.A must be text; got"),
        (
            {"sbatch": {"a": [1]}},
            "sbatch.a must be text or a number or true or false",
        ),
        ({"environment": "A=1"}, "environment must be a table; got 'A=1'"),
        ({"sbatch": {"array": "0-3"}}, "sbatch.array must not be set.*max_running"),
        ({"execution": {"devise": "cpu"}}, "no key 'devise'. Did you mean 'device'"),
        ({"execution": {"threads": 0}}, "threads must be at least 1; got 0"),
        ({"execution": {"device": "gpu"}}, "device must be one of 'cpu', 'cuda'; got"),
        ({"execution": {"compile": "yes"}}, "compile must be .*; got 'yes'"),
        ({"execution": {"checkpoint_every_seconds": -1}}, "at least 0; got -1.0"),
    ],
)
def test_mistakes_are_named(values, words):
    with pytest.raises(ValueError, match=words) as caught:
        from_values("site", values)
    assert "'site'" in str(caught.value)


def test_memory_is_asked_for_in_one_way():
    assert from_values("site", {}).memory_gb == 4
    by_cpu = from_values("site", {"memory_per_cpu_gb": 2})
    assert (by_cpu.memory_gb, by_cpu.memory_per_cpu_gb) == (0, 2)
    assert from_values("site", {"sbatch": {"mem-per-gpu": "8G"}}).memory_gb == 0


def test_paths_of_profiles_are_read_as_a_shell_reads_them(own_folder, monkeypatch):
    (own_folder / "mine.toml").write_text("partition = 'mine'\n")
    monkeypatch.setenv("HOME", str(own_folder.parent))
    monkeypatch.setenv("HERE", str(own_folder))
    for name in ("~/own/mine.toml", "$HERE/mine.toml", "${HERE}/mine.toml"):
        assert load_profile(name).partition == "mine"
    for folder in ("~/own", "$HERE"):
        monkeypatch.setenv("SYNTH_PROFILES", folder)
        assert load_profile("mine").partition == "mine"


def test_a_mark_of_byte_order_is_no_mistake(own_folder):
    (own_folder / "a.toml").write_bytes(b"\xef\xbb\xbfpartition = 'mine'\n")
    assert load_profile("a").partition == "mine"


def test_files_are_named_too(own_folder):
    (own_folder / "a.toml").write_text("time = \n")
    with pytest.raises(ValueError, match=r"a\.toml is not valid TOML"):
        read_profile(own_folder / "a.toml")
    for content in (b"\xff\xfet\x00", b"time = " + b"9" * 5000, b"a = " + b"[" * 9999):
        (own_folder / "a.toml").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.toml is not valid TOML"):
            read_profile(own_folder / "a.toml")
    (own_folder / "b.toml").write_text("time = 0\n")
    with pytest.raises(ValueError, match=r"b\.toml: profile 'b': time"):
        read_profile(own_folder / "b.toml")


def test_the_list_goes_on_after_an_invalid_profile(own_folder, capsys):
    (own_folder / "a.toml").write_text("time = 0\n")
    (own_folder / "b.toml").write_text("partition = 'mine'\n")
    (own_folder / "c.toml").write_text("partitoin = 'mine'\n")
    assert main(["profiles"]) == 2
    out, err = capsys.readouterr()
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(lines) == set(available_profiles())
    assert [name for name in lines if "(invalid)" in lines[name]] == ["a", "c"]
    first, second = err.splitlines()
    assert first.startswith(
        f"error: {own_folder / 'a.toml'}: profile 'a': time must be"
    )
    assert "has no key 'partitoin'. Did you mean 'partition'?" in second
    for path in own_folder.iterdir():
        path.unlink()
    assert main(["profiles"]) == 0


def test_unknown_profiles_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"'cpus'.*Did you mean 'cpu'.*example.toml"):
        load_profile("cpus")
    with pytest.raises(ValueError, match="no profile file"):
        load_profile(str(Path("nowhere.toml")))
