"""What runs cost, by arithmetic, with each distinct model described once."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from synth.config import ModelConfig, RunConfig
from synth.models.describe import describe_model, unembeddings_per_token
from synth.objectives.objective import ObjectiveConfig
from synth.tasks.task import TaskConfig


def described(config: RunConfig) -> dict[str, Any]:
    """Parameters, vocabulary and FLOPs of a run's model."""
    vocabulary, context = (
        _vocabulary(_drawn_first(config.task)),
        config.training.context,
    )
    return _model(config.model, config.objective, vocabulary, context)


def tokens(config: RunConfig) -> int:
    """Training positions of a whole run."""
    return config.training.steps * config.training.tokens_per_step


def flops_per_token(config: RunConfig) -> float:
    """The most that training a token costs, forward and backward: all logits."""
    return float(described(config)["training_flops_per_token"])


def executed_flops_per_token(config: RunConfig) -> float:
    """What a training token costs on average: with the logits that its loss needs."""
    vocabulary, context = (
        _vocabulary(_drawn_first(config.task)),
        config.training.context,
    )
    logits = _unembeddings(_drawn_first(config.task), config.objective, context)
    described = _model(config.model, config.objective, vocabulary, context, logits)
    return float(described["training_flops_per_token"])


def flops(config: RunConfig) -> float:
    """What a whole run executes."""
    return tokens(config) * executed_flops_per_token(config)


def refuse_impossible(configs: Sequence[RunConfig]) -> None:
    """Ask every task for training rows of the context, and for its evaluation sets.

    Of tasks that seeds draw, such as graphs, one stands for all.

    Raises
    ------
    ValueError
        When a task has no rows of a run's context, or evaluates longer ones than the
        model has positions: said here, not hours later.
    """
    seen: set[tuple[object, ...]] = set()
    for config in configs:
        drawn = replace(config, task=_drawn_first(config.task))
        same = (drawn.task, drawn.split, drawn.model, drawn.training)
        try:
            if same not in seen:
                drawn.task.build().require_rows(drawn.training.context)
                drawn.require_evaluation()
            seen.add(same)
        except ValueError as error:
            raise ValueError(f"Run {config.run_id} is impossible: {error}") from error


def _drawn_first(task: TaskConfig) -> TaskConfig:
    """The task with its own seeds at 0; the same one if it has none."""
    return replace(task, **dict.fromkeys(task.seeds, 0))


@functools.cache
def _vocabulary(task: TaskConfig) -> int:
    return len(task.build().vocabulary)


@functools.cache
def _unembeddings(task: TaskConfig, objective: ObjectiveConfig, context: int) -> float:
    return unembeddings_per_token(task.build(), objective, context)


@functools.cache
def _model(
    model: ModelConfig,
    objective: ObjectiveConfig,
    vocabulary: int,
    context: int,
    unembeddings: float | None = None,
) -> dict[str, Any]:
    return describe_model(model, objective, vocabulary, context, unembeddings)
