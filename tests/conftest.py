"""What several tests share: tiny runs that train in well under a second."""

import dataclasses

import pytest
import torch

from synth.config import ModelConfig, ObjectiveConfig, RunConfig, TrainingConfig
from synth.tasks.polynomial import PolynomialConfig


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
        model=ModelConfig(scale=scale, layout=layout),
        objective=ObjectiveConfig(horizon=horizon),
        training=TrainingConfig(**settings),
        seed=seed,
    )


def with_training(config, **changes):
    """The same run with other training settings."""
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, **changes)
    )
