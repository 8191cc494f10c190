"""Several tasks in one comparison: families of tests, tasks left out, the matrix."""

import json
from dataclasses import replace
from functools import partial

import polars as pl
import pytest
from matplotlib.colors import to_hex

from analysis.__main__ import main
from analysis.arm_names import arm_name
from analysis.contrasts import compute_contrasts
from analysis.load_sweep import load_sweep
from analysis.parquet import results_folder
from analysis.plots.standings import COLORS, UNDECIDED, _brief, standings_figure
from analysis.settings import with_places
from analysis.standings import compute_standings, tasks_of
from analysis.views import Query

TASKS = ["choice-points", "polynomial", "repeats"]


@pytest.fixture(scope="module")
def cross():
    return load_sweep("cross-quick", results_folder())


def standings(frame, query, **options):
    compare = partial(compute_contrasts, frame, **options)
    return compute_standings(tasks_of(frame, query), query, compare)


def test_each_task_is_a_family_of_tests_of_its_own(cross):
    found = standings(cross, Query())
    assert list(found.by_task) == TASKS
    for task in TASKS:
        alone = compute_contrasts(cross, Query(where=(f"task={task}",))).table
        assert alone.height == 4
        together = found.table.filter(task=task).drop("task", "metric")
        assert together.equals(alone)


def test_a_reading_alone_means_the_first_metric_of_each_task(cross):
    found = standings(cross, Query(metric="mean:"))
    assert found.table["metric"].unique(maintain_order=True).to_list() == [
        "mean:test/excess_loss/horizon=1,role=choice",
        "mean:in_domain/exact_match",
        "mean:test/accuracy",
    ]
    (row,) = found.table.filter(task="repeats", arm="n4_added").to_dicts()
    of_runs = cross.filter(
        pl.col("slice").is_in(["", "horizon=1"]),
        task="repeats",
        suite="test",
        metric="accuracy",
    )
    means = of_runs.group_by("arm", "seed").agg(pl.col("value").mean())
    mean = {arm: means.filter(arm=arm)["value"].mean() for arm in ("n1", "n4_added")}
    assert row["difference"] == pytest.approx(mean["n4_added"] - mean["n1"])
    assert row["result"] == "worse"


def test_a_task_that_cannot_be_compared_is_named(cross):
    found = standings(cross, Query(metric="in_domain/exact_match"))
    assert list(found.by_task) == ["polynomial"]
    assert found.title == "1 task at the end, minus arm n1"
    left_out = [note for note in found.notes if " is left out: " in note]
    assert [note.partition(" ")[0] for note in left_out] == ["choice-points", "repeats"]
    with pytest.raises(
        ValueError, match=r"^No task can be compared\. choice-points is"
    ):
        standings(cross, Query(metric="no_such"))


def test_each_task_is_asked_about_with_the_conditions_of_the_query(cross):
    one = compute_contrasts(cross, Query(where=("task=repeats",)))
    asked = []

    def compare(query):
        asked.append(query.where)
        return replace(one, notes=["so it is"])

    found = compute_standings(["a", "b"], Query(where=("arm=n1,n2",)), compare)
    assert asked == [("arm=n1,n2", "task=a"), ("arm=n1,n2", "task=b")]
    assert found.notes == ["a: so it is", "b: so it is"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.1234, "+0.123"),
        (-0.5, "-0.500"),
        (1.0, "+1"),
        (-12.34, "-12.3"),
        (1000.0, "+1k"),
        (-12_340.0, "-12.3k"),
        (1_234_000.0, "+1.23M"),
        (999.9, "+1k"),
        (999_900.0, "+1M"),
    ],
)
def test_a_number_of_a_cell_has_three_digits(value, words):
    assert _brief(value, "+") == words
    assert _brief(value) == words.removeprefix("+")


def test_cells_have_the_colour_of_their_result(cross):
    assert COLORS["better"] == COLORS["higher"] == "#9fd0ec", "blue"
    assert COLORS["worse"] == COLORS["lower"] == "#f2b083", "orange"
    found = standings(cross, Query())
    figure, table = standings_figure(found)
    (axes,) = figure.axes
    assert table.height == len(axes.patches) == 12
    for row, patch in zip(table.iter_rows(named=True), axes.patches, strict=True):
        color = COLORS.get(row["result"], UNDECIDED)
        assert to_hex(patch.get_facecolor()) == color
        assert patch.get_x() + 0.5 == TASKS.index(row["task"])
        label = axes.get_yticklabels()[int(patch.get_y() + 0.5)].get_text()
        assert label == arm_name(row["arm"])
    results = table.filter(arm="n4_added")["result"].to_list()
    assert results == ["better", "not told apart", "worse"]
    heads = [tick.get_text().split("\n") for tick in axes.get_xticklabels()]
    assert [head[0] for head in heads] == TASKS
    better = ["better: lower", "better: higher", "better: higher"]
    assert [head[-1] for head in heads] == better
    texts = [text.get_text() for text in axes.texts]
    assert "-0.090\n[-0.100, -0.080]" in texts


def test_a_baseline_or_a_difference_that_is_a_median_says_so(cross):
    found = standings(cross, Query())
    one = found.by_task["repeats"]
    table = one.table.with_columns(test=pl.lit("sign"))
    found = replace(
        found, by_task={**found.by_task, "repeats": replace(one, table=table)}
    )
    (axes,) = standings_figure(found)[0].axes
    for text in axes.texts:
        (task, row), words = text.get_position(), text.get_text()
        assert words.startswith("median ") == (task == TASKS.index("repeats")), row
    bottom, top = axes.get_ylim()
    assert bottom > top, "the baseline is the first row"


def test_columns_are_what_differs_besides_the_rows_of_the_matrix():
    table = pl.DataFrame(
        {"task": ["a", "a", "b"], "scale": ["1M", "3M", "1M"], "arm": ["n1"] * 3}
    )
    assert with_places(table, "scale", "arm")["place"].to_list() == [
        "a 1M",
        "a 3M",
        "b",
    ]
    frame = load_sweep("repeats-depth-tuned", results_folder())
    found = standings(frame, Query(metric="mean:"), vary="scale")
    (axes,) = standings_figure(found)[0].axes
    heads = [tick.get_text().split("\n")[0] for tick in axes.get_xticklabels()]
    assert heads == ["repeats n1", "repeats n2", "repeats n2_added"]


def test_the_command_compares_each_task_and_draws_the_matrix(tmp_path, capsys):
    words = ["compare", "cross-quick", "--metric", "mean:", "--json"]
    assert main([*words, "--plot", "--figures", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["task"] for row in rows] == [task for task in TASKS for _ in range(4)]
    name = "cross-quick-mean-tasks-contrasts-of-arm"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.csv",
        f"{name}.pdf",
        f"{name}.png",
    ]


def test_each_task_names_its_own_baseline_where_they_differ():
    """The lowest rate of a task is its baseline."""
    frame = load_sweep("cross-night-tuning", results_folder())
    query = Query(where=["arm=n1", "task=blocksworld,repeats"])
    found = standings(frame, query, vary="learning_rate")
    bases = {task: one.base for task, one in found.by_task.items()}
    assert len(set(bases.values())) == 2
    assert found.title == (
        "2 tasks at the end, minus the baseline training.learning_rate of each task"
    )
    minus = {task: base.rpartition(" ")[2] for task, base in bases.items()}
    assert dict(found.table.select("task", "minus").rows()) == minus
    (axes,) = standings_figure(found)[0].axes
    assert axes.get_yticklabels()[0].get_text() == "baseline"
    first_row = [text.get_text() for text in axes.texts if text.get_position()[1] == 0]
    assert [text.split("\n")[1] for text in first_row] == [
        f"({value})" for value in minus.values()
    ]
