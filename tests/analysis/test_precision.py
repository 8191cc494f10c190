"""Twins in two precisions: their loss curves, and the effect of the objective in each."""

import dataclasses

import polars as pl
import pytest

from analysis.collect import collect
from analysis.plots import families, style
from analysis.plots.precision import arm_effects, curve_differences, twins
from sweeps.catalogue import CATALOGUE
from synth.metrics import Measurement, Score
from synth.objectives.chain import ChainConfig
from tests.analysis.conftest import write_run

STEPS = (10, 20, 30)
DELAY = {1: 0.0, 4: 0.3}


def write_sweep(root, seeds=4, kinds=("fp32", "bf16"), flip=False, other=None):
    """Accuracy rises with steps, later for n = 4; bf16 adds 0.01, or flips the sign.

    `other` stands in for n = 4.
    """
    for config in CATALOGUE["precision"]("quick"):
        kind, n = config.training.precision, config.objective.horizon
        if config.seed >= seeds or kind not in kinds:
            continue
        training = dataclasses.replace(config.training, steps=30)
        objective = config.objective if n == 1 or other is None else other
        config = dataclasses.replace(config, training=training, objective=objective)
        half = kind == "bf16"
        rows = []
        for step in STEPS:
            delay = -DELAY[n] if flip and half else DELAY[n]
            accuracy = step / 30 - delay + 0.01 * config.seed * half
            for score in (
                Score("train", "loss", "horizon=1", 3 - step / 15 + 0.1 * half, 10),
                Score("test", "accuracy", "", accuracy, 100),
                Score("test", "loss", "horizon=1", 1 - accuracy, 100),
            ):
                tokens = step * config.training.tokens_per_step
                rows.append(Measurement.of(score, config.run_id, step, tokens))
        write_run(root, config, rows)
    return collect(root).frame


def test_the_sweep_is_made_of_twins(tmp_path):
    configs = CATALOGUE["precision"]("quick")
    frame = write_sweep(tmp_path, seeds=5)
    rows = twins(frame)
    assert rows["run_id"].n_unique() == len(configs) == 20
    sizes = rows.group_by("twin").agg(pl.col("run_id").n_unique())["run_id"]
    assert sizes.to_list() == [2] * 10
    assert rows["cell"].n_unique() == 1


def test_curves_are_paired_run_by_run(tmp_path):
    table = curve_differences(write_sweep(tmp_path))
    assert table.height == 2 * 4 * len(STEPS)
    assert table["difference"].to_list() == pytest.approx([0.1] * table.height)


def effects(table, measure):
    rows = table.filter(pl.col("measure") == measure)
    return {row["precision"]: row for row in rows.iter_rows(named=True)}


def test_effects_agree_or_do_not(tmp_path):
    found = effects(arm_effects(write_sweep(tmp_path / "a")), "accuracy")
    for kind in ("fp32", "bf16"):
        assert found[kind]["difference"] == pytest.approx(-0.3)
        assert found[kind]["pairs"] == 4
        assert found[kind]["high"] < 0
    assert found["bf16 - fp32"]["difference"] == pytest.approx(0, abs=1e-12)
    found = effects(arm_effects(write_sweep(tmp_path / "b", flip=True)), "accuracy")
    assert found["fp32"]["difference"] == pytest.approx(-0.3)
    assert found["bf16"]["difference"] == pytest.approx(0.3)
    assert found["bf16 - fp32"]["difference"] == pytest.approx(0.6)


def test_twins_may_be_of_any_objective(tmp_path):
    frame = write_sweep(tmp_path, other=ChainConfig(depth=1))
    assert twins(frame)["cell"].n_unique() == 1
    found = arm_effects(frame)
    assert found["arm"].unique().to_list() == ["chain1"]
    assert found.filter(measure="accuracy")["pairs"].to_list() == [4, 4, 4]
    figure, _ = families.FIGURES["precision-curves"].draw(frame)
    assert "chain 1" in [axes.get_title() for axes in figure.axes]


def test_both_figures_are_drawn_and_refuse_what_has_no_twin(tmp_path):
    frame = write_sweep(tmp_path / "a")
    for name in ("precision-curves", "precision-effects"):
        figure, table = families.FIGURES[name].draw(frame)
        written = style.save(figure, table, tmp_path / name)
        assert all(path.stat().st_size > 0 for path in written)
    alone = write_sweep(tmp_path / "b", kinds=("fp32",))
    for name in ("precision-curves", "precision-effects"):
        with pytest.raises(ValueError, match="no finished run has a twin"):
            families.FIGURES[name].draw(alone)
