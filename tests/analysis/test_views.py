"""Views of any table: the measure that is meant, and nothing averaged in silence."""

import itertools
from dataclasses import replace

import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.contrasts import compute_contrasts
from analysis.measures import choose_measure, first_metric, slice_keys
from analysis.parquet import read, read_all
from analysis.plots.by_field import (
    describe_view,
    field_figure,
    file_name,
    table_at_end,
    with_titles,
)
from analysis.plots.forest import contrasts_name, forest_figure
from analysis.plots.heat import heat_figure
from analysis.plots.overview import overviews
from analysis.views import Query, select, view
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.metrics import Measurement
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.repeats import RepeatsConfig
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run
from tests.analysis.test_contrasts import write_trees


@pytest.fixture(scope="module")
def polynomials(results):
    return read(results / "p.parquet")


def test_the_headline_is_what_a_task_declares_first(results, polynomials):
    assert first_metric(polynomials) == "exact_match"
    assert first_metric(read(results / "s.parquet")) == "second_token_accuracy"
    with pytest.raises(ValueError, match=r"--metric exact_match\|guess_floor\."):
        first_metric(polynomials.with_columns(task=pl.lit("mine")))
    references = polynomials.filter(metric="guess_floor")
    with pytest.raises(ValueError, match=r"declares no direction .* --metric guess_f"):
        first_metric(references)


def test_measures_have_bounds_and_say_what_else_there_is(polynomials):
    measure = choose_measure(polynomials)
    assert (measure.title, measure.other_suites) == ("in_domain/exact_match", ())
    assert measure.rows(polynomials)["floor"].unique().to_list() == pytest.approx(
        [0.02]
    )
    by = choose_measure(polynomials, keys=["operations"])
    assert by.rows(polynomials)["operations"].unique().sort().to_list() == [1, 2]
    assert by.other_suites == ("out_of_domain",)
    everywhere = choose_measure(polynomials, keys=["operations"], over_suites=True)
    assert everywhere.rows(polynomials)["operations"].max() == 4
    loss = choose_measure(polynomials, "loss")
    assert (loss.title, loss.label) == ("train/loss/horizon=1", "loss (nats)")
    assert loss.higher_is_better is False


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"metric": "exact_mach"}, "Did you mean 'exact_match'"),
        ({"suite": "test"}, "exact_match was not measured on 'test'"),
        (
            {"slice_": "depth=2"},
            r"Slices of exact_match: all of it .*; operations=1\|2",
        ),
    ],
)
def test_wrong_measures_list_the_right_ones(polynomials, wanted, told):
    with pytest.raises(ValueError, match=told):
        choose_measure(polynomials, **wanted)


def test_fields_on_no_axis_are_refused_with_a_way_out(polynomials):
    with pytest.raises(ValueError, match=r"task\.pause_tokens \(0, 5\).*--panel task"):
        view(polynomials, Query())
    found = view(polynomials, Query(where=["pause_tokens=0"]))
    assert found.x == "parameters"
    assert found.rows["pause_tokens"].unique().to_list() == [0]


def test_a_map_over_several_arms_says_to_give_them_panels(polynomials):
    where, axes = ["pause_tokens=0"], {"x": "operations", "hue": "step", "heat": True}
    with pytest.raises(
        ValueError,
        match=r"Give --panel arm, and choose with --where model\.scale=10k\.$",
    ):
        view(polynomials, Query(where=where), **axes)
    where += ["scale=10k"]
    with pytest.raises(
        ValueError, match=r"Give --panel arm, or choose with --where arm=n1\.$"
    ):
        view(polynomials, Query(where=where), **axes)
    found = view(polynomials, Query(where=where), panel="arm", **axes)
    assert found.rows["arm"].n_unique() > 1


def test_a_slice_of_another_metric_is_answered_with_that_metric(polynomials):
    found = select(polynomials, Query(metric="gradient_norm"))
    with pytest.raises(
        ValueError, match=r"has no slices by operations\. Add --metric ex"
    ):
        found.column("operations")
    with pytest.raises(ValueError, match="No field is called 'zzz'"):
        found.column("zzz")


def test_names_of_slices_that_are_columns_as_well(results):
    stories = read(results / "s.parquet")
    assert slice_keys(stories, "second_token_accuracy") == ["names", "slice.tokens"]
    metric = "second_token_accuracy"
    query = Query(where=["books_parts=0"], metric=f"test/{metric}")
    found = view(stories, query, "slice.tokens", panel="scale")
    assert found.rows["slice.tokens"].unique().sort().to_list() == ["seen", "unseen"]
    query = Query(where=["books_parts=0"], metric=f"test_seen/{metric}")
    assert view(stories, query, "tokens", panel="scale").is_curves


def test_several_tasks_are_refused(results):
    with pytest.raises(ValueError, match="--where task=choice-points"):
        view(read_all(results), Query())


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ({"panel": "pause_tokens"}, (2, 8)),
        ({"x": "tokens", "hue": "pause_tokens", "panel": "scale"}, (2, 12)),
        ({"x": "flops", "hue": "pause_tokens", "panel": "scale"}, (2, 12)),
        ({"x": "operations", "panel": "scale", "hue": "pause_tokens"}, (2, 8)),
        ({"x": "arm", "hue": "scale", "panel": "pause_tokens"}, (2, 8)),
        ({"x": "operations", "panel": "suite", "hue": "scale"}, (2, 8)),
    ],
)
def test_every_axis_takes_every_field(polynomials, axes, shape):
    where = [] if "arm" in axes.values() or "hue" not in axes else ["arm=n1"]
    where += [] if "pause_tokens" in axes.values() else ["pause_tokens=0"]
    found = view(polynomials, Query(where=where), **axes)
    figure, table = field_figure(found)
    assert (len(figure.axes), table.height) == shape
    assert table["seeds"].unique().to_list() == [5]


@pytest.mark.parametrize("x", ["arm", "tokens"])
def test_a_figure_and_its_table_split_the_same_cells(tmp_path, x):
    """Shares range to 1, though their figures draw no line there."""
    for horizon, ends in ((1, [0.38] * 5), (2, [0.09, 0.31, 0.32, 0.35, 0.36])):
        for seed, end in enumerate(ends):
            config = polynomial_run(horizon, seed)
            rows = polynomial_rows(config, lambda m, step, v=end: v * step / 100)
            write_run(tmp_path, config, rows)
    found = view(collect(tmp_path).frame, Query(), x)
    figure, table = field_figure(found)
    assert table["groups"].null_count() == table.height
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names.isdisjoint({"seeds in two groups: no mean", "median"})


def test_curves_show_all_evaluations_and_their_table_the_last(polynomials):
    found = view(polynomials, Query(where=["pause_tokens=0"]), "step", panel="scale")
    _, table = field_figure(found)
    assert table["step"].unique().sort().to_list() == [0, 50, 100]
    ends = table_at_end(found)
    assert ends["step"].unique().to_list() == [100]
    assert ends.select("scale", "arm").rows() == [
        ("10k", "n2"), ("10k", "n1"), ("30k", "n2"), ("30k", "n1"),
    ]  # the better arm first  # fmt: skip


def test_a_map_has_the_medians_of_its_cells(polynomials):
    query = Query(where=["pause_tokens=0", "arm=n1"])
    found = view(polynomials, query, "operations", "step", "scale", heat=True)
    figure, table = heat_figure(found)
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [image.shape for image in images] == [(3, 2), (3, 2)]
    of_cell = found.rows.filter(scale="30k", step=50, operations=2)["value"]
    assert of_cell.len() == 5
    assert images[1][1, 1] == pytest.approx(of_cell.median())
    assert table.height == 12


def test_a_forest_has_a_line_a_contrast(polynomials):
    found = compute_contrasts(polynomials, Query())
    figure, table = forest_figure(found)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == table.height == 4
    assert " pause tokens" in labels[0]
    drawn = [line.get_xdata() for line in figure.axes[0].lines]
    for row in table.iter_rows(named=True):
        assert [row["low"], row["high"]] in [list(one) for one in drawn]
    assert contrasts_name(found, "mine") == "mine-exact-match-contrasts-of-arm"


def test_names_of_files_are_words(polynomials):
    found = view(polynomials, Query(where=["pause_tokens=0", "scale=10k"]), "tokens")
    assert file_name(found, ("task.pause_tokens=0", "scale=10k")) == (
        "polynomial-exact-match_by-tokens_pause-tokens-0_scale-10k_ctx64"
    )
    assert file_name(found, ("training.learning_rate=0.003",)) == (
        "polynomial-exact-match_by-tokens_learning-rate-0.003_10k_ctx64"
    )


def test_the_commands_answer_from_a_folder_of_runs(tmp_path, capsys):
    """Does the shape of expressions matter? The question of the page, on other numbers."""
    write_trees(tmp_path / "runs" / "trees")
    sweep, figures = str(tmp_path / "runs" / "trees"), tmp_path / "figures"
    words = [
        "plot",
        sweep,
        "--hue",
        "tree",
        "--panel",
        "arm",
        "--figures",
        str(figures),
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "also measured on out_of_domain" not in printed, "all of it has one suite"
    (drawn,) = figures.glob("*.png")
    assert drawn.stem.startswith("polynomial-exact-match_per-tree_panels-arm")
    assert pl.read_csv(drawn.with_suffix(".csv")).height == 4
    assert (
        main(["compare", sweep, "--vary", "tree", "--baseline", "split", "--csv"]) == 0
    )
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert table["task.tree"].to_list() == ["chain", "chain"]
    assert main(["compare", sweep, "--vary", "tree", "--latex"]) == 0
    assert r"task.tree & pairs" in capsys.readouterr().out
    assert main(["compare", sweep, "--csv", "--json"]) == 2
    assert "--json and --csv exclude each other" in capsys.readouterr().err
    assert main(["plot", "tres", "--results", str(tmp_path)]) == 2
    assert "'tres' is neither a table" in capsys.readouterr().err


def test_a_metric_has_one_form_in_every_command(results, capsys):
    """`[SUITE/]METRIC[/SLICE]`; a metric alone must have one test set, or `test`."""
    table = str(results / "p.parquet")
    where = ["--where", "pause_tokens=0", "--csv"]
    told = {}
    for metric in (
        "in_domain/exact_match/operations=2",
        "exact_match/operations=2",
        "exact_match",
        "in_domain/exact_match",
        "train/loss/horizon=1",
        "loss",
    ):
        assert main(["compare", table, *where, "--metric", metric]) == 0
        told[metric] = capsys.readouterr().out
    assert told["exact_match/operations=2"] != told["exact_match"]
    assert (
        told["exact_match/operations=2"] == told["in_domain/exact_match/operations=2"]
    )
    assert told["exact_match"] == told["in_domain/exact_match"]
    assert told["loss"] == told["train/loss/horizon=1"]
    frame = read(results / "p.parquet")
    outside = frame.filter(suite="in_domain", slice="").with_columns(
        suite=pl.lit("out_of_domain")
    )
    both = pl.concat([frame, outside])
    with pytest.raises(
        ValueError,
        match="--metric in_domain/exact_match or --metric out_of_domain/exact_match",
    ):
        compute_contrasts(both, Query(metric="exact_match"))
    notes = compute_contrasts(both, Query()).notes
    assert "also measured on out_of_domain" in notes[0], "the default is not ambiguous"


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["plot", "x", "--suite", "test"], "write --metric SUITE/METRIC."),
        (["events", "x", "--slice=role=choice"], "--metric SUITE/METRIC/SLICE."),
        (["matched", "--cost", "flops"], "compare SWEEP --metric SUITE/METRIC --at"),
    ],
)
def test_replaced_options_name_the_new_ones(words, new, capsys):
    assert main(words) == 2
    assert new in capsys.readouterr().err


def test_a_task_that_is_not_known_is_named_with_what_follows(polynomials):
    query = Query(metric="in_domain/exact_match")
    assert not [note for note in select(polynomials, query).notes if "known" in note]
    unknown = select(polynomials.with_columns(task=pl.lit("mine")), query)
    (note,) = [note for note in unknown.notes if "The task mine is not known" in note]
    assert "--plugin FILE" in note
    assert not unknown.measure(query, []).is_share


def test_numbers_of_evaluation_examples_do_not_part_runs(tmp_path):
    """Training does not depend on them; one training with two numbers counts once."""
    for seed in range(3):
        for pause, examples in itertools.product((0, 5), (500, 2000)):
            if (seed, examples) == (2, 500):
                continue
            config = polynomial_run(seed=seed + 10 * (examples == 500), pause=pause)
            numbers = {"evaluation_examples": examples // 4, "final_examples": examples}
            config = replace(config, training=replace(config.training, **numbers))
            rows = polynomial_rows(config, lambda m, step: step / 200)
            write_run(tmp_path, config, rows)
    again = replace(config, training=replace(config.training, final_examples=100))
    write_run(tmp_path, again, polynomial_rows(again, lambda m, step: step / 150))
    frame = collect(tmp_path).frame
    found = view(frame, Query(), "arm", panel="pause_tokens")
    assert "repeat a training with fewer evaluation examples: 1." in found.notes[0]
    assert found.rows["value"].unique().to_list() == [0.5]
    _, table = field_figure(found)
    assert table["seeds"].to_list() == [5, 5]
    assert "125 to 500 examples an evaluation" in describe_view(found)
    pictures, reasons = overviews(frame)
    assert (len(pictures), reasons) == (1, [])
    assert "500 to 2000 examples in the last evaluation" in pictures[0].training


def test_a_declared_floor_is_drawn_unless_it_is_the_axis(polynomials):
    """A share's floor of 0 and ceiling of 1 lie on the frame; 0.2 is a line."""
    picture = view(polynomials, Query(metric="exact_match", where=["pause_tokens=0"]))
    for floor, drawn in ((0.0, False), (0.2, True)):
        definition = replace(picture.measure.definition, floor=floor)
        declared = replace(
            picture,
            measure=replace(picture.measure, definition=definition),
            rows=picture.rows.with_columns(floor=pl.lit(floor)),
        )
        rows = with_titles(declared)
        assert rows["floor"].drop_nulls().unique().to_list() == [floor] * drawn
        assert rows["ceiling"].drop_nulls().is_empty()


def write_repeats(root, learned_at, evaluations=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0)):
    """Runs whose accuracy is 0.9 from the step that `learned_at` has for arm and seed."""
    training = TrainingConfig(steps=50, batch_rows=2, context=64, warmup_steps=1)
    for (horizon, seed), at in learned_at.items():
        config = RunConfig(
            task=RepeatsConfig(),
            model=ModelConfig(scale="10k"),
            objective=MultiTokenConfig(horizon=horizon),
            training=training,
            seed=seed,
        )
        steps = [round(50 * share) for share in evaluations]
        rows = [
            Measurement(config.run_id, step, 128 * step, "test", metric, "", value, 100)
            for step in steps
            for metric, value in (
                ("accuracy", 0.9 if step >= at else 0.1),
                ("floor", 0.1),
            )
        ]
        write_run(root, config, rows)
    return collect(root, "repeats").frame


def test_a_run_has_one_number_for_its_whole_training(tmp_path):
    """Tokens until it is learned, and the mean over evaluations, paired by seed."""
    steps = {(1, 0): 20, (1, 1): 30, (1, 2): 30, (2, 0): 10, (2, 1): 20, (2, 2): 30}
    frame = write_repeats(tmp_path, steps)
    learned = compute_contrasts(frame, Query(metric="learned:"))
    (row,) = learned.table.iter_rows(named=True)
    means = [sum((20, 30, 30)) * 128 / 3, sum((10, 20, 30)) * 128 / 3]
    assert [row["baseline"], row["value"]] == pytest.approx(means)
    assert row["difference"] == pytest.approx(-20 * 128 / 3)
    assert learned.title == "learned:test/accuracy, minus arm n1"
    assert learned.measure.label == "tokens until accuracy is at least 0.5"
    mean = compute_contrasts(frame, Query(metric="mean:accuracy"))
    (row,) = mean.table.iter_rows(named=True)
    assert row["baseline"] == pytest.approx(0.1 + 0.8 * (4 + 3 + 3) / 18)
    assert row["value"] == pytest.approx(0.1 + 0.8 * (5 + 4 + 3) / 18)
    assert mean.measure.label == "accuracy, mean over training (share)"
    drawn = view(frame, Query(metric="mean:accuracy"))
    assert drawn.x == "arm", "there is no curve to draw"
    assert drawn.rows["floor"].to_list() == pytest.approx([0.1] * 6)
    assert file_name(drawn).startswith("repeats-mean-accuracy_")


def test_a_mean_of_those_that_learned_flatters_a_cell(tmp_path):
    """One run of n = 2 never learns: its arm has no mean, and this is said."""
    steps = {(1, 0): 20, (1, 1): 30, (2, 0): 10, (2, 1): 99}
    frame = write_repeats(tmp_path, steps)
    with pytest.raises(ValueError, match=r"never learned it: n2 at 10k \(1 of 2\)"):
        compute_contrasts(frame, Query(metric="learned:accuracy"))
    shown = view(frame, Query(metric="learned:"))
    assert shown.rows["arm"].unique().to_list() == ["n1"]
    assert shown.rows["value"].sort().to_list() == [20 * 128, 30 * 128]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["plot", "--metric", "learned:", "--x", "tokens"], "tokens cannot be an axis"),
        (["compare", "--metric", "mean:", "--at", "flops"], "flops cannot be an axis"),
        (["events", "--metric", "mean:accuracy"], "events reads learning curves"),
        (["compare", "--metric", "learned:floor"], "which level floor counts"),
        (["compare", "--metric", "learned:acuracy"], "Did you mean 'accuracy'"),
    ],
)
def test_readings_that_mean_nothing_are_refused(tmp_path, words, told, capsys):
    steps = {(1, 0): 20, (1, 1): 30, (2, 0): 10, (2, 1): 20}
    write_repeats(tmp_path / "runs" / "repeats", steps)
    command, *options = words
    assert main([command, str(tmp_path / "runs" / "repeats"), *options]) == 2
    assert told in capsys.readouterr().err
