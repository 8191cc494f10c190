"""Learning along training, as tables: equal cost, and when it is learned."""

import polars as pl
import pytest

from analysis.collect import collect
from analysis.parquet import read_all
from analysis.trajectories import (
    declared,
    equal_cost_table,
    events_table,
    floor_of,
)
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run


def test_equal_cost_has_every_known_cost(results):
    table = equal_cost_table(read_all(results))
    polynomials = table.filter(pl.col("task") == "polynomial")
    assert set(polynomials["equal"]) == {"tokens", "flops"}
    assert polynomials["pairs"].unique().to_list() == [5]
    stories = table.filter(pl.col("task") == "stories")
    assert set(stories["equal"]) == {"tokens"}, "FLOP are not known there"
    tokens = stories.filter(pl.col("equal") == "tokens")
    assert tokens["difference"].to_list() == pytest.approx([0.2] * 4, abs=0.02)


def test_two_groups_of_seeds_have_no_mean_at_equal_cost(tmp_path):
    for horizon, tops in ((1, [0.8] * 5), (2, [0.9, 0.9, 0.9, 0.02, 0.02])):
        for seed, top in enumerate(tops):
            end, config = top + 0.01 * seed, polynomial_run(horizon, seed)
            rows = polynomial_rows(config, lambda m, step, v=end: v * step / 100)
            write_run(tmp_path, config, rows)
    table = equal_cost_table(collect(tmp_path).frame)
    (tokens,) = table.filter(equal="tokens").iter_rows(named=True)
    assert tokens["pairs"] == 5
    assert [tokens[name] for name in ("difference", "low", "high")] == [None] * 3
    assert tokens["resolves_with"] is None
    # Three seeds up, two down: 1 under the sign test.
    assert table["p_holm"].unique().to_list() == [1.0]


def test_runs_that_never_learned_it_are_counted(tmp_path):
    for seed, top in ((0, 0.8), (1, 0.8), (2, 0.02)):
        config = polynomial_run(seed=seed)
        steps = (0, 40, 60, 80, 100)
        rows = polynomial_rows(config, lambda m, step, top=top: top * step / 100, steps)
        write_run(tmp_path, config, rows)
    frame = collect(tmp_path).frame
    assert floor_of(frame, "exact_match", "in_domain") == pytest.approx(0.02)
    row = events_table(frame).row(0, named=True)
    assert (row["learned"], row["runs"], row["level"]) == (2, 3, 0.5)
    # 0.8 x 80 % is the first of two evaluations at or above a half.
    assert row["tokens"] == 80 * 128
    assert row["p"] is None, "there is nothing to compare with"
    first = events_table(frame, in_a_row=1)
    assert first["tokens"].to_list() == [80 * 128]
    assert events_table(frame, in_a_row=3)["learned"].to_list() == [0]


def test_tasks_say_which_way_is_better_and_what_guessing_scores(results):
    frame = read_all(results)
    polynomials = frame.filter(pl.col("task") == "polynomial")
    assert declared(polynomials, "exact_match").floor == "guess_floor"
    assert declared(polynomials, "loss").better == "lower"
    assert declared(polynomials, "second_token_accuracy") is None
    assert declared(polynomials.with_columns(task=pl.lit("gone")), "beauty") is None
    stories = frame.filter(pl.col("task") == "stories")
    assert declared(stories, "second_token_accuracy").floor == "second_token_majority"
    assert floor_of(frame, "loss", "in_domain") == 0
    assert floor_of(frame, "beauty", "in_domain") == 0


def test_no_runs_no_rows(results):
    nothing = read_all(results).clear()
    assert equal_cost_table(nothing).is_empty()
    assert events_table(nothing).is_empty()
