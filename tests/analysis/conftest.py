"""Run folders made by hand: what analysis reads, without training anything."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.collect import collect
from analysis.parquet import write
from analysis.selection import SECOND_TOKEN
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.metrics import Measurement, to_lines
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.sources import SourcesConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.text.names import NameConfig


def polynomial_run(
    horizon=1, seed=0, scale="10k", pause=0, evaluated=4, objective=None
):
    """A run that is never trained, of n heads or of another objective."""
    return RunConfig(
        task=PolynomialConfig(
            modulus=2,
            degree=3,
            max_operations=2,
            max_evaluated=evaluated,
            pause_tokens=pause,
        ),
        model=ModelConfig(scale=scale),
        objective=objective or MultiTokenConfig(horizon=horizon),
        training=TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1),
        seed=seed,
    )


def polynomial_rows(config, exact_match, steps=(0, 50, 100), floor=0.02):
    """Long-form rows: `exact_match(m, step)` and its floor for every m."""
    run_id, per_step = config.run_id, config.training.tokens_per_step
    rows = []
    for step in steps:
        for m in range(1, config.task.max_evaluated + 1):
            inside = m <= config.task.max_operations
            suite = "in_domain" if inside else "out_of_domain"
            for metric, value in (
                ("exact_match", exact_match(m, step)),
                ("guess_floor", floor),
            ):
                part = f"operations={m}"
                where = (run_id, step, step * per_step)
                rows.append(Measurement(*where, suite, metric, part, value, 500))
        where = (run_id, step, step * per_step)
        value = exact_match(1, step)
        rows.append(Measurement(*where, "in_domain", "exact_match", "", value, 1000))
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
    floor=0.02,
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

                    rows = polynomial_rows(config, exact_match, floor=floor)
                    write_run(root, config, rows)


@pytest.fixture
def sweep(tmp_path):
    """Ten finished runs, n = 1 and 2, five seeds."""
    write_polynomial_sweep(tmp_path / "polynomial-test")
    return tmp_path / "polynomial-test"


def other_seed(config, seed):
    """The same run with another seed."""
    return replace(config, seed=seed)


STORIES = np.random.default_rng(9).uniform(-0.1, 0.1, 200)
"""How much easier or harder each test story is than the mean."""


def write_stories_sweep(
    root, sizes=("1M", "3M"), seeds=5, unseen=0.0, items=True, **effects
):
    """Stories, alone and with books, n = 1 and 2, with the effects that are named.

    gain: of n = 2; mix_gain: of the books, which also bring it earlier; end: of n = 1;
    rise: steps to the end without books.
    """
    rng = np.random.default_rng([2, len(sizes[0])])
    gain, mix_gain = effects.get("gain", 0.2), effects.get("mix_gain", 0.3)
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    cells = itertools.product(sizes, (0, 9), (1, 2), range(seeds))
    for size, parts, horizon, seed in cells:
        config = RunConfig(
            task=StoriesConfig(books_parts=parts, names=NameConfig(p_open=1.0)),
            model=ModelConfig(scale=size),
            objective=MultiTokenConfig(horizon=horizon),
            training=training,
            seed=seed,
        )
        end = effects.get("end", 0.3) + gain * (horizon > 1) + mix_gain * (parts > 0)
        end += 0.005 * rng.standard_normal()
        right = np.rint(np.clip(10 * (end + STORIES), 0, 10)).astype(int)
        end = right.sum() / (10 * len(right))
        rise = 40 if parts else effects.get("rise", 80)
        curve = {step: end * min(1.0, step / rise) for step in range(0, 101, 20)}
        numbers = [("test_seen", step, "", value) for step, value in curve.items()]
        numbers += [("test", 100, "tokens=seen", end)]
        numbers += [("test", 100, "tokens=unseen", unseen * end)]
        numbers += [("test_seen", 100, f"names={k}", end) for k in (2, 4)]
        rows = [
            Measurement(
                config.run_id, step, step * 128, suite, SECOND_TOKEN, part, value, 900
            )
            for suite, step, part, value in numbers
        ]
        folder = write_run(root, config, rows)
        if items:
            counts = {"right": right.tolist(), "number": [10] * len(right)}
            line = {
                "step": 100,
                "suite": "test_seen",
                "metric": SECOND_TOKEN,
                "slice": "",
            }
            (folder / "items.jsonl").write_text(json.dumps(line | counts) + "\n")


ONE_AND_FOUR = (MultiTokenConfig(), MultiTokenConfig(horizon=4))


def write_probed_sweep(root, seeds=5, choice_gain=0.3, objectives=ONE_AND_FOUR):
    """Choice points and coupled sources with what training and probes measure.

    All objectives but next-token prediction have the same gains.
    """
    rng = np.random.default_rng(3)
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    tasks = (ChoicePointsConfig(), SourcesConfig(family="coupled"))
    for task, objective, seed in itertools.product(tasks, objectives, range(seeds)):
        several = objective.arm != "n1"
        config = RunConfig(
            task=task,
            model=ModelConfig(scale="100k"),
            objective=objective,
            training=training,
            seed=seed,
        )
        noise = 0.01 * rng.standard_normal(3)
        fall = 0.8 + noise[0] / 10
        gain = choice_gain * several
        measured = [
            ("excess_loss", "horizon=1,role=choice", 1.0 - gain + noise[0]),
            ("excess_loss", "horizon=1,role=forced", 0.5),
            ("excess_loss", "horizon=1,role=X,coupling=0", 0.4),
            ("excess_loss", "horizon=1,role=X,coupling=1", 0.4 - gain + noise[1]),
        ]
        probed = [
            ("test", "term_share", "role=choice-point", 0.1 + 0.1 * several),
            ("test", "gradient_share", "role=choice-point", 0.2 + gain + noise[2]),
            ("test", "loss_share", "role=choice-point", 0.15 + gain + noise[1]),
        ]
        probed += [
            ("prediction-law", metric, f"path=head 1,layer={n},target=t+1", fall**n)
            for n in range(5)
            for metric in ("residual", "one_hot")
        ]
        part = "path=head 1,of=residual,target=t+1"
        probed.append(("prediction-law", "fit_slope", part, -0.1 + noise[1]))
        # Another objective has the better forced share, and another gap at equal share.
        forced = {50: 0.6 + 0.05 * several, 100: 0.8 + 0.05 * several}
        running = [
            (step, *number)
            for step, share in forced.items()
            for number in (
                ("possible", "running=forced", share),
                ("gap", "", 1 - share - gain / 2 + noise[1]),
            )
        ]
        at = (config.run_id, 100, 12800)
        learned = 60 - 200 * gain + 10 * (seed % 2)
        choices = [
            Measurement(config.run_id, step, step * 128, "test", "excess_loss",
                        "horizon=1,role=choice", 1.0 - 0.9 * (step >= learned), 100)
            for step in range(10, 100, 10)
        ]  # fmt: skip
        last = [Measurement(*at, "test", m, s, v, 100) for m, s, v in measured]
        folder = write_run(root, config, choices + last)
        rows = [Measurement(*at, suite, m, s, v, 100) for suite, m, s, v in probed]
        rows += [
            Measurement(config.run_id, step, step * 128, "test-sampled", m, s, v, 100)
            for step, m, s, v in running
        ]
        (folder / "probe-all.jsonl").write_text(to_lines(rows))


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """Tables of all families, as `collect` leaves them; a few hundred kB, made here."""
    root = tmp_path_factory.mktemp("analysis")
    write_polynomial_sweep(root / "p", scales=("10k", "30k"), pauses=(0, 5))
    write_stories_sweep(root / "s")
    write_probed_sweep(root / "c")
    for name in ("p", "s", "c"):
        write(collect(root / name).frame, root / "results" / f"{name}.parquet")
    return root / "results"
