"""`make quick`: one figure and three tables from three sweeps, whichever are there."""

from dataclasses import replace

import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.parquet import read, results_folder
from analysis.plots.quick import induction_rows, quick_figure
from analysis.rate_curves import rate_curves
from analysis.tables import render_choices, render_induction
from sweeps.catalogue.induction import repeats
from sweeps.catalogue.quick import choices, quick
from synth.metrics import Measurement, Score, to_lines
from tests.analysis.conftest import write_polynomial_sweep, write_run

"""Suites on which a rate is chosen."""
PERIODS = 0.1
"""Guess floor of the made-up induction runs."""


def write_repeats(root):
    """n = 1 forms between steps 100 and 200, n = 2 a hundred later, seed 4 never."""
    for config in repeats("quick"):
        per_step, late = config.training.tokens_per_step, config.objective.horizon - 1
        rows = []
        for step in range(0, 401, 100):
            formed = step >= 200 + 100 * late and not (late and config.seed == 4)
            for score in (
                Score("test", "accuracy", "", 0.9 if formed else 0.1, 1000),
                Score("test", "floor", "", PERIODS, 1000),
            ):
                at = (config.run_id, step, step * per_step)
                rows.append(Measurement.of(score, *at))
        folder = write_run(root, config, rows)
        heads = [
            Score("prefix_matching", "attention", f"layer={k},head={h}", k / 10, 768)
            for k in (1, 2)
            for h in (1, 2)
        ]
        heads.append(Score("prefix_matching", "attention", "best", 0.2, 768))
        at = (config.run_id, 400, 400 * per_step)
        lines = to_lines([Measurement.of(score, *at) for score in heads])
        (folder / "probe-induction.jsonl").write_text(lines)


def write_choices(root):
    """Excess loss falls to 1 / n; forced positions have none."""
    for config in choices("quick"):
        per_step, horizon = config.training.tokens_per_step, config.objective.horizon
        rows = []
        for step in (0, 200, 400):
            end = 1 / horizon + 0.01 * config.seed
            value = 2.0 - (2.0 - end) * step / 400
            for role, nats in (("choice", value), ("forced", 0.0)):
                part = f"horizon=1,role={role}"
                at = (config.run_id, step, step * per_step)
                rows.append(Measurement(*at, "test", "excess_loss", part, nats, 500))
        write_run(root, config, rows)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All three sweeps as `make quick` leaves them."""
    root = tmp_path_factory.mktemp("runs")
    write_polynomial_sweep(root / "quick", seeds=3, scales=("30k",))
    write_repeats(root / "repeats")
    write_choices(root / "choices")
    return root


def printed(table):
    """Cells of a table, row by row."""
    columns = [list(column.cells) for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_a_panel_a_sweep_with_what_they_show(runs):
    frame = pl.concat(
        [collect(runs / n).frame for n in ("quick", "repeats", "choices")]
    )
    figure, table = quick_figure(frame)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "polynomials, 30k parameters",
        "induction on random segments",
        "choice points",
    ]
    assert set(table["panel"]) == {"exact_match", "induction", "choice excess loss"}
    induction = table.filter(panel="induction", arm="n1").sort("x")
    assert induction["mean"].to_list() == pytest.approx([0.1, 0.1, 0.9, 0.9, 0.9])
    assert induction["reference"].unique().to_list() == pytest.approx([PERIODS])
    assert induction["seeds"].unique().to_list() == [5]
    late = table.filter(panel="induction", arm="n2").sort("x")
    assert late["groups"].to_list() == [None] * 3 + ["1 low, 4 high"] * 2
    assert late["mean"].is_null().to_list() == [False] * 3 + [True] * 2
    excess = table.filter(panel="choice excess loss", arm="n4").sort("x")
    assert excess["mean"].to_list()[-1] == pytest.approx(0.26)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"n = 1 (next token)", "n = 2", "n = 4"} <= set(labels)
    assert {"one run", "seeds in two groups: no mean"} <= set(labels)
    assert "guess floor, and its sampling error,\nor exact optimum (0)" in labels


def test_induction_table_has_a_row_a_run(runs):
    rows = printed(render_induction(collect(runs / "repeats").frame))
    assert [row[1:5] for row in rows] == [
        *[["n = 1", str(seed), "200", "90.0"] for seed in range(5)],
        *[["n = 2", str(seed), "300", "90.0"] for seed in range(4)],
        ["n = 2", "4", "never", "10.0"],
    ]
    assert {tuple(row[5:]) for row in rows} == {("10.0", "0.10 0.10", "0.20 0.20")}


def test_induction_table_needs_no_probe(runs, tmp_path):
    write_repeats(tmp_path)
    for path in tmp_path.glob("*/probe-*"):
        path.unlink()
    rows = printed(render_induction(collect(tmp_path).frame))
    assert {len(row) for row in rows} == {6}


def test_choices_table_has_means_over_seeds(runs):
    table = render_choices(collect(runs / "choices").frame)
    assert [column.header for column in table.columns][3:] == ["forced", "choice"]
    first, second = printed(table)
    assert first[1:4] == ["n = 1", "3", "0.00 [0.00, 0.00]"]
    assert second[4].startswith("0.26 [0.24, ")


def test_choices_table_has_no_mean_of_two_groups(tmp_path):
    for config in choices("quick"):
        for seed in range(4):
            own = replace(config, seed=seed)
            nats = 0.05 if seed and config.objective.horizon == 4 else 1.0
            part, step = "horizon=1,role=choice", config.training.steps
            at = (own.run_id, step, step * config.training.tokens_per_step)
            rows = [Measurement(*at, "test", "excess_loss", part, nats, 500)]
            if not (tmp_path / own.run_id).exists():
                write_run(tmp_path, own, rows)
    first, second = printed(render_choices(collect(tmp_path).frame))
    assert first[3] == "1.00 [1.00, 1.00]"
    assert second[3] == "3 low, 1 high"


def test_a_band_of_noise_is_in_the_legend():
    figure, _ = quick_figure(read(results_folder() / "repeats.parquet"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "n = 1 against itself, 95 %" in labels


def test_damaged_metrics_without_floors_are_drawn(tmp_path):
    write_repeats(tmp_path)
    for path in tmp_path.glob("*/metrics.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if '"floor"' not in line))
    _, table = quick_figure(collect(tmp_path).frame)
    assert table["reference"].unique().to_list() == [0.0]


def test_floors_belong_to_their_evaluation(runs):
    rows = induction_rows(collect(runs / "repeats").frame)
    assert rows["floor"].null_count() == 0
    assert rows.height == 10 * 5


@pytest.mark.parametrize("missing", [(), ("choices",), ("quick", "choices")])
def test_draws_what_has_been_trained(runs, tmp_path, capsys, missing):
    for name in {"quick", "repeats", "choices"} - set(missing):
        (tmp_path / name).symlink_to(runs / name)
    arguments = ["--runs", str(tmp_path), "--figures", str(tmp_path / "f")]
    assert main(["quick", *arguments]) == 0
    out = capsys.readouterr().out
    assert ("guess floor" in out) == ("quick" not in missing)
    assert "formed at step" in out
    names = sorted(path.name for path in (tmp_path / "f").iterdir())
    assert names == ["quick.csv", "quick.pdf", "quick.png"]
    if missing:
        return
    before = [(tmp_path / "f" / name).read_bytes() for name in names]
    assert main(["quick", *arguments]) == 0
    assert [(tmp_path / "f" / name).read_bytes() for name in names] == before


def test_nothing_trained_is_a_message(tmp_path, capsys):
    assert main(["quick", "--runs", str(tmp_path)]) == 2
    assert "holds none of quick, repeats, choices" in capsys.readouterr().err
    (config, *_) = choices("quick")
    write_run(tmp_path / "choices", config, [], state="stopped")
    assert main(["quick", "--runs", str(tmp_path)]) == 2
    assert "Type make quick" in capsys.readouterr().err


@pytest.mark.parametrize("sweep", [quick, repeats, choices])
def test_each_arm_has_the_best_rate_of_its_trials(sweep):
    trials = read(results_folder() / f"{sweep.name}-tuning.parquet")
    best = rate_curves(trials).filter("best", "interior")
    assert dict(best.select("arm", "learning_rate").iter_rows()) == {
        run.objective.arm: run.training.learning_rate for run in sweep("quick")
    }


def test_settings_of_choice_points_have_pictures_of_their_own(runs, results):
    from analysis.parquet import read_all
    from analysis.plots.families import FIGURES

    frame = pl.concat([collect(runs / "choices").frame, read_all(results)])
    pictures, _ = FIGURES["choice-points"].pictures(frame)
    told = " ".join(one.label for one in pictures)
    assert "3 branches" in told
    assert "5 branches" in told
