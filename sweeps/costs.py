"""What runs cost, by arithmetic, with each distinct model described once."""

import functools
from typing import Any

from synth.config import ModelConfig, RunConfig
from synth.describe import describe_model
from synth.tasks.task import TaskConfig


def described(config: RunConfig) -> dict[str, Any]:
    """Parameters, vocabulary and FLOPs of a run's model."""
    training, horizon = config.training, config.objective.horizon
    return _model(config.model, horizon, _vocabulary(config.task), training.context)


def tokens(config: RunConfig) -> int:
    """Training positions of a whole run."""
    return config.training.steps * config.training.tokens_per_step


def flops_per_token(config: RunConfig) -> float:
    """Training cost of a token, forward and backward."""
    return float(described(config)["training_flops_per_token"])


def flops(config: RunConfig) -> float:
    """Training cost of a whole run."""
    return tokens(config) * flops_per_token(config)


@functools.cache
def _vocabulary(task: TaskConfig) -> int:
    return len(task.build().vocabulary)


@functools.cache
def _model(
    model: ModelConfig, horizon: int, vocabulary: int, context: int
) -> dict[str, Any]:
    return describe_model(model, horizon, vocabulary, context)
