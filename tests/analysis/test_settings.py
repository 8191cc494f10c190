"""Settings: what is averaged, what is kept apart, and how it is named."""

import itertools
import json
from dataclasses import replace

import polars as pl
import pytest

from analysis.collect import collect
from analysis.comparisons import pair_by_seed
from analysis.evidence.pairs import add_settings
from analysis.parquet import read_all
from analysis.plots.families import FIGURES
from analysis.plots.overview import overviews
from analysis.settings import (
    check_one_setting,
    describe_training,
    settings_of,
    with_setting,
)
from synth.config import ModelConfig, RunConfig
from synth.identity import canonical_json
from synth.metrics import Measurement
from synth.tasks.graph_paths import GraphPathsConfig
from synth.tasks.polynomial import PolynomialConfig
from tests.analysis.conftest import (
    polynomial_rows,
    polynomial_run,
    write_polynomial_sweep,
    write_run,
    write_stories_sweep,
)


def write_rate(root, horizon, seed, rate):
    config = polynomial_run(horizon, seed)
    config = replace(config, training=replace(config.training, learning_rate=rate))
    write_run(root, config, polynomial_rows(config, lambda m, step: 0.5))


def test_rates_that_differ_between_the_seeds_of_a_cell_part_it(tmp_path):
    for seed, rate in ((0, 1e-3), (1, 3e-3)):
        write_rate(tmp_path, 1, seed, rate)
    frame = collect(tmp_path).frame
    found = settings_of(frame, "scale", "arm")
    assert {one.label for one in found} == {
        "learning rate 0.001",
        "learning rate 0.003",
    }


def test_a_sweep_of_rates_leaves_tuned_cells_of_other_settings_together(tmp_path):
    for rate in (1e-3, 3e-3):
        write_rate(tmp_path, 1, 0, rate)
    for horizon, rate in ((1, 1e-3), (2, 3e-3)):
        config = polynomial_run(horizon, pause=5)
        training = replace(config.training, learning_rate=rate)
        config = replace(config, training=training)
        write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.5))
    marked = with_setting(collect(tmp_path).frame, "scale", "arm")
    runs = marked.unique("run_id")
    by_pause = dict(
        runs.group_by("pause_tokens").agg(pl.col("setting").n_unique()).rows()
    )
    assert by_pause == {0: 2, 5: 1}
    assert {one.label for one in settings_of(marked, "scale", "arm")} == {
        "0 pause tokens, learning rate 0.001",
        "0 pause tokens, learning rate 0.003",
        "5 pause tokens, learning rate by cell",
    }


def test_a_field_that_older_runs_did_not_write_is_no_difference(tmp_path):
    for seed in (0, 1):
        config = polynomial_run(seed=seed)
        folder = write_run(tmp_path, config, polynomial_rows(config, lambda m, s: 0.5))
    stored = json.loads((folder / "config.json").read_text())
    del stored["config"]["model"]["mixer"]
    (folder / "config.json").write_text(json.dumps(stored))
    frame = collect(tmp_path).frame
    assert with_setting(frame, "scale", "arm")["setting"].n_unique() == 1


def test_settings_that_bookkeeping_alone_tells_apart_have_names(tmp_path):
    """Else `figures` would write the pictures of both into the same files."""
    for context, examples in ((64, 64), (64, 128), (32, 64)):
        config = polynomial_run()
        training = replace(
            config.training, context=context, evaluation_examples=examples
        )
        config = replace(config, training=training)
        write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.5))
    settings = settings_of(collect(tmp_path).frame, "scale", "arm")
    assert len({one.label for one in settings}) == 3
    assert len({one.brief for one in settings}) == 3


def test_an_overview_names_what_differs_between_sizes(tmp_path):
    for scale, steps in (("10k", 50), ("30k", 100)):
        config = polynomial_run(scale=scale)
        config = replace(config, training=replace(config.training, steps=steps))
        rows = polynomial_rows(config, lambda m, step: 0.5, steps=(0, steps))
        write_run(tmp_path, config, rows)
    (picture,), _ = overviews(collect(tmp_path).frame)
    assert "differs between the cells: training.steps (50, 100)" in picture.caption


def test_two_settings_are_refused_by_name(tmp_path):
    write_polynomial_sweep(tmp_path, seeds=2, pauses=(0, 5))
    frame = collect(tmp_path).frame
    with pytest.raises(ValueError, match=r"\d pause tokens\) and .*\d pause tokens"):
        check_one_setting(frame, "scale", "arm")
    check_one_setting(frame, "scale", "arm", "pause_tokens")


def test_facts_state_task_tokens_rate_and_seeds(tmp_path):
    write_polynomial_sweep(tmp_path, seeds=3)
    told = describe_training(collect(tmp_path).frame)
    assert told == (
        "F_2[X]/(X^3), m to 2 in training; 12.8k tokens; learning rate 0.0001; "
        "3 seeds a cell"
    )


SPLIT = {
    "figure-7-induction": {"task": "stories", "fixed_stories": 7},
    "figure-S14-books": {"task": "stories", "fixed_stories": 7},
    "figure-S15-pause-tokens": {"task": "polynomial", "tree": "chain"},
    "figure-S16-sizes": {"task": "polynomial", "tree": "chain"},
    "choice-points": {"task": "choice-points", "branches": 7},
    "choice-weights": {"task": "choice-points", "branches": 7},
    "information": {"task": "sources", "slip": 0.3},
    "layer-law": {"task": "choice-points", "branches": 7},
}


@pytest.mark.parametrize("name", SPLIT)
def test_every_figure_keeps_settings_apart(results, name):
    """The same runs again in another setting with other scores: two pictures."""
    how = dict(SPLIT[name])
    task = how.pop("task")
    ((field, value),) = how.items()
    frame = read_all(results).filter(pl.col("task") == task)
    entry = FIGURES[name]
    before, _ = entry.pictures(frame)

    def moved(config):
        stored = json.loads(config)
        stored["task"][field] = value
        return json.dumps(stored, sort_keys=True)

    other = frame.with_columns(
        run_id=pl.col("run_id") + "-other",
        config=pl.col("config").map_elements(moved, return_dtype=pl.String),
        value=pl.col("value") / 2,
    )
    after, _ = entry.pictures(pl.concat([frame, other]))
    assert len(after) == 2 * len(before)
    assert len({one.name for one in after}) == len(after)
    assert all(one.label for one in after)
    tables = [one.table.to_dict(as_series=False) for one in after]
    for one in before:
        assert one.table.to_dict(as_series=False) in tables, "unmoved by the other"


def test_one_seed_is_drawn_with_what_its_stories_leave_open(tmp_path):
    write_stories_sweep(tmp_path / "one", sizes=("1M",), seeds=1)
    ((one,), _) = FIGURES["figure-7-induction"].pictures(
        collect(tmp_path / "one").frame
    )
    assert one.table["low"].null_count() == 2
    assert (one.table["items_low"] < one.table["mean"]).all()
    assert (one.table["items_high"] > one.table["mean"]).all()
    legend = [text.get_text() for text in one.figure.legends[0].get_texts()]
    assert "one seed: 95 % over stories" in legend
    write_stories_sweep(tmp_path / "few", sizes=("1M",), seeds=2)
    ((few,), _) = FIGURES["figure-7-induction"].pictures(
        collect(tmp_path / "few").frame
    )
    assert few.table["items_low"].null_count() == 0, "in the table also for many seeds"
    legend = [text.get_text() for text in few.figure.legends[0].get_texts()]
    assert "one seed: 95 % over stories" not in legend


def test_tests_name_the_size_of_recurrent_models_with_their_mixer():
    configs = [
        RunConfig(task=PolynomialConfig(), model=ModelConfig(scale="10k", mixer=mixer))
        for mixer in ("attention", "rwkv")
    ]
    frame = pl.DataFrame(
        {
            "config": [canonical_json(config.to_dict()) for config in configs],
            "run_id": ["a", "b"],
            "task": "polynomial",
            "scale": "10k",
            "arm": "n1",
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
        }
    )
    found = add_settings(frame)
    assert found["scale"].to_list() == ["10k", "10k rwkv"]
    assert found["setting"].n_unique() == 2


def test_graphs_are_seeds_and_arms_are_paired_graph_by_graph(tmp_path):
    for seed, arm in itertools.product(range(3), (1, 2)):
        config = replace(
            polynomial_run(arm, seed), task=GraphPathsConfig(graph_seed=seed)
        )
        value = 0.5 + 0.1 * seed + (arm - 1) * 0.05
        write_run(
            tmp_path,
            config,
            [Measurement(config.run_id, 1, 1, "test", "valid_path", "", value, 9)],
        )
    frame = collect(tmp_path).frame
    assert with_setting(frame, "arm")["setting"].n_unique() == 1
    assert with_setting(frame)["setting"].n_unique() == 2
    pairs = pair_by_seed(frame, [], "arm", "n1", "n2")
    assert pairs["difference"].to_list() == pytest.approx([0.05] * 3)
