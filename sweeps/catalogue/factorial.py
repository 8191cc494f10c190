"""Factorial designs: the form in which the catalogue declares its sweeps."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import Layout, MultiTokenConfig
from synth.objectives.objective import ObjectiveConfig
from synth.tasks.questions import QuestionTask
from synth.tasks.task import TaskConfig


@dataclass(frozen=True, kw_only=True)
class Factorial:
    """A full factorial design: every arm on every task and model at every seed."""

    tasks: tuple[TaskConfig, ...] = ()
    models: tuple[ModelConfig, ...]
    arms: tuple[ObjectiveConfig, ...]
    seeds: int
    training: TrainingConfig
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rates of arms, by name, where it is not that of `training`."""

    def runs(self) -> Iterator[RunConfig]:
        """All runs, task by task, model by model, arm by arm; seeds also seed the task."""
        axes = self.tasks, self.models, self.arms, range(self.seeds)
        for task, model, arm, seed in itertools.product(*axes):
            rate = self.rates.get(arm.arm, self.training.learning_rate)
            yield RunConfig(
                task=replace(task, **dict.fromkeys(task.seeds, seed)),
                model=model,
                objective=arm,
                training=replace(self.training, learning_rate=rate),
                seed=seed,
            )

    def single_example_runs(self) -> Iterator[RunConfig]:
        """The runs of question tasks, with a context of exactly one example."""
        for task in self.tasks:
            built = task.build()
            assert isinstance(built, QuestionTask)
            training = replace(self.training, context=built.length)
            yield from replace(self, tasks=(task,), training=training).runs()


def sized_models(*scales: str) -> tuple[ModelConfig, ...]:
    """Default models of these sizes."""
    return tuple(ModelConfig(scale=scale) for scale in scales)


def heads(
    horizons: Sequence[int],
    layouts: Sequence[Layout] = ("parallel",),
    scored: Literal["all", "answer"] = "all",
    budget: Literal["moved", "added"] = "moved",
) -> tuple[MultiTokenConfig, ...]:
    """Multi-token objectives for every horizon and layout; n = 1 has one layout."""
    return tuple(
        MultiTokenConfig(horizon=horizon, layout=layout, scored=scored, budget=budget)
        for horizon in horizons
        for layout in (layouts if horizon > 1 else ("parallel",))
    )
