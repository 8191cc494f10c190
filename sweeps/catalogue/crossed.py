"""How the sweeps of the catalogue are written down: factors that are crossed."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import Layout, MultiTokenConfig
from synth.objectives.objective import ObjectiveConfig
from synth.tasks.questions import QuestionTask
from synth.tasks.task import TaskConfig


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """Every arm on every task and model, at so many seeds, with one training."""

    tasks: tuple[TaskConfig, ...] = ()
    models: tuple[ModelConfig, ...]
    arms: tuple[ObjectiveConfig, ...]
    seeds: int
    training: TrainingConfig

    def runs(self) -> Iterator[RunConfig]:
        """Task by task, model by model, arm by arm; what seeds draw of a task varies."""
        axes = self.tasks, self.models, self.arms, range(self.seeds)
        for task, model, arm, seed in itertools.product(*axes):
            yield RunConfig(
                task=replace(task, **dict.fromkeys(task.seeds, seed)),
                model=model,
                objective=arm,
                training=self.training,
                seed=seed,
            )

    def fitted(self) -> Iterator[RunConfig]:
        """The runs of tasks of questions, each with rows of one example."""
        for task in self.tasks:
            built = task.build()
            assert isinstance(built, QuestionTask)
            training = replace(self.training, context=built.length)
            yield from replace(self, tasks=(task,), training=training).runs()


def sized(*scales: str) -> tuple[ModelConfig, ...]:
    """Models that differ in size alone."""
    return tuple(ModelConfig(scale=scale) for scale in scales)


def heads(
    horizons: Sequence[int],
    layouts: Sequence[Layout] = ("parallel",),
    scored: Literal["all", "answer"] = "all",
    budget: Literal["moved", "added"] = "moved",
) -> tuple[MultiTokenConfig, ...]:
    """Every number of heads in every layout; layouts differ from two heads on."""
    return tuple(
        MultiTokenConfig(horizon=horizon, layout=layout, scored=scored, budget=budget)
        for horizon in horizons
        for layout in (layouts if horizon > 1 else ("parallel",))
    )
