"""Collection: nothing is lost in silence, nothing is read twice."""

import json
import os
import shutil
import time

import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.cost import flops_per_token
from analysis.parquet import read, read_all, write
from analysis.schema import ORDER, SWEEP_SCHEMA
from synth.config import ModelConfig
from synth.disk.files import seal
from synth.models.describe import describe_model, describe_run
from synth.objectives.multi_token import MultiTokenConfig
from tests.analysis.conftest import (
    other_seed,
    polynomial_rows,
    polynomial_run,
    write_run,
    write_stories_sweep,
)


def constant(m, step):
    return 0.5


def test_table_has_the_declared_columns_and_order(sweep):
    found = collect(sweep)
    assert dict(found.frame.schema) == SWEEP_SCHEMA
    assert found.frame.equals(found.frame.sort(ORDER, nulls_last=True))
    assert found.states == {"done": 10}
    assert not found.problems
    assert found.frame["sweep"].unique().to_list() == ["polynomial-test"]
    assert found.frame.height == 10 * 3 * (4 * 2 + 2)


def test_values_arrive_unchanged(tmp_path):
    config = polynomial_run(horizon=4, seed=3)
    rows = polynomial_rows(config, lambda m, step: m / 10 + step / 1000)
    write_run(tmp_path, config, rows)
    frame = collect(tmp_path).frame
    back = frame.select("step", "suite", "metric", "slice", "value", "count", "tokens")
    sent = {
        (r.step, r.suite, r.metric, r.slice, r.value, r.count, r.tokens) for r in rows
    }
    assert set(back.iter_rows()) == sent
    first = frame.row(0, named=True)
    assert (first["arm"], first["seed"], first["data_seed"]) == ("n4", 3, 3)
    assert first["training_seconds"] == 12.5
    assert first["lanes"] == 3


def test_every_state_is_counted_and_kept(tmp_path):
    base = polynomial_run()
    rows = polynomial_rows(base, constant)
    write_run(tmp_path, base, rows)
    write_run(tmp_path, other_seed(base, 1), [], state="failed")
    write_run(tmp_path, other_seed(base, 2), rows[:3], state="stopped")
    (tmp_path / "notes").mkdir()
    found = collect(tmp_path)
    assert found.states == {"done": 1, "failed": 1, "stopped": 1}
    assert found.frame["run_id"].n_unique() == 3
    failed = found.frame.filter(pl.col("state") == "failed")
    assert failed["problem"].to_list() == ["out of memory"]
    assert failed["value"].to_list() == [None]


def test_torn_line_is_dropped_and_said(tmp_path):
    config = polynomial_run()
    rows = polynomial_rows(config, constant)
    write_run(tmp_path, config, rows, "stopped", tail='{"run_id": "poly')
    found = collect(tmp_path)
    assert found.frame.height == len(rows)
    assert found.problems == {config.run_id: "metrics.jsonl: torn last line"}


@pytest.mark.parametrize(
    "line", ['{"run_id": 3\n', '{"step": 1}\n', "[1]\n", "NaN\n", '{"value": NaN}\n']
)
def test_bad_lines_are_counted_and_spare_their_neighbours(tmp_path, line):
    good, bad = polynomial_run(), polynomial_run(seed=1)
    rows = polynomial_rows(good, constant)
    write_run(tmp_path, good, rows)
    write_run(tmp_path, bad, polynomial_rows(bad, constant), tail=line)
    found = collect(tmp_path)
    assert found.problems == {bad.run_id: "metrics.jsonl: 1 unreadable lines"}
    assert found.frame.height == 2 * len(rows)
    assert found.frame["value"].null_count() == 0


def test_a_run_without_metrics_has_a_row(tmp_path):
    config = polynomial_run()
    folder = write_run(tmp_path, config, polynomial_rows(config, constant))
    (folder / "metrics.jsonl").unlink()
    found = collect(tmp_path)
    assert found.frame["state"].to_list() == ["done"]
    assert not found.problems


def test_repeated_rows_count_once_and_the_last_one_wins(tmp_path):
    config = polynomial_run()
    first = polynomial_rows(config, lambda m, step: 0.1)
    second = polynomial_rows(config, lambda m, step: 0.9)
    write_run(tmp_path, config, [*first, *second])
    frame = collect(tmp_path).frame.filter(pl.col("metric") == "exact_match")
    assert frame.height == 15
    assert frame["value"].unique().to_list() == [0.9]


def test_probe_rows_join_under_their_own_suites(tmp_path):
    config = polynomial_run()
    rows = polynomial_rows(config, constant)
    folder = write_run(tmp_path, config, rows)
    before = collect(tmp_path)
    lines = (folder / "metrics.jsonl").read_text()
    (folder / "probe-law.jsonl").write_text(lines + '{"torn')
    after = collect(tmp_path, previous=before.frame)
    assert after.reread == 1
    assert after.frame.height == 2 * len(rows)
    probed = after.frame.filter(pl.col("suite").str.starts_with("probe/"))
    assert probed.height == len(rows)
    assert after.problems == {config.run_id: "probe-law.jsonl: torn last line"}


def test_only_changed_folders_are_read_again(sweep):
    first = collect(sweep)
    assert first.reread == 10
    second = collect(sweep, previous=first.frame)
    assert second.reread == 0
    assert second.frame.equals(first.frame)
    config = polynomial_run(seed=77)
    write_run(sweep, config, polynomial_rows(config, constant))
    changed = next(path for path in sweep.iterdir() if path.name != config.run_id)
    os.utime(changed / "metrics.jsonl", ns=(1, 1))
    third = collect(sweep, previous=first.frame)
    assert third.reread == 2
    assert third.frame.equals(collect(sweep).frame)


def test_an_edited_config_is_seen(sweep):
    first = collect(sweep)
    folder = next(iter(sweep.iterdir()))
    stored = json.loads((folder / "config.json").read_text())
    stored["config"]["training"]["learning_rate"] = 0.125
    (folder / "config.json").write_text(json.dumps(stored))
    again = collect(sweep, previous=first.frame)
    assert again.reread == 1
    edited = again.frame.filter(pl.col("run_id") == folder.name)
    assert edited["learning_rate"].unique().to_list() == [0.125]


def test_written_tables_are_equal_bytes_and_come_back(sweep, tmp_path):
    found = collect(sweep)
    write(found.frame, tmp_path / "a.parquet")
    write(collect(sweep).frame, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (
        tmp_path / "b.parquet"
    ).read_bytes()
    assert read(tmp_path / "a.parquet").equals(found.frame)
    with pytest.raises(ValueError, match="does not exist"):
        read(tmp_path / "c.parquet")


def test_two_thousand_folders_in_seconds(tmp_path):
    config = polynomial_run()
    stored = json.dumps({"config": config.to_dict()})
    lines = "".join(
        json.dumps(row.__dict__) + "\n" for row in polynomial_rows(config, constant)
    )
    for number in range(2000):
        name = f"polynomial-n1-10k-s{number}"
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(
            f'{{"run_id": "{name}", ' + stored[1:]
        )
        text = lines.replace(config.run_id, name)
        (tmp_path / name / "metrics.jsonl").write_text(text)
        (tmp_path / name / "result.json").write_text("{}")
    start = time.process_time()
    found = collect(tmp_path)
    first = time.process_time() - start
    assert found.states == {"done": 2000}
    assert found.frame.height == 2000 * 30
    assert first < 20, "10,000 folders belong in seconds"
    start = time.process_time()
    assert collect(tmp_path, previous=found.frame).reread == 0
    assert time.process_time() - start < first


def test_flops_are_those_of_describe():
    config = polynomial_run(horizon=4)
    expected = describe_run(config)["training_flops_per_token"]
    stored = config.to_dict()
    assert flops_per_token(stored, {}) == expected
    assert flops_per_token(polynomial_run().to_dict(), {}) < expected
    vocabulary = describe_run(config)["vocabulary"]
    assert flops_per_token(stored, {"vocabulary": vocabulary}) == expected
    assert flops_per_token({"task": {"kind": "stories"}}, {}) is None
    assert flops_per_token({}, {}) is None
    for odd in ("many", [1], {}, -1, None, True):
        found = flops_per_token(
            stored, {"vocabulary": odd, "unembeddings_per_token": 4}
        )
        assert found is None or found > 0


def cost(model, horizon, *more):
    """FLOP a token of a model, as it is described."""
    objective = MultiTokenConfig(horizon=horizon)
    return describe_model(model, objective, *more)["training_flops_per_token"]


def test_flops_of_stories_count_the_logits_that_the_run_computed(tmp_path):
    write_stories_sweep(tmp_path, sizes=("1M",), seeds=1)
    assert collect(tmp_path).frame["flops_per_token"].null_count() > 0
    for folder in tmp_path.iterdir():
        result = json.loads((folder / "result.json").read_text())
        found = {"vocabulary": 2048, "unembeddings_per_token": 0.05}
        (folder / "result.json").write_text(json.dumps(seal(result | found)))
    frame = collect(tmp_path).frame
    first = frame.filter(pl.col("arm") == "n1").row(0, named=True)
    model, context = ModelConfig(scale="1M"), first["context"]
    expected = cost(model, 1, 2048, context, 0.05)
    every = cost(model, 1, 2048, context)
    assert first["flops_per_token"] == expected < every


def test_an_older_run_without_a_count_of_logits_has_a_cost_where_all_are_computed():
    stored = polynomial_run(horizon=2).to_dict()
    stored["task"] = {"kind": "stories"}
    model, context = ModelConfig(scale="10k"), stored["training"]["context"]
    every = cost(model, 2, 2048, context)
    assert flops_per_token(stored, {"vocabulary": 2048}) == every
    stored["objective"]["scored"] = "answer"
    assert flops_per_token(stored, {"vocabulary": 2048}) is None
    small = cost(model, 2, 64, context)
    assert flops_per_token(stored, {"vocabulary": 64}) == small


def test_counts_by_story_stand_beside_their_score(tmp_path):
    write_stories_sweep(tmp_path, sizes=("1M",), seeds=2)
    found = collect(tmp_path)
    assert found.problems == {}
    rows = found.frame.drop_nulls("items_right")
    assert rows.height == 8
    assert rows["metric"].unique().to_list() == ["second_token_accuracy"]
    assert rows["step"].unique().to_list() == [100]
    share = rows["items_right"].list.sum() / rows["items_number"].list.sum()
    assert share.to_list() == pytest.approx(rows["value"].to_list())
    write(found.frame, tmp_path / "out" / "t.parquet")
    assert read(tmp_path / "out" / "t.parquet").equals(found.frame)
    again = collect(tmp_path, previous=found.frame)
    assert again.reread == 0
    changed = next(path for path in sorted(tmp_path.iterdir()) if path.name != "out")
    (changed / "items.jsonl").write_text('{"step": 1}\n[]\nnothing\n')
    once_more = collect(tmp_path, previous=found.frame)
    assert once_more.reread == 1
    assert once_more.problems == {changed.name: "items.jsonl: 3 unreadable lines"}
    assert once_more.frame.drop_nulls("items_right").height == 7
    assert once_more.frame.equals(collect(tmp_path).frame)


def test_tables_without_the_newer_columns_can_be_read(tmp_path, sweep):
    found = collect(sweep)
    old = found.frame.drop("items_right", "items_number", "lanes")
    old.write_parquet(tmp_path / "old.parquet")
    back = read(tmp_path / "old.parquet")
    assert dict(back.schema) == SWEEP_SCHEMA
    assert back["items_right"].null_count() == back.height


def test_command_writes_one_file_a_sweep(sweep, tmp_path, capsys):
    arguments = ["collect", "--runs", str(sweep.parent), "--results"]
    assert main([*arguments, str(tmp_path / "results"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["states"] == {"done": 10}
    assert [p.name for p in (tmp_path / "results").iterdir()] == [
        "polynomial-test.parquet"
    ]


def test_a_file_that_is_no_table_is_named(tmp_path, capsys):
    (tmp_path / "mine.parquet").write_bytes(b"not a table at all")
    assert main(["claims", "--results", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "mine.parquet is no table of a sweep" in err
    assert "collect the sweep again" in err


def test_a_folder_without_runs_is_a_message_not_a_traceback(tmp_path, capsys):
    assert main(["collect", "--runs", str(tmp_path)]) == 2
    assert "holds no sweep" in capsys.readouterr().err
    with pytest.raises(ValueError, match="has no run"):
        collect(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        collect(str(tmp_path / "nothing"))


def test_a_copied_folder_counts_once_and_is_said(sweep):
    before = collect(sweep).frame
    first = sorted(sweep.iterdir())[0]
    shutil.copytree(first, sweep / f"{first.name}-copy")
    for previous in (None, before):
        found = collect(sweep, previous=previous)
        assert found.states == {"done": 10}
        assert found.frame.drop("stamp").equals(before.drop("stamp"))
        assert f"{first.name}-copy" in found.problems
        assert first.name in found.problems[f"{first.name}-copy"]


def test_unchanged_folders_give_the_same_table_as_a_full_reading(sweep):
    before = collect(sweep).frame
    write_run(sweep, polynomial_run(horizon=4), [], state="failed")
    added = collect(sweep, previous=before)
    assert added.reread == 1
    assert added.frame.equals(collect(sweep).frame)
    again = collect(sweep, previous=added.frame)
    assert again.reread == 0
    assert again.frame.equals(added.frame)
    assert (again.states, again.problems) == (added.states, added.problems)


def test_a_run_in_two_sweeps_is_taken_whole_from_where_it_is_done(tmp_path):
    config = polynomial_run()
    early = polynomial_rows(config, constant, steps=(0, 50))
    write_run(tmp_path / "a", config, early, state="stopped")
    write_run(tmp_path / "b", config, polynomial_rows(config, constant))
    for name in ("a", "b"):
        write(collect(tmp_path / name).frame, tmp_path / "results" / f"{name}.parquet")
    whole = read_all(tmp_path / "results")
    assert whole.equals(read(tmp_path / "results" / "b.parquet"))
