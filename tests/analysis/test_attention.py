"""Attention maps: what is drawn is what the heads do."""

import polars as pl
import pytest
import torch

from analysis.__main__ import main
from analysis.plots.attention import attention_figure
from synth.training import train
from tests.conftest import tiny_run


def test_an_induction_head_has_all_its_weight_on_the_line():
    """Two heads: one attends as induction heads do, one to itself."""
    period, length = 3, 6
    induction, itself = torch.zeros(length, length), torch.eye(length)
    for at in range(length):
        induction[at, at - period + 1 if at >= period else 0] = 1.0
    maps = {"trunk 1": torch.stack([induction, itself])[None]}
    figure, table = attention_figure(maps, list("abcabc"), "a row", period)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [
        "trunk 1\nattention head 1: 1.00",
        "trunk 1\nattention head 2: 0.00",
    ]
    assert table.height == 2 * length * (length + 1) // 2
    ones = table.filter(pl.col("weight") == 1.0, head=1)
    assert ones["attends_to"].to_list() == [0, 0, 0, 1, 2, 3]


def test_the_command_draws_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = tiny_run()
    train([config], tmp_path / "runs")
    assert main(["attention", config.run_id]) == 0
    assert ".png" in capsys.readouterr().out
    table = pl.read_csv(f"figures/attention-{config.run_id}.csv")
    sums = table.group_by("layer", "head", "position").agg(pl.col("weight").sum())
    assert sums["weight"].to_list() == pytest.approx([1.0] * sums.height, abs=1e-5)
    assert table["layer"].n_unique() == config.model.shape.layers
