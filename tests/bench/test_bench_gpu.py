"""The arithmetic of the GPU table, and the whole of it at a tiny size on the CPU."""

import math
import sys
import time

import pytest
import torch

from synth.describe import describe_run
from tests.bench import bench_gpu
from tests.bench.bench_gpu import Card, Limit, as_row, bound_by, limit, run_for, table

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
    cells = as_row("1M", 4, 0.016384, 0.016384, Limit(4e6, 2e6), 5e5).split(" | ")
    assert cells[1:4] == ["4", "1,000,000", "50% of 2,000,000"]
    assert cells[6] == "2.00 of 500,000 |"


def test_the_whole_table_on_the_cpu(capsys):
    torch.set_num_threads(1)
    lines = table("cpu", ["d16-L2-h2"], [1, 2], 1, time.monotonic() + 300)
    assert len(lines) == 4
    for line, lanes in zip(lines[2:], (1, 2), strict=True):
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        assert cells[:2] == ["d16-L2-h2", str(lanes)]
        assert float(cells[2].replace(",", "")) > 0
        assert math.isfinite(float(cells[6].split(" of ")[0]))
    assert capsys.readouterr().out.count("\n") >= 5


def test_no_new_rung_after_the_deadline(capsys):
    assert len(table("cpu", ["d16-L2-h2"], [1], 1, time.monotonic() - 1)) == 2
    assert "out of time" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_gpu"])
    assert bench_gpu.main() == 2
    assert "no GPU" in capsys.readouterr().err
