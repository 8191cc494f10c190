"""Parameters, tokens and FLOP of runs, computed once for each distinct model."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from synth.config import ModelConfig, RunConfig
from synth.models.describe import describe_model, unembeddings_per_token
from synth.objectives.objective import ObjectiveConfig
from synth.tasks.task import TaskConfig, build_task


def model_description(config: RunConfig) -> dict[str, Any]:
    """Parameters, vocabulary and FLOPs of a run's model."""
    vocabulary = _vocabulary(_with_first_seeds(config.task))
    return _describe(
        config.model, config.objective, vocabulary, config.training.context
    )


def tokens(config: RunConfig) -> int:
    """Training positions of a whole run."""
    return config.training.steps * config.training.tokens_per_step


def flops_per_token(config: RunConfig) -> float:
    """FLOP of training on a token, forward and backward, with the logits of every token."""
    return float(model_description(config)["training_flops_per_token"])


def executed_flops_per_token(config: RunConfig) -> float:
    """Mean FLOP of training on a token, with only the logits that the loss needs."""
    task, context = _with_first_seeds(config.task), config.training.context
    logits = _unembeddings(task, config.objective, context)
    description = _describe(
        config.model, config.objective, _vocabulary(task), context, logits
    )
    return float(description["training_flops_per_token"])


def flops(config: RunConfig) -> float:
    """Executed FLOP of a whole run."""
    return tokens(config) * executed_flops_per_token(config)


def refuse_impossible(configs: Sequence[RunConfig]) -> None:
    """Check that every task has training rows of the context, and evaluation sets.

    Tasks that differ only in their own seeds (graphs, for instance) are checked once.

    Raises `ValueError` when the files of a text cannot be used, a task has no rows of a
    run's context, or no answers where they alone are scored, or evaluation rows are
    longer than the model's positions. Such runs would fail only in their jobs, some
    after hours, or train nothing.
    """
    seen: set[tuple[object, ...]] = set()
    for config in configs:
        first = replace(config, task=_with_first_seeds(config.task))
        training, learned = first.training, first.model.positions == "learned"
        examples = (training.evaluation_examples, training.final_examples)
        scored, blank = first.objective.scored, first.objective.decodes_at_once
        loss = (scored, blank)
        same = (first.task, first.split, learned, loss, training.context, *examples)
        try:
            if same not in seen:
                first.require_data()
            seen.add(same)
        except ValueError as error:
            raise ValueError(f"Run {config.run_id} is impossible: {error}") from error


def _with_first_seeds(task: TaskConfig) -> TaskConfig:
    """The task with its own seeds at 0; the same task if it has none."""
    return replace(task, **dict.fromkeys(task.seeds, 0))


@functools.cache
def _vocabulary(task: TaskConfig) -> int:
    return len(build_task(task).vocabulary)


@functools.cache
def _unembeddings(task: TaskConfig, objective: ObjectiveConfig, context: int) -> float:
    return unembeddings_per_token(build_task(task), objective, context)


@functools.cache
def _describe(
    model: ModelConfig,
    objective: ObjectiveConfig,
    vocabulary: int,
    context: int,
    unembeddings: float | None = None,
) -> dict[str, Any]:
    return describe_model(model, objective, vocabulary, context, unembeddings)
