"""The board: published numbers as they stand in their files, and the rule of verdicts."""

import json
import math
import re
from datetime import date
from pathlib import Path

import polars as pl
import pytest

import analysis
from analysis.__main__ import main
from analysis.beside.command import count_verdicts, verdict_frame
from analysis.beside.published import from_dict, published_tables
from analysis.beside.replication import ReplicationRow, replication_rows
from analysis.beside.verdict import MEANINGS, judge
from analysis.collect import collect
from analysis.plots.board import LOOKS, board_picture
from analysis.plots.overview import all_pictures
from analysis.statistics import share_difference
from sweeps.catalogue import CATALOGUE
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.metrics import Measurement
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.token_order import TokenOrderConfig
from synth.objectives.transfer import TransferConfig
from synth.tasks.graph_paths import GraphPathsConfig
from synth.tasks.star import StarConfig
from tests.analysis.conftest import write_run

TABLES = {table.id: table for table in published_tables()}
INJECTED = TransferConfig(horizon=2, depth=1, injection=True)


def collected(folder, values, rate=1e-4):
    """Runs of graph paths whose final share of valid degree-2 paths is given, by arm."""
    settings = {"steps": 10, "warmup_steps": 1, "context": 15, "learning_rate": rate}
    for objective, shares in values:
        for seed, share in enumerate(shares):
            config = RunConfig(
                task=GraphPathsConfig(graph_seed=seed),
                model=ModelConfig(scale="d120-L1-h1", positions="learned"),
                objective=objective,
                training=TrainingConfig(**settings),
                seed=seed,
            )
            where = (config.run_id, 10, 10 * config.training.tokens_per_step)
            what = ("test", "valid_path", "degree=2", share, 500)
            write_run(folder, config, [Measurement(*where, *what)])
    return collect(folder, "made-up-tuned").frame


def entry_of(frame, row, column="degree 2", table="graph-paths"):
    (found,) = [
        entry
        for entry in replication_rows(frame)
        if (entry.table, entry.row, entry.column) == (table, row, column)
    ]
    return found


def solved_stars(folder, paths):
    """Runs of G(5, 5) whose final path accuracies are given, by arm."""
    for objective, shares in paths:
        for seed, share in enumerate(shares):
            config = RunConfig(
                task=StarConfig(degree=5, length=5, labels=30, pool=300_000),
                model=ModelConfig(scale="d384-L8-h6"),
                objective=objective,
                training=TrainingConfig(steps=10, warmup_steps=1, context=64),
                seed=seed,
            )
            where = (config.run_id, 10, 10 * config.training.tokens_per_step)
            what = ("test", "path", "", share, 500)
            write_run(folder, config, [Measurement(*where, *what)])
    return collect(folder, "made-up-tuned").frame


def test_some_published_numbers_are_those_of_their_tables():
    paths = TABLES["graph-paths"]
    assert len(paths.rows) == 15
    assert paths.row("2-token, injection, 1-layer").values[2] == (71.32, 0.51)
    assert TABLES["star-graphs"].row("TOP").values == ((100,), (100,), (100,), (100,))
    assert TABLES["blocksworld"].row("1-token").values[0] == (45.62,)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.id)
def test_a_table_says_when_it_was_read(table):
    assert date(2026, 11, 1) < table.read <= date.today()


def test_injection_through_one_layer_is_not_that_through_a_map():
    """Table 2 has both, as table 1: 69.71 (a linear transfer) and 71.55 (one layer)."""
    found = {row.arms[0]: row.values[0] for row in TABLES["graph-width"].rows}
    assert found["transfer2_linear_injected"] == (69.71, 0.85)
    assert found["transfer2_injected"] == (71.55, 0.73)


def test_star_pools_look_as_far_ahead_as_the_source():
    """To the goal from the centre: d = l - 2 tokens beyond the next one."""
    table = TABLES["star-pools"]
    lengths = [int(one.where[1].removeprefix("task.length=")) for one in table.columns]
    for name, arms in (
        ("MTP", [f"n{length - 1}_added" for length in lengths]),
        ("JTP", [f"joint{length - 2}" for length in lengths]),
        ("NextLat", [f"latent{length - 2}" for length in lengths]),
    ):
        assert list(table.row(name).arms) == arms
    for run in CATALOGUE["star"]("pools"):
        furthest = max(head.offset for head in run.objective.heads())
        assert furthest in (1, run.task.length - 1)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.id)
def test_the_sweep_of_a_table_trains_its_arms(table):
    if not table.sweep:
        return
    sweep = CATALOGUE[table.sweep]
    assert table.id in sweep.answers
    arms = {run.objective.arm for scale in sweep.scales for run in sweep(scale)}
    assert {arm for row in table.rows for arm in row.arms if arm} <= arms


def test_a_difference_like_the_published_one_replicates(tmp_path):
    base = [0.60, 0.62, 0.58, 0.61, 0.59, 0.63]
    more = [share + 0.07 + 0.002 * (-1) ** n for n, share in enumerate(base)]
    frame = collected(tmp_path, [(MultiTokenConfig(), base), (INJECTED, more)])
    entry = entry_of(frame, "2-token, injection, 1-layer")
    assert entry.pairs == 6
    assert entry.difference == pytest.approx(0.07)
    assert entry.published_difference == pytest.approx(0.0752)
    assert entry.verdict == "replicates"
    baseline = entry_of(frame, "1-token")
    assert baseline.verdict is None
    assert baseline.value == pytest.approx(sum(base) / 6)
    assert entry_of(frame, "3-token, parallel").verdict == "not run"
    assert entry_of(frame, "2-token, injection, 1-layer", "degree 3").value is None


@pytest.mark.parametrize(
    ("ours", "pairs", "theirs", "verdict"),
    [
        ((0.05, 0.09), 6, (0.06, 0.09), "replicates"),
        ((0.01, 0.02), 6, (0.06, 0.09), "same sign, different size"),
        ((-0.09, -0.05), 6, (0.06, 0.09), "opposite sign"),
        ((-0.09, -0.05), 6, (-0.06, -0.06), "replicates"),
        ((-0.01, 0.09), 6, (0.06, 0.09), "undecided"),
        ((0.05, 0.09), 6, (-0.01, 0.09), "undecided"),
        ((0.05, 0.09), 4, (0.06, 0.09), "undecided"),
        ((0.05, 0.09), 1, (0.06, 0.09), "not run"),
        ((-math.inf, math.inf), 5, (0.06, 0.09), "undecided"),
    ],
)
def test_the_rule(ours, pairs, theirs, verdict):
    assert judge(ours, pairs, theirs) == verdict


@pytest.mark.parametrize(
    ("accuracies", "share", "verdict"),
    [
        ([1.0] * 10, 1.0, "replicates"),
        ([1.0] * 9 + [0.2], 0.9, "replicates"),  # one seed fails: same verdict
        ([1.0] * 2 + [0.2] * 8, 0.2, "undecided"),
        ([1.0] * 4, 1.0, "undecided"),
    ],
)
def test_solved_tables_compare_shares_of_solved_runs(
    tmp_path, accuracies, share, verdict
):
    next_token = (MultiTokenConfig(), [0.15] * len(accuracies))
    frame = solved_stars(tmp_path, [next_token, (TokenOrderConfig(), accuracies)])
    where = ("G(5,5)", "star-graphs")
    base = entry_of(frame, "NTP", *where)
    assert (base.printed, base.published, base.value) == (0.001, 0, 0)
    found = entry_of(frame, "TOP", *where)
    assert (found.printed, found.published, found.value) == (1, 1, share)
    assert (found.published_difference, found.difference) == (1, share)
    assert found.verdict == verdict


def test_a_solved_table_knows_the_opposite_sign(tmp_path):
    runs = [(MultiTokenConfig(), [1.0] * 6), (TokenOrderConfig(), [0.2] * 6)]
    frame = solved_stars(tmp_path, runs)
    assert entry_of(frame, "TOP", "G(5,5)", "star-graphs").verdict == "opposite sign"


def test_seeds_in_two_groups_decide_nothing(tmp_path):
    base = [0.20, 0.21, 0.19, 0.22, 0.20, 0.21]
    more = [0.95, 0.93, 0.94, 0.45, 0.44, 0.43]
    runs = [(MultiTokenConfig(), base), (INJECTED, more)]
    entry = entry_of(collected(tmp_path, runs), "2-token, injection, 1-layer")
    assert entry.low > 0
    assert (entry.verdict, entry.why) == ("undecided", "two groups")
    # A gap is wide as a share of 0 to 1, as in figures, however low all runs are.
    low = [(arm, [one / 5 for one in values]) for arm, values in runs]
    entry = entry_of(collected(tmp_path / "low", low), "2-token, injection, 1-layer")
    assert entry.why == ""


def test_undecided_says_why(tmp_path, capsys):
    base = [0.60, 0.62, 0.58, 0.61]
    runs = [(MultiTokenConfig(), base), (INJECTED, [one + 0.07 for one in base])]
    frame = collected(tmp_path, runs)
    arm = "2-token, injection, 1-layer"
    assert entry_of(frame, arm).why == "4 pairs of 5"
    untuned = frame.with_columns(sweep=pl.lit("made-up"))
    assert entry_of(untuned, arm).why == "4 pairs of 5; rates not tuned"
    assert main(["beside", "graph-paths"]) == 0
    assert "undecided (ours holds 0" in " ".join(
        capsys.readouterr().out.replace("│", " ").split()
    )


def test_the_board_is_drawn_from_the_differences_and_their_verdicts(tmp_path):
    base = [0.60, 0.62, 0.58, 0.61, 0.59, 0.63]
    more = [share + 0.07 + 0.002 * (-1) ** n for n, share in enumerate(base)]
    frame = collected(tmp_path, [(MultiTokenConfig(), base), (INJECTED, more)])
    picture = board_picture(frame)
    ours = picture.table.filter(table="graph-paths").to_dicts()
    assert [(row["column"], row["row"]) for row in ours] == [
        ("degree 2", "2-token, injection, 1-layer")
    ]
    found = entry_of(frame, "2-token, injection, 1-layer")
    for name in ("difference", "low", "high", "published_difference", "verdict"):
        assert ours[0][name] == getattr(found, name)
    # Published 71.32 (0.51) and 63.80 (0.65): 1.96 standard errors of the difference.
    width = 1.96 * math.hypot(0.0051, 0.0065)
    assert ours[0]["published_low"] == pytest.approx(0.0752 - width)
    axes = next(a for a in picture.figure.axes if "graph-paths" in a.get_title("left"))
    (marker,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert list(marker.get_xdata()) == [found.low, found.difference, found.high]
    assert marker.get_color() == LOOKS["replicates"][0]
    assert "ours: replicates" in [
        text.get_text() for text in picture.figure.legends[0].get_texts()
    ]


def test_a_table_without_published_arms_has_no_board(tmp_path):
    frame = collected(tmp_path, [(MultiTokenConfig(), [0.6] * 5)])
    assert board_picture(frame) is None
    assert "no finished run is for board" in all_pictures(frame)[1][-1]
    assert all_pictures(frame, ["board"]) == ([], ["no finished run is for board"])


def test_runs_at_the_tuned_rate_stand_for_their_cell(tmp_path):
    tuned = [(MultiTokenConfig(), [0.60, 0.62, 0.58]), (INJECTED, [0.67, 0.68, 0.66])]
    untuned = [(objective, [0.1, 0.2, 0.3]) for objective, _ in tuned]
    frame = collected(tmp_path / "tuned", tuned)
    others = collected(tmp_path / "others", untuned, rate=1e-2)
    others = others.with_columns(sweep=pl.lit("made-up"))
    entry = entry_of(pl.concat([frame, others]), "2-token, injection, 1-layer")
    assert entry.value == pytest.approx(0.67)
    assert entry.why == "3 pairs of 5"


def test_runs_that_chose_a_rate_are_not_on_the_board(tmp_path):
    shares = [(MultiTokenConfig(), [0.6] * 5)]
    held_out = pl.col("config").str.replace('"seed"', '"split":"validation","seed"')
    trials = collected(tmp_path, shares).with_columns(held_out)
    assert entry_of(trials, "1-token").value is None


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "not run"), (2, "undecided")])
def test_one_pair_is_no_difference(tmp_path, seeds, verdict):
    runs = [(MultiTokenConfig(), [0.60, 0.62]), (INJECTED, [0.67, 0.70])]
    frame = collected(tmp_path, [(arm, shares[:seeds]) for arm, shares in runs])
    entry = entry_of(frame, "2-token, injection, 1-layer")
    assert (entry.pairs, entry.verdict) == (seeds, verdict)
    assert (entry.difference is None) == (seeds == 1)


def test_only_the_runs_and_numbers_that_a_table_is_about_count(tmp_path):
    base, more = (
        [0.60, 0.62, 0.58, 0.61, 0.59, 0.63],
        [0.67, 0.70, 0.65, 0.68, 0.66, 0.7],
    )
    frame = collected(tmp_path / "own", [(MultiTokenConfig(), base), (INJECTED, more)])
    alone = entry_of(frame, "2-token, injection, 1-layer")
    assert alone.verdict == "replicates"
    linear = MultiTokenConfig(horizon=3, layout="linear", budget="added")
    untuned = collected(tmp_path / "other", [(linear, [0.5] * 6)])
    smaller = frame.with_columns(
        pl.col("config").str.replace('"nodes": ?100', '"nodes": 50'),
        run_id=pl.col("run_id") + "-other",
    )
    assert smaller["config"].n_unique() == 12
    assert not smaller["config"].str.contains('"nodes": ?100').any()
    for others in (
        untuned.with_columns(sweep=pl.lit("made-up")),
        smaller.with_columns(value=pl.lit(0.0)),
        frame.with_columns(suite=pl.lit("validation"), value=pl.lit(0.0)),
        frame.with_columns(metric=pl.lit("blind_walk"), value=pl.lit(0.0)),
        frame.with_columns(step=pl.lit(5), value=pl.lit(0.0)),
        frame.with_columns(value=pl.lit(None, pl.Float64)),
    ):
        whole = pl.concat([frame, others.cast(frame.schema)])
        assert entry_of(whole, "2-token, injection, 1-layer") == alone


def test_a_run_without_a_value_has_no_pair(tmp_path):
    runs = [(MultiTokenConfig(), [0.60, 0.62, 0.58]), (INJECTED, [0.67, 0.70, 0.65])]
    first = pl.col("data_seed") == 0
    lost = pl.when(first).then(None).otherwise("value")
    frame = collected(tmp_path, runs).with_columns(value=lost)
    assert entry_of(frame, "2-token, injection, 1-layer").pairs == 2


def test_runs_that_share_a_data_seed_are_one_pair(tmp_path):
    base, more = [0.60, 0.62, 0.58, 0.61], [0.67, 0.71, 0.65, 0.63]
    frame = collected(tmp_path, [(MultiTokenConfig(), base), (INJECTED, more)])
    frame = frame.with_columns(pl.col("data_seed") // 2)
    entry = entry_of(frame, "2-token, injection, 1-layer")
    assert entry.pairs == 2
    assert entry.difference == pytest.approx(((0.69 - 0.61) + (0.64 - 0.595)) / 2)


def test_words_and_meanings_are_those_of_the_readme():
    readme = (Path(analysis.__file__).parent / "README.md").read_text()
    for word in MEANINGS:
        assert f"- **{word}**: " in readme


def test_newcombe_gives_his_own_example():
    # Newcombe (1998), table II, 9/10 - 3/10 by method 10.
    difference, (low, high) = share_difference(9, 3, 10)
    assert difference == pytest.approx(0.6)
    assert (low, high) == (
        pytest.approx(0.1705, abs=1e-3),
        pytest.approx(0.8090, abs=1e-3),
    )


def test_a_table_that_does_not_fit_is_refused():
    values = {
        "source": "s",
        "label": "P",
        "read": date(2026, 11, 28),
        "sweep": "",
        "setting": "",
        "ours": "",
        "where": [],
        "metric": "m",
        "baseline": "a",
        "columns": [{"name": "c"}],
    }
    with pytest.raises(ValueError, match="2 values for 1 columns"):
        from_dict("x", values | {"rows": [{"name": "a", "values": [[1], [2]]}]})
    with pytest.raises(ValueError, match="baseline 'a'"):
        from_dict("x", values | {"columns": [], "rows": [{"name": "b", "values": []}]})
    row = {"name": "a", "values": [[1]]}
    with pytest.raises(ValueError, match="2 arms for 1 columns"):
        from_dict("x", values | {"rows": [row | {"arms": ["n1", "n2"]}]})
    assert from_dict("x", values | {"rows": [row | {"arm": "n1"}]}).row("a").arms == (
        "n1",
    )


def test_the_command_prints_every_number_and_knows_its_tables(capsys):
    assert main(["beside", "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    numbers = sum(len(t.rows) * len(t.columns) for t in TABLES.values())
    assert len(printed) >= numbers
    assert main(["beside", "graph-path"]) == 2
    assert "graph-paths" in capsys.readouterr().err


def test_numbers_without_a_run_are_counted_and_shown_on_request(capsys):
    assert main(["beside", "blocksworld"]) == 0
    short = capsys.readouterr().out
    assert main(["beside", "blocksworld", "--all"]) == 0
    full = capsys.readouterr().out
    assert main(["beside", "blocksworld", "--json"]) == 0
    values = [json.loads(row)["value"] for row in capsys.readouterr().out.splitlines()]
    rows = values.count(None)
    assert f"{rows} more numbers of this table have no run here" in short
    assert re.search("not run +│", full)
    assert not re.search("not run +│", short)


def test_verdicts_are_counted():
    common = {"source": "s", "label": "P", "column": "c", "row": "r", "arm": "n2"}
    common |= {"printed": 0.5, "published": 0.5, "published_difference": 0.1}
    verdicts = ("replicates", "replicates", "not run", None)
    entries = [
        ReplicationRow(table="t", verdict=verdict, **common) for verdict in verdicts
    ]
    counts = count_verdicts(entries)
    assert "2 replicates (our interval has the published sign" in counts
    assert "1 not run (" in counts
    frame = verdict_frame(entries)
    assert frame.select("replicates", "not run").row(0) == (2, 1)
    assert frame.schema["opposite sign"] == pl.Int64()
