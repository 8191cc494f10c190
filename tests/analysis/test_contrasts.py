"""Any field as a contrast: paired by data seed, tested as the outcomes are."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.collect import collect
from analysis.contrasts import _pairs, compute_contrasts
from analysis.differences import judge_differences
from analysis.measures import Measure
from analysis.parquet import read
from analysis.plots import style
from analysis.plots.forest import forest_figure
from analysis.views import Query
from synth.metrics import Metric
from synth.objectives.multi_token import MultiTokenConfig
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run

SCORE = Metric("score", "share", "higher", floor="guess", ceiling=1.0)
MEASURE = Measure("score", ("test",), {}, (), SCORE)


def pairs(first, second, floor=0.1):
    rows = {"first": first, "second": second, "floor": [floor] * len(first)}
    frame = pl.DataFrame(rows).with_columns(ceiling=pl.lit(1.0))
    return frame.with_columns(difference=pl.col("second") - pl.col("first"))


def write_trees(root, gain=0.2, seeds=5, **training):
    """Runs that differ in the shape of expressions; chains gain, and more in n = 2."""
    rng = np.random.default_rng(1)
    for seed in range(seeds):
        shift = 0.1 * rng.standard_normal()
        for horizon in (1, 2):
            for tree in ("split", "chain"):
                top = 0.4 + shift + gain * horizon * (tree == "chain")
                top += 0.01 * rng.standard_normal()
                changes = training if tree == "chain" else {}
                write_tree(root, horizon, seed, tree, top, **changes)


def write_tree(root, horizon, seed, tree, score, **training):
    config = polynomial_run(horizon, seed)
    config = dataclasses.replace(
        config,
        task=dataclasses.replace(config.task, tree=tree),
        training=dataclasses.replace(config.training, **training),
    )
    write_run(root, config, polynomial_rows(config, lambda m, step: score))


def test_levels_get_the_paired_t_test():
    first, second = [0.3, 0.4, 0.5, 0.35], [0.42, 0.49, 0.62, 0.5]
    found = judge_differences(pairs(first, second), 0.9, MEASURE)
    told = stats.ttest_rel(second, first)
    assert found["test"] == "paired t"
    assert found["p"] == pytest.approx(told.pvalue)
    low, high = told.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert (found["pairs"], found["higher"], found["settled"]) == (4, "4 of 4", None)


def test_events_get_medians_and_a_test_of_signs():
    first, second = [0.1, 0.12, 0.11, 0.9, 0.13], [0.95, 0.96, 0.9, 0.97, 0.12]
    found = judge_differences(pairs(first, second), 0.9, MEASURE)
    assert found["test"] == "sign"
    assert found["p"] == pytest.approx(stats.binomtest(4, 5).pvalue)
    assert found["difference"] == pytest.approx(np.median(np.subtract(second, first)))
    assert (found["low"], found["resolves_with"]) == (None, None)


def test_six_events_get_wilcoxon_and_the_interval_of_their_median():
    first = [0.1, 0.12, 0.11, 0.14, 0.13, 0.105]
    second = [0.95, 0.96, 0.9, 0.97, 0.12, 0.93]
    found = judge_differences(pairs(first, second), 0.9, MEASURE)
    differences = np.subtract(second, first)
    assert found["test"] == "Wilcoxon"
    assert found["p"] == pytest.approx(
        stats.wilcoxon(differences, method="exact").pvalue
    )
    # P(all six on one side of the median) = 2 / 64 = 3.1 %: the ends hold it with 96.9 %.
    assert (found["low"], found["high"]) == (min(differences), max(differences))


def test_intervals_of_medians_hold_it_as_often_as_they_say():
    from analysis.differences import _test_without_distribution

    rng = np.random.default_rng(3)
    for count in (6, 9, 12):
        inside = []
        for _ in range(120):
            found = _test_without_distribution(rng.exponential(size=count).tolist())
            inside.append(found["low"] <= np.log(2) <= found["high"])
        assert np.mean(inside) > 0.9


def test_the_ends_of_the_scale_are_named():
    at_floor = judge_differences(
        pairs([0.1, 0.09, 0.11], [0.1, 0.1, 0.1]), 0.9, MEASURE
    )
    assert at_floor["settled"] == "both at the floor or below"
    at_ceiling = judge_differences(
        pairs([0.99, 1.0, 1.0], [1.0, 1.0, 0.99]), 0.9, MEASURE
    )
    assert at_ceiling["settled"] == "both at the ceiling"


@pytest.mark.parametrize(
    ("away", "floor", "ceiling"),
    [(0.015, "both at the floor or below", "both at the ceiling"), (0.045, None, None)],
)
def test_an_end_of_the_scale_is_two_per_cent_wide(away, floor, ceiling):
    """The scale goes from 0.1 to 1."""
    low, high = [0.1 + away] * 3, [1 - away] * 3
    assert judge_differences(pairs(low, low), 0.9, MEASURE)["settled"] == floor
    assert judge_differences(pairs(high, high), 0.9, MEASURE)["settled"] == ceiling


def test_a_pair_has_the_bounds_of_its_own_two_runs():
    """The mean over both sides, at the last step: not of other arms, cells or seeds."""
    rows = [
        ("10k", 0, "n1", 100, 0.4, 0.1, 0.8),
        ("10k", 0, "n1", 50, 0.9, 0.9, 0.9),
        ("10k", 0, "n2", 100, 0.7, 0.3, 1.0),
        ("10k", 0, "n3", 100, 0.9, 0.9, 0.9),
        ("10k", 1, "n1", 100, 0.4, 0.5, 0.6),
        ("10k", 1, "n2", 100, 0.3, 0.5, 0.7),
        ("30k", 0, "n1", 100, 0.5, 0.2, 0.6),
        ("30k", 0, "n2", 100, 0.9, 0.2, 1.0),
    ]
    columns = ["scale", "data_seed", "arm", "step", "value", "floor", "ceiling"]
    frame = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        state=pl.lit("done"),
        steps=pl.lit(100),
        run_id=pl.format("{}-{}-{}", "scale", "data_seed", "arm"),
    )
    found = _pairs(frame, ["scale"], "arm", ("n1", "n2"), None)
    assert found.select("scale", "data_seed", "first", "second").rows() == [
        ("10k", 0, 0.4, 0.7),
        ("10k", 1, 0.4, 0.3),
        ("30k", 0, 0.5, 0.9),
    ]
    assert found["difference"].to_list() == pytest.approx([0.3, -0.1, 0.4])
    assert found["floor"].to_list() == pytest.approx([0.2, 0.5, 0.2])
    assert found["ceiling"].to_list() == pytest.approx([0.9, 0.65, 0.8])


def test_two_groups_are_at_an_end_only_with_all_their_seeds():
    first, ceiling = [0.3] * 6 + [1.0] * 7, [1.0] * 13
    assert judge_differences(pairs(first, ceiling), 0.9, MEASURE)["settled"] is None
    first, floor = [0.9] * 6 + [0.1] * 7, [0.1] * 13
    assert judge_differences(pairs(first, floor), 0.9, MEASURE)["settled"] is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_median_of_zero_does_not_give_the_direction(tmp_path, sign):
    """Six of 13 runs differ, all in one direction."""
    for seed in range(13):
        for horizon, plain in ((1, sign > 0), (2, sign < 0)):
            value = 0.3 if seed < 6 and plain else 0.9
            config = polynomial_run(horizon, seed)
            write_run(
                tmp_path, config, polynomial_rows(config, lambda m, s, v=value: v)
            )
    (row,) = compute_contrasts(collect(tmp_path).frame, Query()).table.to_dicts()
    assert (row["difference"], row["test"]) == (0, "sign")
    assert row["p_holm"] < 0.05
    assert row["result"] == ("better" if sign > 0 else "worse")


def test_any_field_is_compared_in_each_arm(tmp_path):
    write_trees(tmp_path)
    found = compute_contrasts(
        collect(tmp_path).frame, Query(), "tree", baseline="split"
    )
    table = found.table
    assert table["arm"].to_list() == ["n1", "n2"]
    assert table["task.tree"].to_list() == ["chain", "chain"]
    assert table["difference"].to_list() == pytest.approx([0.2, 0.4], abs=0.03)
    assert table["pairs"].to_list() == [5, 5]
    assert table["result"].to_list() == ["better", "better"]
    assert found.title == "in_domain/exact_match at the end, minus task.tree split"


def test_results_are_corrected_over_all_rows(tmp_path):
    """t = 3 with four degrees of freedom, p = 0.04, twice: 0.08 after Holm."""
    for seed, noise in enumerate((-0.02, -0.01, 0.0, 0.01, 0.02)):
        for horizon in (1, 2):
            gain = 3 * np.sqrt(0.001 / 4 / 5) + noise
            write_tree(tmp_path, horizon, seed, "split", 0.4)
            write_tree(tmp_path, horizon, seed, "chain", 0.4 + gain)
    frame = collect(tmp_path).frame
    alone, both = (
        compute_contrasts(frame, Query(where=where), "tree", "split").table
        for where in (["arm=n1"], [])
    )
    p = 2 * stats.t.sf(3, 4)
    assert both["p"].to_list() == pytest.approx([p, p])
    assert both["p_holm"].to_list() == pytest.approx([2 * p, 2 * p])
    assert both["result"].to_list() == ["not told apart"] * 2
    assert alone["p_holm"].to_list() == pytest.approx([p])
    assert alone["result"].to_list() == ["better"]


def test_a_field_of_the_objective_is_compared_across_arms(tmp_path):
    write_trees(tmp_path, seeds=2)
    table = compute_contrasts(collect(tmp_path).frame, Query(), "horizon").table
    assert table["objective.horizon"].to_list() == [2, 2]
    assert table["pairs"].to_list() == [2, 2]
    assert sorted(table["difference"].round(1).to_list()) == [0.0, 0.2]


def test_a_number_without_a_direction_is_higher_or_lower(tmp_path):
    for seed in range(5):
        for horizon in (1, 2):
            config = polynomial_run(horizon, seed)
            floor = (0.1 + seed / 1000) / horizon
            rows = polynomial_rows(config, lambda m, step: 0.5, floor=floor)
            write_run(tmp_path, config, rows)
    query = Query(metric="in_domain/guess_floor/operations=1")
    table = compute_contrasts(collect(tmp_path).frame, query).table
    assert table["result"].to_list() == ["lower"]


def test_runs_of_the_baseline_alone_are_not_told(tmp_path):
    for horizon, seeds in ((1, 3), (2, 2)):
        for seed in range(seeds):
            config = polynomial_run(horizon, seed)
            write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.5))
    found = compute_contrasts(collect(tmp_path).frame, Query())
    assert found.table["pairs"].to_list() == [2]
    assert not any("Left out" in note for note in found.notes)


def test_arms_have_a_row_each_the_next_token_first(tmp_path):
    for horizon, score in ((1, 0.5), (2, 0.9), (3, 0.6)):
        for seed in range(2):
            config = polynomial_run(horizon, seed)
            rows = polynomial_rows(config, lambda m, step, score=score: score)
            write_run(tmp_path, config, rows)
    frame = collect(tmp_path).frame
    renamed = pl.col("arm").replace({"n2": "n10", "n3": "chain2"})
    frame = frame.with_columns(renamed)
    table = compute_contrasts(frame, Query()).table
    assert table["arm"].to_list() == ["chain2", "n10"]
    assert table["baseline"].to_list() == [0.5, 0.5]
    assert table["value"].to_list() == [0.6, 0.9]
    assert table["difference"].to_list() == pytest.approx([0.1, 0.4])
    table = compute_contrasts(frame, Query(), baseline="n10").table
    assert table["arm"].to_list() == ["n1", "chain2"]
    assert table["difference"].to_list() == pytest.approx([-0.4, -0.3])


def test_the_baseline_turns_the_sign(tmp_path):
    write_trees(tmp_path)
    frame = collect(tmp_path).frame
    one = compute_contrasts(frame, Query(), "tree", "split").table
    two = compute_contrasts(frame, Query(), "tree", "chain").table
    assert two["difference"].to_list() == pytest.approx((-one["difference"]).to_list())
    assert two["result"].to_list() == ["worse", "worse"]


def test_differences_without_a_direction_are_drawn_as_told_apart(tmp_path):
    write_trees(tmp_path)
    found = compute_contrasts(collect(tmp_path).frame, Query(), "tree", "split")
    results = pl.Series("result", ["higher", "not told apart"])
    told = dataclasses.replace(found, table=found.table.with_columns(results))
    (axes,) = forest_figure(told)[0].axes
    markers = [line.get_color() for line in axes.lines if line.get_marker() == "o"]
    assert markers == [style.INK, style.FAINT]


def test_arms_are_compared_in_each_setting(results):
    table = compute_contrasts(read(results / "p.parquet"), Query()).table
    assert sorted(table.select("where", "scale").rows()) == [
        (f"{n} pause tokens", scale) for n in (0, 5) for scale in ("10k", "30k")
    ]
    assert table["difference"].to_list() == pytest.approx([0.2] * 4, abs=0.05)
    equal = compute_contrasts(read(results / "p.parquet"), Query(), at="tokens").table
    assert equal["difference"].to_list() == pytest.approx(table["difference"].to_list())


def test_a_field_that_goes_along_has_to_be_named(tmp_path):
    write_trees(tmp_path, context=128, batch_rows=1)
    frame = collect(tmp_path).frame
    with pytest.raises(
        ValueError, match=r"--beside training\.batch_rows training\.context"
    ):
        compute_contrasts(frame, Query(), "tree")
    beside = ["context", "batch-rows"]
    assert (
        compute_contrasts(frame, Query(), "tree", beside=beside).table["pairs"].sum()
        == 10
    )


def test_one_answer_over_a_field_counts_each_seed_once(tmp_path):
    write_trees(tmp_path)
    frame = collect(tmp_path).frame
    apart = compute_contrasts(frame, Query(), "tree", "split")
    (row,) = compute_contrasts(
        frame, Query(), "tree", "split", over=["arm"]
    ).table.rows(named=True)
    assert row["pairs"] == 5
    assert row["difference"] == pytest.approx(apart.table["difference"].mean())
    ends = frame.filter(
        (pl.col("metric") == "exact_match")
        & (pl.col("suite") == "in_domain")
        & (pl.col("slice") == "")
        & (pl.col("step") == pl.col("step").max())
    ).sort("data_seed", "arm")
    seeds = {
        tree: ends.filter(pl.col("config").str.contains(f'"tree": ?"{tree}"'))
        .group_by("data_seed", maintain_order=True)
        .agg(pl.col("value").mean())["value"]
        .to_list()
        for tree in ("split", "chain")
    }
    told = stats.ttest_rel(seeds["chain"], seeds["split"])
    assert row["p"] == pytest.approx(told.pvalue)
    low, high = told.confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_a_seed_that_lacks_a_value_is_left_out_of_the_answer_over_it(tmp_path):
    write_trees(tmp_path)
    frame = collect(tmp_path).frame
    lacking = frame.filter((pl.col("data_seed") != 3) | (pl.col("arm") != "n2"))
    found = compute_contrasts(lacking, Query(), "tree", over=["arm"])
    assert found.table["pairs"].to_list() == [4]
    assert found.title.endswith("at the end, mean over arm, minus task.tree chain")
    assert any(
        note.endswith("some of 2 cells that differ in arm: data seeds 3.")
        for note in found.notes
    )
    one_each = frame.filter((pl.col("data_seed") < 3) == (pl.col("arm") == "n1"))
    with pytest.raises(ValueError, match="No seed has pairs in all of 2 cells"):
        compute_contrasts(one_each, Query(), "tree", over=["arm"])
    with pytest.raises(ValueError, match=r"--over task\.tree: it varies"):
        compute_contrasts(frame, Query(), "tree", over=["tree"])
    with pytest.raises(ValueError, match="--over arm: it varies, or stands beside"):
        compute_contrasts(frame, Query(), "tree", beside=["arm"], over=["arm"])


def test_what_cannot_be_compared_says_why(tmp_path):
    write_trees(tmp_path, seeds=1)
    frame = collect(tmp_path).frame
    with pytest.raises(ValueError, match="All finished runs have mixer=attention"):
        compute_contrasts(frame, Query(), "mixer")
    with pytest.raises(ValueError, match="No finished run has tree=bush as a baseline"):
        compute_contrasts(frame, Query(), "tree", "bush")
    with pytest.raises(ValueError, match="runs of one task do not differ in it"):
        compute_contrasts(frame, Query(), "tokens")


def test_other_execution_paths_are_named(tmp_path):
    write_trees(tmp_path, seeds=2)
    for folder in tmp_path.iterdir():
        stored = json.loads((folder / "config.json").read_text())
        if stored["config"]["task"]["tree"] == "chain":
            text = json.dumps({"sessions": [{"device": "cuda"}]})
        else:
            text = json.dumps({"sessions": [{"device": "cpu"}]})
        (folder / "environment.json").write_text(text)
    notes = compute_contrasts(collect(tmp_path).frame, Query(), "tree", "split").notes
    told = "different execution paths, device: split (cpu) and chain (cuda)."
    assert any(note.endswith(told) for note in notes)


def test_runs_without_a_pair_are_told_from_the_nearest_of_the_baseline(tmp_path):
    """The baseline of both sizes is at hand, and two tokens have another rate at one."""
    for scale, horizon, rate in (
        ("10k", 1, 1e-4),
        ("30k", 1, 1e-4),
        ("10k", 2, 1e-4),
        ("30k", 2, 1e-4),
        ("30k", 2, 1e-3),
        ("30k", 3, 1e-3),
    ):
        config = polynomial_run(horizon, scale=scale)
        training = dataclasses.replace(config.training, learning_rate=rate)
        config = dataclasses.replace(config, training=training)
        write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.5))
    notes = compute_contrasts(collect(tmp_path).frame, Query()).notes
    assert notes[-1] == (
        "Left out, as no run of n1 pairs with them: n2 at learning rate 0.001 (1); n3 at "
        "learning rate 0.001 (1). The most similar run of n1 differs in "
        "training.learning_rate. A table NAME-tuned has each arm at its best rate."
    )


def test_arms_that_score_other_tokens_are_said_to(tmp_path):
    for horizon, scored in ((1, "all"), (2, "answer")):
        objective = MultiTokenConfig(horizon=horizon, scored=scored)
        config = polynomial_run(objective=objective)
        write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.5))
    with pytest.raises(ValueError, match=r"they also differ in objective\.scored"):
        compute_contrasts(collect(tmp_path).frame, Query())
