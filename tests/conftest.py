"""What several tests share: tiny runs that train in well under a second."""

import dataclasses
import os
import time
from pathlib import Path

import hypothesis
import pytest
import torch

from sweeps import throughput
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.polynomial import PolynomialConfig

SLOW_STEPS = Path(__file__).parent / "slow_steps"
PATIENCE_S = 480.0
"""How long to wait for what must come: a busy machine may be fifty times slower."""


class Brake:
    """While it is on, the steps of child processes that have its variables are slow.

    So a run that is to be interrupted is surely not done by then, whatever the speed of
    the machine; `release` lets the rest of it run at full speed.
    """

    def __init__(self, path, step_seconds=0.25):
        self.path, self.step_seconds = path, step_seconds
        path.touch()

    def variables(self, *code):
        """For the environment of a child, which finds its packages in `code`."""
        paths = [*map(str, code), str(SLOW_STEPS), os.environ.get("PYTHONPATH", "")]
        return {
            "STEP_SECONDS": str(self.step_seconds),
            "STEP_BRAKE": str(self.path),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }

    def release(self):
        """From now on steps take what they take."""
        self.path.unlink(missing_ok=True)


@pytest.fixture
def brake(tmp_path):
    """A brake that is on."""
    return Brake(tmp_path / "brake")


@pytest.fixture
def common_processor(monkeypatch):
    """Throughputs by the common curve, whatever processor runs the tests."""
    monkeypatch.setattr(throughput, "curve_speeds", lambda: throughput.CURVE)


def wait_until(condition, seconds=PATIENCE_S, process=None):
    """Until a condition holds; fails when the process ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        ended = process is not None and process.poll() is not None
        assert not ended or condition(), process.communicate()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


# A busy machine draws and checks slowly; nothing is wrong with the example.
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(items):
    """Tests that wait for other processes may be kept waiting by a busy machine."""
    for item in items:
        waits = item.get_closest_marker("slow") or item.get_closest_marker("cluster")
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(1800 if waits else 900))


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory):
    """Derived files of the tests, made once: workers of xdist share them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTH_CACHE", str(folder / "synth-cache"))
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    """Bits depend on the number of threads."""
    torch.set_num_threads(1)


def tiny_run(horizon=1, seed=0, scale="d16-L4-h2", layout="parallel", **training):
    """A run of twelve steps on a small ring."""
    settings = {
        "steps": 12,
        "batch_rows": 4,
        "context": 48,
        "learning_rate": 3e-3,
        "warmup_steps": 2,
        "evaluate_every_steps": 5,
        "evaluation_examples": 4,
        "final_examples": 8,
    } | training
    return RunConfig(
        task=PolynomialConfig(modulus=3, degree=2, max_operations=2, max_evaluated=3),
        model=ModelConfig(scale=scale),
        objective=MultiTokenConfig(horizon=horizon, layout=layout),
        training=TrainingConfig(**settings),
        seed=seed,
    )


def with_training(config, **changes):
    """The same run with other training settings."""
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, **changes)
    )


TWO_STEPS = (
    "--scale d16-L2-h1 --steps 2 --warmup-steps 1 --batch-rows 2 --context 65 "
    "--evaluation-examples 2 --final-examples 4"
).split()
"""Options of `synth train` for the settings of `two_steps`."""


def two_steps(task, model=None, objective=None, **training):
    """A run of two steps on any task."""
    settings = {
        "steps": 2,
        "warmup_steps": 1,
        "batch_rows": 2,
        "context": 65,
        "evaluate_every_steps": 2,
        "evaluation_examples": 2,
        "final_examples": 4,
    } | training
    return RunConfig(
        task=task,
        model=model or ModelConfig(scale="d16-L2-h1"),
        objective=objective or MultiTokenConfig(),
        training=TrainingConfig(**settings),
    )
