"""Every task trains with every objective; mixers and losses take turns."""

import dataclasses
import itertools

import pytest

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.families import members
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.token_order import TokenOrderConfig
from synth.objectives.transfer import TransferConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.training import train

TASKS = members("task")

MIXERS = ("attention", "mamba2", "rwkv")
LAYOUTS = ("parallel", "causal", "anticausal", "linear", "same")
ARMS = (
    *(MultiTokenConfig(horizon=2, layout=layout) for layout in LAYOUTS),
    ChainConfig(),
    ChainConfig(depth=2, modules="shared"),
    TokenOrderConfig(window=4),
    TransferConfig(injection=True),
)
CASES = [
    (kind, arm, MIXERS[turn % 3], ("all", "answer")[turn // 3 % 2])
    for turn, (kind, arm) in enumerate(itertools.product(TASKS, ARMS))
]
TWO_STEPS = TrainingConfig(
    steps=2,
    batch_rows=2,
    context=256,
    warmup_steps=1,
    evaluate_every_steps=2,
    evaluation_examples=2,
    final_examples=2,
)


def task_of(kind, folder):
    if kind == "text":
        corpus = folder / "corpus.txt"
        corpus.write_text("The fox saw the hen, and the hen saw the fox.\n" * 400)
        return TASKS[kind](corpus=str(corpus))
    if kind == "polynomial":
        return PolynomialConfig(modulus=2, degree=2, max_operations=2, max_evaluated=3)
    return TASKS[kind]()


@pytest.mark.parametrize(
    ("kind", "arm", "mixer", "scored"), CASES, ids=lambda one: getattr(one, "arm", one)
)
def test_a_task_trains_with_an_arm_and_a_mixer(tmp_path, kind, arm, mixer, scored):
    if kind == "text":
        scored = "all"  # running text has no answers
    config = RunConfig(
        task=task_of(kind, tmp_path),
        model=ModelConfig(scale="d16-L4-h2", mixer=mixer),
        objective=dataclasses.replace(arm, scored=scored),
        training=TWO_STEPS,
    )
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "done", outcome.message


def test_every_arm_has_its_turn_with_every_mixer_and_loss():
    for arm in ARMS:
        met = [case for case in CASES if case[1] is arm]
        assert {mixer for *_, mixer, _ in met} == set(MIXERS)
        assert {scored for *_, scored in met} == {"all", "answer"}
    assert {arm.kind for arm in ARMS} == set(members("objective"))
