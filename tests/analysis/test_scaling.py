"""Power laws against made-up data whose exponents are known."""

import numpy as np
import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.scaling import fit_power_law, power_law, scaling_table
from analysis.trajectories import curve_rows
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run

SIZES = np.array([1e4, 3e4, 1e5, 3e5, 1e6, 3e6])


def measured(noise, seeds=5, rng_seed=0, **law):
    """Values of a law with relative noise, by size and seed."""
    rng = np.random.default_rng(rng_seed)
    exact = power_law(SIZES, **law)
    return [value * (1 + noise * rng.standard_normal(seeds)) for value in exact]


@pytest.mark.parametrize(("offset", "exponent"), [(0.5, 0.35), (0.0, 0.2), (2.0, 0.6)])
def test_known_laws_are_found(offset, exponent):
    law = {"offset": offset, "factor": 40.0, "exponent": exponent}
    found = fit_power_law(SIZES, measured(1e-6, **law), draws=5)
    assert found.exponent == pytest.approx(exponent, rel=1e-2)
    assert found.offset == pytest.approx(offset, abs=0.02)
    assert found.max_error < 1e-3
    noisy = fit_power_law(SIZES, measured(0.01, **law), draws=60)
    assert noisy.exponent_low < exponent < noisy.exponent_high
    low, high = noisy.band(SIZES)
    assert (low < noisy.at(SIZES)).all()
    assert (noisy.at(SIZES) < high).all()


def test_a_law_without_offset_is_the_line_in_logarithms():
    values = measured(0.02, offset=0.0, factor=3.0, exponent=0.1)
    found = fit_power_law(SIZES, values, with_offset=False, draws=5)
    means = np.log([np.mean(v) for v in values])
    slope, _ = np.polyfit(np.log(SIZES), means, 1)
    assert found.exponent == pytest.approx(-slope, rel=1e-4)
    assert found.offset == 0


def test_no_draw_of_the_bootstrap_is_left_out():
    """Draws below zero were; what was left had too short an interval, or was nothing."""
    exact = power_law(SIZES, offset=0.0, factor=3.0, exponent=0.1)
    found = fit_power_law(
        SIZES, [value * np.array([0.5, 1.5]) for value in exact], False, draws=20
    )
    assert len(found.draws_B) == 20
    assert found.exponent_low < 0.1 < found.exponent_high
    most_at_ceiling = [value * np.array([0, 0, 0, 0, 5.0]) for value in exact]
    assert len(fit_power_law(SIZES, most_at_ceiling, False, draws=20).draws_B) == 20


def test_seeds_in_two_groups_have_no_law(tmp_path):
    for scale in ("10k", "30k", "100k", "300k", "1M"):
        for horizon in (1, 2):
            for seed in range(4):
                config = polynomial_run(horizon, seed, scale)
                stuck = horizon == 2 and scale == "30k" and seed == 0
                end = 0.02 if stuck else 0.9 + 0.01 * seed
                write_run(
                    tmp_path,
                    config,
                    polynomial_rows(config, lambda m, step, v=end: v, (100,)),
                )
    rows = curve_rows(collect(tmp_path).frame, "exact_match", "in_domain")
    table, refused = scaling_table(rows, with_offset=False, ceiling=1.0)
    assert table["arm"].to_list() == ["n1"]
    (reason,) = refused
    assert "n2: Seeds at 3" in reason
    assert "parameters fall into two groups" in reason


def test_what_cannot_be_fitted_is_refused():
    values = measured(0.01, offset=0.5, factor=40.0, exponent=0.3)
    for sizes, some, word in (
        (SIZES[:4], values[:4], "at least 5 sizes; there are 4"),
        (SIZES, [v[:1] for v in values], "two seeds"),
        (SIZES, [v - 2.0 for v in values], "positive"),
    ):
        with pytest.raises(ValueError, match=word):
            fit_power_law(sizes, some)


def test_a_table_of_runs_gives_a_law_an_arm_and_says_why_not(tmp_path, capsys):
    """Errors 1 - exact match fall as parameters^-0.3 with n = 1; n = 2 has two sizes."""
    rng = np.random.default_rng(0)
    for scale in ("10k", "30k", "100k", "300k", "1M"):
        for horizon in (1, 2) if scale in ("100k", "1M") else (1,):
            for seed in range(3):
                config = polynomial_run(horizon, seed, scale)
                error = 8 * config.model.shape.nominal_parameters**-0.3
                end = 1 - error * (1 + 0.005 * rng.standard_normal())
                rows = polynomial_rows(config, lambda m, step, end=end: end, (100,))
                write_run(tmp_path, config, rows)
    rows = curve_rows(collect(tmp_path).frame, "exact_match", "in_domain")
    how = {"with_offset": False, "ceiling": 1.0}
    table, refused = scaling_table(rows, **how)
    (row,) = table.iter_rows(named=True)
    assert (row["arm"], row["sizes"], row["seeds"]) == ("n1", 5, 3)
    assert row["exponent"] == pytest.approx(0.3, abs=0.02)
    assert row["exponent_low"] < row["exponent"] < row["exponent_high"]
    assert len(refused) == 1
    assert "n2: A power law needs at least 5 sizes; there are 2" in refused[0]
    by_flops, _ = scaling_table(rows, "flops", **how)
    # With embeddings, FLOP grow less than parameters, and so errors fall faster in them.
    assert by_flops["exponent"][0] > row["exponent"]
    twins = rows.with_columns(scale=pl.lit("d9-L3-h1"), run_id=pl.col("run_id") + "-d9")
    with pytest.raises(ValueError, match="several shapes have equal parameters"):
        scaling_table(pl.concat([rows, twins]), **how)
    steps = rows.with_columns(tokens=pl.col("tokens") * pl.col("seed"))
    with pytest.raises(ValueError, match="at least 5 sizes; there are 2"):
        # Sizes are no seeds of one number of tokens: each would have a law of its own.
        scaling_table(steps.filter(pl.col("seed") > 0), "tokens", **how)
    with pytest.raises(ValueError, match="n2: A power law needs at least 5 sizes"):
        scaling_table(rows.filter(pl.col("arm") == "n2"), **how)
    with pytest.raises(ValueError, match="axis must be one of"):
        scaling_table(rows, "seconds")
    with pytest.raises(ValueError, match="No finished run has"):
        scaling_table(
            rows.with_columns(flops_per_token=pl.lit(None, pl.Float64())), "flops"
        )
    arguments = ["scaling", str(tmp_path), "--metric", "in_domain/exact_match"]
    assert main([*arguments, "--no-offset"]) == 0
    out = capsys.readouterr().out
    assert "exponent" in out
    assert "at least 5 sizes; there are 2" in out
