"""Run folders made by hand: what analysis reads, without training anything."""

import json
from dataclasses import replace

import numpy as np
import pytest

from synth.config import ModelConfig, ObjectiveConfig, RunConfig, TrainingConfig
from synth.metrics import Measurement, to_lines
from synth.tasks.polynomial import PolynomialConfig


def polynomial_run(horizon=1, seed=0, scale="10k", pause=0, evaluated=4):
    """A run that is never trained."""
    return RunConfig(
        task=PolynomialConfig(
            modulus=2,
            degree=3,
            max_operations=2,
            max_evaluated=evaluated,
            pause_tokens=pause,
        ),
        model=ModelConfig(scale=scale),
        objective=ObjectiveConfig(horizon=horizon),
        training=TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1),
        seed=seed,
    )


def polynomial_rows(config, exact_match, steps=(0, 50, 100)):
    """Long-form rows: `exact_match(m, step)` and its floor for every m."""
    run_id, per_step = config.run_id, config.training.tokens_per_step
    rows = []
    for step in steps:
        for m in range(1, config.task.max_evaluated + 1):
            inside = m <= config.task.max_operations
            suite = "in_domain" if inside else "out_of_domain"
            for metric, value in (
                ("exact_match", exact_match(m, step)),
                ("guess_floor", 0.02),
            ):
                part = f"operations={m}"
                where = (run_id, step, step * per_step)
                rows.append(Measurement(*where, suite, metric, part, value, 500))
        where = (run_id, step, step * per_step)
        value = 2.0 - step / 100
        rows.append(Measurement(*where, "train", "loss", "horizon=1", value, 64))
    return rows


def write_run(root, config, rows, state="done", tail=""):
    """Write the folder of a run in one of its states."""
    folder = root / config.run_id
    folder.mkdir(parents=True)
    stored = {"run_id": config.run_id, "config": config.to_dict()}
    (folder / "config.json").write_text(json.dumps(stored))
    (folder / "metrics.jsonl").write_text(to_lines(rows) + tail)
    if state == "done":
        seconds = {"training": 12.0, "data": 0.5}
        result = {"run_id": config.run_id, "seconds": seconds, "lanes": 3}
        (folder / "result.json").write_text(json.dumps(result))
    if state == "failed":
        (folder / "failure.json").write_text(json.dumps({"message": "out of memory"}))
    return folder


def write_polynomial_sweep(
    root,
    gain=0.2,
    seeds=5,
    noise=0.01,
    horizons=(1, 2),
    scales=("10k",),
    pauses=(0,),
    rng_seed=5,
):
    """A sweep in which a longer horizon adds `gain`, the seed a shared shift."""
    rng = np.random.default_rng(rng_seed)
    for scale in scales:
        for pause in pauses:
            for seed in range(seeds):
                shared = 0.1 * rng.standard_normal()
                for horizon in horizons:
                    config = polynomial_run(horizon, seed, scale, pause)
                    own = noise * rng.standard_normal(9)

                    def exact_match(m, step, own=own, horizon=horizon, shared=shared):
                        top = 0.6 - 0.05 * m + shared + gain * (horizon > 1) + own[m]
                        return float(np.clip(top * step / 100, 0, 1))

                    write_run(root, config, polynomial_rows(config, exact_match))


@pytest.fixture
def sweep(tmp_path):
    """Ten finished runs, n = 1 and 2, five seeds."""
    write_polynomial_sweep(tmp_path / "polynomial-test")
    return tmp_path / "polynomial-test"


def other_seed(config, seed):
    """The same run with another seed."""
    return replace(config, seed=seed)
