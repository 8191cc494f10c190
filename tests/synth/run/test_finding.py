"""Runs by name: what each word stands for, in any folder, and at what price."""

import glob
import shutil

import pytest

from synth.run.finding import find_run, find_runs


def make_runs(*folders):
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")


def test_brackets_of_a_folder_are_no_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "exp[1]" / "runs"
    make_runs(runs / "star-n1", runs / "deep[2]" / "star-n2", tmp_path / "exp1/star-n3")
    for word, expected in (
        ("star-n2", ["star-n2"]),
        ("star-n1*", ["star-n1"]),
        ("star-*", ["star-n1", "star-n2"]),
        ("deep[2]", ["star-n2"]),
        ("deep*/star-*", ["star-n2"]),
        ("exp[1]/runs", ["star-n2", "star-n1"]),
        ("exp[1]/runs/deep[2]", ["star-n2"]),
        ("exp[1]/runs/star-n1", ["star-n1"]),
    ):
        found = find_runs([word], runs.relative_to(tmp_path))
        assert sorted(path.name for path in found) == sorted(expected), word
    assert find_run("star-n1", runs).name == "star-n1"
    shutil.move("exp[1]", "gone")
    assert [path.name for path in find_runs(["exp[1]"])] == ["star-n3"]


def test_a_copy_inside_a_run_is_no_second_run(tmp_path):
    run = tmp_path / "star-n1-s0-aaaa"
    make_runs(run, run / "star-n1-s0-aaaa-llama")
    assert find_run("star-n1", tmp_path) == run
    with pytest.raises(ValueError, match="fits no run"):
        find_run("star-n1-s0-aaaa-llama", tmp_path)


def test_runs_are_listed_once_however_many_are_named(tmp_path, monkeypatch):
    ids = [f"star-s{seed}-aaaa" for seed in range(30)]
    make_runs(*(tmp_path / run_id for run_id in ids))
    lists, original = [], glob.glob
    monkeypatch.setattr(
        "synth.run.finding.glob.glob",
        lambda pattern: lists.append(pattern) or original(pattern),
    )
    for words in (ids, [run_id[:-1] for run_id in ids]):
        lists.clear()
        assert [path.name for path in find_runs(words, tmp_path)] == ids
        assert len([one for one in lists if one == f"{tmp_path}/*"]) == 1
