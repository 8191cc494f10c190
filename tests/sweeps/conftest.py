"""A small sweep, a file that holds one, and launches of it in real processes."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from sweeps.__main__ import main
from synth.training import train
from tests.conftest import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]

MY_SWEEP = '''
"""A sweep of one's own."""

from collections.abc import Iterator

from sweeps.sweep import sweep
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.polynomial import PolynomialConfig


@sweep(figure="mine", claims=("C7",), scales=("quick", "small"))
def depths(scale: str) -> Iterator[RunConfig]:
    """Some depths, two horizons."""
    for layers in LAYERS:
        for horizon in (1, 2):
            for seed in range({"quick": SEEDS, "small": 7}[scale]):
                yield RunConfig(
                    task=PolynomialConfig(
                        modulus=3, degree=2, max_operations=2, max_evaluated=3
                    ),
                    model=ModelConfig(scale=f"d16-L{layers}-h2"),
                    objective=MultiTokenConfig(horizon=horizon),
                    training=TrainingConfig(
                        steps=STEPS,
                        batch_rows=4,
                        context=48,
                        learning_rate=3e-3,
                        warmup_steps=2,
                        evaluate_every_steps=5,
                        evaluation_examples=4,
                        final_examples=8,
                    ),
                    seed=seed,
                )
'''


@pytest.fixture
def tmp_path(tmp_path):
    """With nothing beside it: launches take finished runs from neighbouring folders."""
    alone = tmp_path / "alone"
    alone.mkdir()
    return alone


def write_sweep(folder, seeds=2, steps=12, layers=(3, 4)):
    """Write the file with so many seeds and steps, for models of these depths."""
    path, text = folder / "my_sweep.py", MY_SWEEP
    for name, value in (("SEEDS", seeds), ("STEPS", steps), ("LAYERS", layers)):
        text = text.replace(name, str(value))
    path.write_text(text)
    return path


@pytest.fixture
def sweep_file(tmp_path):
    """Writes the file into the folder of the test."""
    return lambda **sizes: write_sweep(tmp_path, **sizes)


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """The bytes of runs that were trained alone, one after another, undisturbed."""
    known = {}

    def contents(configs):
        for config in configs:
            if config.run_id not in known:
                root = tmp_path_factory.mktemp("calm")
                torch.set_num_threads(1)
                (outcome,) = train([config], root)
                assert outcome.state == "done", outcome
                known[config.run_id] = content(root, config)
        return [known[config.run_id] for config in configs]

    return contents


def variables(source):
    """For the environment of a command, which finds its packages in `source`."""
    return {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(source),
        "PYTHONWARNINGS": "error",
    }


def command(*arguments, source=REPOSITORY, brake=None):
    """`python -m sweeps` with its environment; workers obey the brake."""
    environment = os.environ | variables(source)
    if brake is not None:
        environment |= brake.variables(source)
    words = [sys.executable, "-m", "sweeps", *map(str, arguments)]
    return words, environment


STARTED = []


@pytest.fixture(autouse=True)
def _no_launch_outlives_its_test():
    """Also one that failed while a launch with slow steps had hours to go."""
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def start(*arguments, cwd, source=REPOSITORY, brake=None):
    """Start `python -m sweeps` in the background; it ends with the test."""
    words, environment = command(*arguments, source=source, brake=brake)
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


def call(*arguments, cwd, status=0):
    """Call `python -m sweeps` in this process and return what it printed.

    Its workers, if it has any, are processes as always. `call_process` is the whole
    command line, and costs the imports.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, variables(REPOSITORY)),
    ):
        ended = main([str(word) for word in arguments])
    printed = out.getvalue(), err.getvalue()
    assert ended == status, (ended, *printed)
    return printed[status == 2]


def call_process(*arguments, cwd, status=0, source=REPOSITORY):
    """Call `python -m sweeps` in a process of its own and return what it printed."""
    process = start(*arguments, cwd=cwd, source=source)
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == status, (process.returncode, out, err)
    return out if status != 2 else err


def content(root, config):
    """Everything that must be reproducible: metrics and weights, as bytes."""
    folder = root / config.run_id
    weights = f"checkpoint/step-{config.training.steps:09d}/weights.safetensors"
    return (folder / "metrics.jsonl").read_bytes(), (folder / weights).read_bytes()


def sessions(root, config):
    """How many processes have worked on a run."""
    stored = json.loads((root / config.run_id / "environment.json").read_bytes())
    return len(stored["sessions"])


def kill(process):
    """`kill -9`."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
