"""Which objective learns which task: every objective on every task, at a small size.

A run has *learned* its task when its first metric reaches the level that the task declares
(`Metric.learned`) in two evaluations in a row. Cells are compared by P(learned):
`python -m analysis learned cross-quick --plot`.

Heads, modules and maps are added on top of a full trunk where the objective allows it, so
all arms except the joint objective have the same depth to head 1. Left out are `sources`
and `discovery`, where learning is not an event, and `text`, which needs a file.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sweeps.catalogue.factorial import Factorial, sized_models
from sweeps.sweep import sweep
from synth.command_words import as_typed
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.bag_of_words import BagOfWordsConfig
from synth.objectives.chain import ChainConfig
from synth.objectives.joint import JointConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.myopic import MyopicConfig
from synth.objectives.next_latent import NextLatentConfig
from synth.objectives.objective import ObjectiveConfig
from synth.objectives.registers import RegistersConfig
from synth.objectives.teacherless import TeacherlessConfig
from synth.objectives.token_order import TokenOrderConfig
from synth.objectives.transfer import TransferConfig
from synth.tasks.blocksworld import BlocksworldConfig
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.countdown import CountdownConfig
from synth.tasks.graph_paths import GraphPathsConfig
from synth.tasks.k_hop import KHopConfig
from synth.tasks.maze import MazeConfig
from synth.tasks.mqar import MqarConfig
from synth.tasks.navigation import NavigationConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.sat import SatConfig
from synth.tasks.star import StarConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.task import TaskConfig
from synth.tasks.text.names import NameConfig

ARMS: tuple[ObjectiveConfig, ...] = (
    MultiTokenConfig(),
    MultiTokenConfig(horizon=2, budget="added"),
    MultiTokenConfig(horizon=4, budget="added"),
    ChainConfig(depth=1, budget="added"),
    TransferConfig(horizon=2, injection=True),
    TokenOrderConfig(),
    BagOfWordsConfig(),
    JointConfig(depth=2),
    NextLatentConfig(),
    RegistersConfig(),
    TeacherlessConfig(),
    MyopicConfig(),
)
FEW_ARMS = (ARMS[0], ARMS[2], ARMS[3], ARMS[5], ARMS[8])


@dataclass(frozen=True)
class CrossSetting:
    """Training of one task: batch, context, steps; loss on all tokens or on answers."""

    task: TaskConfig
    rows: int
    context: int
    steps: int
    answers: bool = False
    evaluations: int = 20
    examples: int = 128
    """Of each test set, at each of these evaluations; `final_examples` at the end."""
    final_examples: int = 500
    model: ModelConfig = sized_models("100k")[0]

    def runs(
        self, arms: tuple[ObjectiveConfig, ...], seeds: int
    ) -> Iterator[RunConfig]:
        """Every arm at every seed."""
        scored: Literal["all", "answer"] = "answer" if self.answers else "all"
        return Factorial(
            tasks=(self.task,),
            models=(self.model,),
            arms=tuple(replace(arm, scored=scored) for arm in arms),
            seeds=seeds,
            training=TrainingConfig(
                steps=self.steps,
                batch_rows=self.rows,
                context=self.context,
                learning_rate=4e-3,
                warmup_steps=self.steps // 20,
                evaluate_every_steps=self.steps // self.evaluations,
                evaluation_examples=self.examples,
                final_examples=self.final_examples,
            ),
        ).runs()


REPEATS = RepeatsConfig(symbols=48, min_period=6, max_period=16)
CHOICES = ChoicePointsConfig(branches=3, stretch=1, consequences=(1, 2, 3, 4))
POLYNOMIALS = PolynomialConfig(modulus=2, degree=3, max_operations=3, max_evaluated=5)


def quick_settings() -> tuple[CrossSetting, ...]:
    """Three tasks whose runs take seconds."""
    small = sized_models("30k")[0]
    return (
        CrossSetting(REPEATS, 32, 48, 400, model=sized_models("d64-L3-h4")[0]),
        CrossSetting(CHOICES, 16, 64, 400, model=sized_models("d24-L6-h2")[0]),
        # Examples count for each of five numbers of operations.
        CrossSetting(
            *(POLYNOMIALS, 16, 64, 600),
            answers=True,
            evaluations=10,
            examples=32,
            final_examples=320,
            model=small,
        ),
    )


def night_settings() -> tuple[CrossSetting, ...]:
    """Every task; a run takes half a minute to two minutes."""
    names = NameConfig(p_open=1.0, first_pieces=32, second_pieces=32, closed_names=16)
    return (
        CrossSetting(REPEATS, 32, 48, 1000),
        CrossSetting(MqarConfig(), 32, 64, 1500, answers=True),
        CrossSetting(KHopConfig(hops=2), 64, 42, 1500, answers=True),
        CrossSetting(CHOICES, 16, 64, 1500),
        CrossSetting(POLYNOMIALS, 16, 64, 3000, answers=True),
        # Four test sets of stories, four times as long as a training row.
        CrossSetting(
            *(StoriesConfig(names=names), 16, 128, 1500),
            answers=True,
            examples=6,
            final_examples=64,
        ),
        CrossSetting(
            StarConfig(degree=2, length=3, labels=8), 128, 18, 1500, answers=True
        ),
        CrossSetting(MazeConfig(cells=20), 32, 58, 1500, answers=True, examples=96),
        CrossSetting(
            CountdownConfig(numbers=3, largest_given=10, largest=50),
            128,
            16,
            1500,
            answers=True,
        ),
        CrossSetting(SatConfig(variables=5, ratio=3.0), 32, 65, 1500, answers=True),
        CrossSetting(
            GraphPathsConfig(nodes=50, edge_probability=0.15, longest=9),
            128,
            12,
            600,
        ),
        CrossSetting(BlocksworldConfig(paths=200), 128, 10, 800),
        CrossSetting(
            NavigationConfig(nodes=40, edge_probability=0.08),
            128,
            12,
            800,
        ),
    )


@sweep(
    figure="P(learned), objective by task",
    answers=f"which objective learns what: {as_typed('analysis learned cross-quick')}",
    scales=("quick", "night"),
    metric="mean:",  # of each task: several are learned by all in the end
    rates=(1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
)
def cross(scale: str) -> Iterator[RunConfig]:
    """Every objective on every task, small; at `quick` five objectives on three tasks."""
    quick = scale == "quick"
    for setting in quick_settings() if quick else night_settings():
        yield from setting.runs(FEW_ARMS if quick else ARMS, 3 if quick else 5)
