"""Which runs an answer leaves out after a sweep was tuned again."""

import pytest

from analysis.collect import collect
from analysis.load_sweep import load_sweep, load_table, load_tables
from analysis.parquet import write
from tests.analysis.test_rate_curves import trial, write_trial

CHOSEN, EARLIER = 2e-3, 4e-3
TRIALS = {1e-3: (0.5, 0.6), CHOSEN: (0.8, 0.7), EARLIER: (0.7, 0.6)}


def write_tables(tmp_path, runs, values=TRIALS):
    """The tables of a tuned sweep and of its trials; `runs` are (rate, value) pairs."""
    for rate, each in values.items():
        for seed, value in zip((1000, 1001), each, strict=True):
            write_trial(tmp_path / "made-tuning", trial(rate, seed), value)
    for rate, value in runs:
        for seed in (0, 1):
            config = trial(rate, seed, split="test")
            write_trial(tmp_path / "made-tuned", config, value, suite="in_domain")
    for name in ("made-tuned", "made-tuning"):
        frame = collect(tmp_path / name).frame
        write(frame, tmp_path / "results" / f"{name}.parquet")
    return tmp_path / "results"


def rates(frame):
    return frame.filter(sweep="made-tuned")["learning_rate"].unique().sort().to_list()


def test_runs_at_an_earlier_choice_are_left_out_of_answers(tmp_path):
    results = write_tables(tmp_path, [(CHOSEN, 0.6), (EARLIER, 0.9)])
    assert rates(load_tables(results)) == [
        CHOSEN
    ]  # although they are better on the test
    assert rates(load_sweep("made-tuned", results)) == [CHOSEN]
    path = results / "made-tuned.parquet"
    assert rates(load_sweep(str(path), tmp_path)) == [CHOSEN]
    for name in ("made-tuned", str(results)):  # what `merge` reads
        assert rates(load_table(name, results)) == [CHOSEN, EARLIER]


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([(EARLIER, 0.9)], id="nothing is trained at the choice"),
        pytest.param([(CHOSEN, None), (EARLIER, 0.9)], id="all failed at the choice"),
    ],
)
def test_a_cell_without_a_run_at_the_chosen_rate_keeps_its_runs(tmp_path, runs):
    results = write_tables(tmp_path, runs)
    assert rates(load_tables(results)) == [rate for rate, _ in runs]


def test_a_rate_at_which_a_trial_failed_is_not_chosen(tmp_path):
    values = TRIALS | {CHOSEN: (0.8, None)}
    results = write_tables(tmp_path, [(CHOSEN, 0.6), (EARLIER, 0.9)], values)
    assert rates(load_tables(results)) == [EARLIER]


def test_without_trials_all_rates_stay(tmp_path):
    results = write_tables(tmp_path, [(CHOSEN, 0.6), (EARLIER, 0.9)])
    (results / "made-tuning.parquet").unlink()
    assert rates(load_tables(results)) == [CHOSEN, EARLIER]
    assert rates(load_sweep("made-tuned", results)) == [CHOSEN, EARLIER]
