"""The arithmetic of the GPU table, and the whole of it at a tiny size on the CPU."""

import contextlib
import math
import sys
import time

import pytest
import torch

from synth.models.describe import describe_run
from tests.bench import bench_gpu
from tests.bench.bench_gpu import (
    Card,
    Forms,
    Limit,
    as_row,
    bound_by,
    limit,
    run_for,
    table,
)
from tests.conftest import PATIENCE_S
from tests.synth.fast.recording import RecordedGraph

H200 = Card("paper", 790e12, 4.3e12)


@pytest.mark.parametrize(
    ("rung", "millions"), [("1M", 26.9), ("3M", 16.8), ("10M", 7.5), ("30M", 3.4)]
)
def test_limits_are_near_those_counted_by_hand(rung, millions):
    """Of a card with 790 TFLOP/s and 4.3 TB/s, counted for 4,096 tokens a step."""
    reach = limit(run_for(rung, 16, 256, 0, "bf16"), H200)
    assert reach.side == "memory"
    assert reach.tokens / 1e6 == pytest.approx(millions, rel=0.02)


def test_the_compute_limit_is_peak_over_cost():
    config = run_for("1M", 16, 256, 0, "bf16")
    cost = describe_run(config)["training_flops_per_token"]
    assert limit(config, H200).compute * cost == pytest.approx(790e12)
    slow = Card("slow", 1e12, 4.3e12)
    assert limit(config, slow).side == "products"


def test_what_bounds_a_step():
    reach = Limit(compute=4e6, memory=2e6)
    tokens = 4096
    at_limit = tokens / reach.tokens
    assert bound_by(at_limit, at_limit, reach, tokens) == "memory"
    assert bound_by(10 * at_limit, at_limit, reach, tokens) == "launches"
    assert bound_by(4 * at_limit, 4 * at_limit, reach, tokens).startswith("passes (25")
    assert bound_by(1.0, 1.0, Limit(4096.0, 1e9), tokens) == "products"


def test_a_row_counts_the_tokens_of_all_lanes():
    forms = Forms(
        {"eager": 0.065536, "compiled": 0.032768, "graph": 0.016384}, 0.016384
    )
    cells = as_row("1M", 4, forms, Limit(4e6, 2e6), 5e5).split(" | ")
    assert cells[1:6] == ["4", "250,000", "500,000", "1,000,000", "50% of 2,000,000"]
    assert cells[7:] == ["100%", "2.00 of 500,000 |"]


def test_a_form_that_there_is_not_gets_a_dash():
    forms = Forms({"eager": 0.016384, "compiled": 0.008192}, 0.004096)
    cells = as_row("1M", 1, forms, Limit(4e6, 2e6), 5e5).split(" | ")
    assert cells[2:6] == ["250,000", "500,000", "-", "25% of 2,000,000"]
    assert cells[6:] == ["launches", "50%", "1.00 of 500,000 |"]


def cells_of(line):
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_the_whole_table_on_the_cpu(capsys):
    torch.set_num_threads(1)
    soon = time.monotonic() + PATIENCE_S
    lines = table("cpu", ["d16-L2-h2"], [1, 2], 1, soon, compiled=False)
    assert len(lines) == 4
    for line, lanes in zip(lines[2:], (1, 2), strict=True):
        cells = cells_of(line)
        assert cells[:2] == ["d16-L2-h2", str(lanes)]
        assert float(cells[2].replace(",", "")) > 0
        assert cells[3:5] == ["-", "-"]
        assert math.isfinite(float(cells[8].split(" of ")[0]))
    assert capsys.readouterr().out.count("\n") >= 5


@pytest.mark.parametrize("fails", [False, True])
def test_every_form_gets_its_column(monkeypatch, capsys, fails):
    """With the stand-in for a graph; where it fails, the table goes on without it."""
    form = lambda given, *_: "graph" if given.compile == "on" else "eager"  # noqa: E731
    graphs = []

    def new():
        graphs.append(RecordedGraph())
        if fails:
            graphs[-1].replay = lambda: None
        return graphs[-1]

    monkeypatch.setattr("synth.pack.step_form", form)
    monkeypatch.setattr("synth.pack.CudaGraph", new)
    monkeypatch.setattr("synth.fast.native.prepare_torch_compile", lambda _: (True, ""))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _: None)
    soon, how = time.monotonic() + PATIENCE_S, contextlib.nullcontext()
    if fails:
        how = pytest.warns(UserWarning, match="not replayed")
    with how:
        lines = table("cpu", ["d16-L2-h2"], [2], 3, soon, compiled=True)
    cells = cells_of(lines[2])
    speeds = [float(cell.replace(",", "")) for cell in cells[2:4]]
    assert min(speeds) > 0
    assert (cells[4] == "-") is fails
    out = capsys.readouterr().out
    (graph,) = graphs
    if fails:
        assert "against an eager step: losses nan" in out
    else:
        assert "against an eager step: losses 0.0e+00" in out
        assert graph.replays == 1 + 4 + 3
        assert float(cells[4].replace(",", "")) > 0


def test_no_new_row_after_the_deadline(capsys):
    late = time.monotonic() - 1
    assert len(table("cpu", ["d16-L2-h2"], [1], 1, late, compiled=False)) == 2
    assert "out of time" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_gpu"])
    assert bench_gpu.main() == 2
    assert "no GPU" in capsys.readouterr().err
