"""Every task trains with every objective; mixers and losses take turns."""

import dataclasses

import pytest

from synth.config import ModelConfig
from synth.families.family import members
from synth.objectives.bag_of_words import BagOfWordsConfig
from synth.objectives.chain import ChainConfig
from synth.objectives.joint import JointConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.myopic import MyopicConfig
from synth.objectives.next_latent import NextLatentConfig
from synth.objectives.registers import RegistersConfig
from synth.objectives.teacherless import TeacherlessConfig
from synth.objectives.token_order import TokenOrderConfig
from synth.objectives.transfer import TransferConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.training import train
from tests.conftest import two_steps

TASKS = members("task")

LAYOUTS = ("parallel", "causal", "anticausal", "linear", "same")
ARMS = {
    "multi-token": [MultiTokenConfig(horizon=2, layout=layout) for layout in LAYOUTS],
    "chain": [ChainConfig(), ChainConfig(depth=2, modules="shared")],
    "transfer": [TransferConfig(injection=True), TransferConfig(depth=0)],
    "token-order": [TokenOrderConfig(window=4)],
    "bag-of-words": [BagOfWordsConfig(window=4), BagOfWordsConfig()],
    "joint": [JointConfig(depth=2)],
    "next-latent": [NextLatentConfig(depth=2)],
    "registers": [RegistersConfig()],
    "teacherless": [TeacherlessConfig()],
    "myopic": [MyopicConfig(), MyopicConfig(horizon=2)],
}
"""Of each objective, forms that take turns from task to task."""


def cases():
    """Each task with each objective: kind of the task, arm, mixer, scored tokens."""
    for row, task in enumerate(TASKS):
        for column, arms in enumerate(ARMS.values()):
            arm, turn = arms[row % len(arms)], row + column
            mixer = arm.mixers[turn % len(arm.mixers)]
            yield task, arm, mixer, ("all", "answer")[turn // 3 % 2]


CASES = list(cases())


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
    config = two_steps(
        task_of(kind, tmp_path),
        ModelConfig(scale="d16-L4-h2", mixer=mixer),
        dataclasses.replace(arm, scored=scored),
        context=256,
        evaluation_examples=0,
        final_examples=2,
    )
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "done", outcome.message


def test_every_objective_has_its_turn_with_every_mixer_and_loss():
    assert set(ARMS) == set(members("objective"))
    for kind, arms in ARMS.items():
        met = [case for case in CASES if case[1].kind == kind]
        assert {case[1].arm for case in met} == {arm.arm for arm in arms}
        assert {mixer for *_, mixer, _ in met} == set(arms[0].mixers)
        assert {scored for *_, scored in met} == {"all", "answer"}
