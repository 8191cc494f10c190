"""Arms of any kind and layout: paired, drawn, named and reported without exceptions."""

import csv

import numpy as np
import polars as pl
import pytest

from analysis.__main__ import main
from analysis.arm_names import arm_label, arm_name, arms_of, in_arm_order, sort_rows
from analysis.collect import collect
from analysis.comparisons import matched_table
from analysis.parquet import read_all, results_folder
from analysis.plots import style
from analysis.plots.families import FIGURES
from analysis.statements import judge_all
from analysis.tables import render_choices, render_polynomial
from analysis.trajectories import curve_rows, equal_cost_table, events_table
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.token_order import TokenOrderConfig
from tests.analysis.conftest import (
    polynomial_rows,
    polynomial_run,
    write_probed_sweep,
    write_run,
)

GAINS = {
    "n1": 0.0,
    "chain1": 0.1,
    "n4": 0.2,
    "n4_anticausal": 0.25,
    "top4": -0.1,
}
"""Of each arm over next-token prediction, in the order of arms."""
OBJECTIVES = (
    TokenOrderConfig(window=4),
    MultiTokenConfig(horizon=4, layout="anticausal"),
    MultiTokenConfig(horizon=4),
    ChainConfig(depth=1),
    MultiTokenConfig(),
)
NAMES = ["n = 1 (next token)", "chain 1", "n = 4", "n = 4, anticausal", "top4"]
SEEDS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of polynomials and of probed choice points, collected from run folders."""
    root = tmp_path_factory.mktemp("arms")
    rng = np.random.default_rng(0)
    for seed in range(SEEDS):
        shared = 0.05 * rng.standard_normal()
        for objective in OBJECTIVES:
            config = polynomial_run(seed=seed, scale="100k", objective=objective)
            end = 0.4 + GAINS[objective.arm] + shared + 0.01 * rng.standard_normal()
            rows = polynomial_rows(config, lambda m, step, end=end: end * step / 100)
            write_run(root / "runs" / "polynomial-arms", config, rows)
    write_probed_sweep(root / "runs" / "choice-arms-tuned", objectives=OBJECTIVES)
    to = ("--results", str(root / "results"))
    assert main(["collect", "--runs", str(root / "runs"), *to]) == 0
    return root / "results"


@pytest.fixture(scope="module")
def frame(folder):
    return read_all(folder)


def test_arms_have_an_order_and_names():
    assert in_arm_order(["top4", "n16", "n4_anticausal", "n2", "chain1", "n1"]) == [
        *("n1", "chain1", "n2", "n4_anticausal", "n16", "top4")
    ]
    assert [arm_label(arm) for arm in GAINS] == NAMES
    assert arm_name("n1") == "n = 1"
    assert arm_name("n4_causal_added") == "n = 4, causal, added"
    assert arm_name("chain2_shared_w0.5") == "chain 2, shared, weight 0.5"
    assert arm_name("my_objective") == "my_objective"
    assert arm_name("n") == "n"


def test_rows_are_sorted_by_arm_and_unknown_arms_may_come_last():
    rows = pl.DataFrame({"arm": ["n10", None, "n2", "n1"], "seed": [0, 0, 0, 0]})
    found = sort_rows(rows, "seed", "arm", nulls_last=True)["arm"].to_list()
    assert found == ["n1", "n2", "n10", None]
    assert sort_rows(rows.clear(), "arm").is_empty()


def test_an_arm_looks_the_same_wherever_it_is_drawn():
    """The looks are pinned: figures of different days are laid side by side."""
    usual = {"n1": "#3b3b3b", "n2": "#0072b2", "n4": "#d55e00", "n8": "#009e73"}
    assert {arm: style.color_of(arm) for arm in usual} == usual
    assert [style.marker_of(arm) for arm in usual] == ["o", "s", "^", "D"]
    looks = {arm: (style.color_of(arm), style.marker_of(arm)) for arm in GAINS}
    assert looks["chain1"] == ("#56b4e9", "P")
    assert looks["n4_anticausal"] == ("#7a5195", "d")
    assert looks["top4"] == ("#e69f00", "X")


def test_the_arms_of_a_committed_table_look_different():
    for path in sorted(results_folder().glob("*.parquet")):
        rows = pl.read_parquet(path, columns=["task", "arm"]).drop_nulls()
        for (task,), of_task in rows.group_by("task"):
            arms = arms_of(of_task)
            looks = {(style.color_of(arm), style.marker_of(arm)) for arm in arms}
            assert len(looks) == len(arms), (path.name, task)
            colors = {style.color_of(arm) for arm in arms}
            assert len(colors) == len(arms) or len(arms) > 10, (path.name, task)


@pytest.mark.parametrize("cost", ["tokens", "flops"])
def test_any_two_arms_pair_on_their_data_seeds(frame, cost):
    rows = curve_rows(frame, "exact_match", "in_domain")
    found = matched_table(rows, cost)
    assert found["arm"].to_list() == list(GAINS)[1:]
    assert found["pairs"].to_list() == [SEEDS] * 4
    if cost == "tokens":
        gains = [gain for arm, gain in GAINS.items() if arm != "n1"]
        assert found["difference"].to_list() == pytest.approx(gains, abs=0.03)
    other = matched_table(rows, cost, baseline="chain1")
    assert other["arm"].to_list() == ["n1", "n4", "n4_anticausal", "top4"]
    first = found.filter(arm="chain1")["difference"][0]
    assert other.filter(arm="n1")["difference"][0] == pytest.approx(-first)


def test_a_third_arm_does_not_move_a_pair(frame):
    """The cheapest arm, n1, must not limit how far dearer arms are compared."""
    rows = curve_rows(frame, "exact_match", "in_domain")
    found = matched_table(rows, "flops", baseline="n4")
    for arm in ("chain1", "top4"):
        two = rows.filter(pl.col("arm").is_in(["n4", arm]))
        alone = matched_table(two, "flops", baseline="n4").drop("p_holm")
        beside = found.filter(arm=arm).drop("p_holm")
        assert beside.rows() == alone.rows()


def test_another_size_or_budget_is_no_pair(tmp_path):
    for objective, scale in ((MultiTokenConfig(), "100k"), (ChainConfig(), "300k")):
        config = polynomial_run(scale=scale, objective=objective)
        rows = polynomial_rows(config, lambda m, step: step / 100)
        write_run(tmp_path, config, rows)
    rows = curve_rows(collect(tmp_path).frame, "exact_match", "in_domain")
    with pytest.raises(ValueError, match=r"No arm shares .* with 'n1'.* n1, chain1"):
        matched_table(rows, "tokens")


def test_the_command_compares_with_the_arm_that_is_named(folder, capsys):
    arguments = ["compare", str(folder), "--where", "task=polynomial"]
    arguments += ["--at", "tokens", "--csv"]
    assert main(arguments) == 0
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert len(table) == len(NAMES) - 1
    assert main([*arguments, "--baseline", "top4"]) == 0
    assert "n1" in pl.read_csv(capsys.readouterr().out.encode())["arm"]
    assert main([*arguments, "--baseline", "n3"]) == 2
    assert "arm=n3 as a baseline. Values here: " in capsys.readouterr().err


def test_every_figure_draws_every_arm(folder, tmp_path, capsys):
    names = ("figure-8-polynomial", "curves-polynomial", "choice-points")
    names += ("choice-weights", "information", "layer-law")
    out = tmp_path / "figures"
    where = ["--results", str(folder), "--figures", str(out)]
    assert main(["figures", *names, *where]) == 0
    assert "left out" not in capsys.readouterr().out
    for name in names:
        tables = list(out.glob(f"{name}*.csv"))
        tasks = 2 if name == "layer-law" else 1
        assert len(tables) == tasks, "the arms of a task are of one setting"
        for table in tables:
            with table.open() as lines:
                found = {row["arm"] for row in csv.DictReader(lines)}
            assert found == set(GAINS)


def test_legends_name_the_arms_in_order(frame):
    for name in ("figure-8-polynomial", "choice-points", "layer-law"):
        pictures, _ = FIGURES[name].pictures(frame)
        for one in pictures:
            legend = [text.get_text() for text in one.figure.legends[0].get_texts()]
            assert legend[0] == NAMES[0]
            assert set(NAMES) <= set(legend)


def test_tables_and_report_have_a_row_an_arm(frame, folder, tmp_path):
    assert arms_of(equal_cost_table(frame)) == list(GAINS)[1:]
    assert arms_of(events_table(frame)) == list(GAINS)
    for table, column in ((render_polynomial(frame), 1), (render_choices(frame), 1)):
        cells = list(table.columns[column].cells)
        assert [one for one in cells if one != "guess floor"] == [
            arm_name(arm) for arm in GAINS
        ]
    page = tmp_path / "report.html"
    assert main(["report", "--results", str(folder), "--output", str(page)]) == 0
    for arm in GAINS:
        assert f"<td>{arm}</td>" in page.read_text()


def test_every_arm_has_a_known_cost(frame):
    known = frame.filter(task="polynomial").unique("run_id")["flops_per_token"]
    assert known.len() == SEEDS * len(OBJECTIVES)
    assert known.null_count() == 0


def test_arms_that_a_claim_does_not_name_leave_its_verdict_alone(frame):
    """The paper's claims are about n heads side by side."""
    ours = frame.filter(pl.col("arm").is_in(["n1", "n4"]))
    assert arms_of(frame) != arms_of(ours)
    alone = {one.claim.id: one for one in judge_all(ours)}
    beside = {one.claim.id: one for one in judge_all(frame)}
    assert alone["C12"].verdict == "supported"
    for name in alone:
        assert beside[name].verdict == alone[name].verdict
        assert beside[name].reason == alone[name].reason
    shown = [test.about for test in beside["C13"].exploratory]
    assert [text.split(", ", 1)[1].split(" minus")[0] for text in shown] == [
        *("chain 1", "n = 4", "n = 4, anticausal", "top4")
    ]


def test_without_its_arms_a_claim_is_not_tested(frame):
    other = frame.filter(pl.col("arm").is_in(["n1", "chain1"]))
    (found,) = judge_all(other, ["C13"])
    assert found.verdict == "not tested"
    assert found.evidence is None
    assert len(found.exploratory) == 1
