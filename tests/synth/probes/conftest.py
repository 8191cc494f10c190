"""A run of a few steps on choice points, trained once for all probes."""

import pytest

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.run.execution import Execution
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.sources import SourcesConfig
from synth.training import train

CHOICES = ChoicePointsConfig(stretch=2, consequences=(1, 3), variations=2)
COUPLED = SourcesConfig(family="coupled", symbols=4, couplings=(0.0, 1.0), length=20)


def trained(root, task, horizon, layout="parallel"):
    config = RunConfig(
        task=task,
        model=ModelConfig(scale="d16-L5-h2"),
        objective=MultiTokenConfig(horizon=horizon, layout=layout),
        training=TrainingConfig(
            steps=6, batch_rows=4, context=48, warmup_steps=1, learning_rate=3e-3,
            evaluate_every_steps=3, evaluation_examples=8, final_examples=8,
        ),
    )  # fmt: skip
    (outcome,) = train([config], root, Execution(keep_checkpoints_every_steps=3))
    assert outcome.state == "done", outcome.message
    return root / config.run_id


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"), CHOICES, 3)


@pytest.fixture(scope="session")
def next_token_folder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"), CHOICES, 1)


@pytest.fixture(scope="session")
def source_folder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"), COUPLED, 2)
