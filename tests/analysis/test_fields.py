"""Fields of configurations: found by name, added as columns, never averaged over."""

import polars as pl
import pytest

from analysis.configurations import format_value
from analysis.fields import Fields, sort_distinct
from analysis.parquet import read


@pytest.fixture(scope="module")
def polynomials(results):
    """Two sizes, two arms, two numbers of pause tokens, five seeds."""
    return read(results / "p.parquet")


@pytest.fixture(scope="module")
def fields(polynomials):
    return Fields(polynomials)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("task.pause_tokens", "task.pause_tokens"),
        ("pause_tokens", "task.pause_tokens"),
        ("pause-tokens", "task.pause_tokens"),
        ("learning_rate", "training.learning_rate"),
        ("arm", "arm"),
        ("parameters", "parameters"),
        ("tokens", "tokens"),
        ("suite", "suite"),
        ("horizon", "objective.horizon"),
        ("operations", "operations"),
    ],
)
def test_a_field_has_a_path_and_a_short_name(fields, name, path):
    assert fields.resolve(name, columns=["operations"]) == path


def test_the_end_of_several_paths_means_the_one_that_varies(fields):
    with pytest.raises(
        ValueError, match=r"kind is several fields: objective\.kind, task"
    ):
        fields.resolve("kind")
    assert fields.resolve("scale") == "scale"


def test_unknown_names_get_the_near_ones_and_those_that_vary(fields):
    with pytest.raises(ValueError, match=r"Nearest: training\.learning_rate\.$"):
        fields.resolve("lerning_rate")
    with pytest.raises(ValueError, match=r"Nearest: objective\.kind, task\.kind\.$"):
        fields.resolve("knd")
    told = (
        r"'zzz'\. Fields that vary here: model\.scale, objective\.horizon, task\.pause"
    )
    with pytest.raises(ValueError, match=told):
        fields.resolve("zzz")


def test_seeds_are_no_axis(fields):
    with pytest.raises(ValueError, match="differs between the runs of one cell"):
        fields.resolve("data_seed")


def test_columns_keep_numbers_and_write_the_rest(polynomials, fields):
    frame = fields.add_column(polynomials, "task.pause_tokens")
    assert frame["task.pause_tokens"].to_list() == frame["pause_tokens"].to_list()
    assert (
        fields.add_column(frame, "task.operators")["task.operators"][0]
        == "neg add mul compose"
    )
    assert fields.add_column(frame, "data_seed")["data_seed"].dtype == pl.Int64()


def test_conditions_choose_runs(polynomials, fields):
    one = fields.select_runs(polynomials, ["pause_tokens=5", "scale=10k,30k", "arm=n2"])
    assert one.unique("run_id").height == 10
    assert one["pause_tokens"].unique().to_list() == [5]
    for written in ("neg add mul compose", "[neg, add,mul, compose]"):
        same = fields.select_runs(polynomials, [f"task.operators={written}"])
        assert same["run_id"].equals(polynomials["run_id"])
    rate = fields.select_runs(polynomials, ["learning_rate=1e-4"])
    assert rate["run_id"].equals(polynomials["run_id"])
    with pytest.raises(
        ValueError, match=r"No finished run has pause_tokens=3\. .*: 0, 5"
    ):
        fields.select_runs(polynomials, ["pause_tokens=3"])
    with pytest.raises(ValueError, match="--where takes FIELD=VALUE"):
        fields.select_runs(polynomials, ["pause_tokens"])


def test_what_no_axis_shows_is_named(polynomials, fields):
    assert fields.varying_within(polynomials, ["scale", "arm"]) == ["task.pause_tokens"]
    assert fields.varying_within(polynomials, ["arm", "pause_tokens"]) == [
        "model.scale"
    ]
    assert fields.varying_within(polynomials, ["scale", "arm", "pause_tokens"]) == []
    assert fields.varying_within(polynomials, []) == fields.varying()
    assert fields.varying_besides(polynomials, ["scale", "arm"]) == [
        "task.pause_tokens"
    ]


def test_values_are_in_order():
    assert sort_distinct([10, "b", None, 9, 2.5, "a", 9]) == [
        2.5,
        9,
        10,
        "a",
        "b",
        None,
    ]
    assert format_value([]) == "empty"
