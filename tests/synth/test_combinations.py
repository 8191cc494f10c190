"""Every task trains with every mixer; layouts and objectives take turns."""

import itertools

import pytest

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.families import members
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.training import train

TASKS = members("task")

MIXERS = ("attention", "mamba2", "rwkv")
LAYOUTS = ("parallel", "causal", "anticausal", "linear")
CASES = [
    (kind, mixer, LAYOUTS[turn % 4], ("all", "answer")[turn // 4 % 2])
    for turn, (kind, mixer) in enumerate(itertools.product(TASKS, MIXERS))
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


@pytest.mark.parametrize(("kind", "mixer", "layout", "scored"), CASES)
def test_a_task_trains_with_a_mixer(tmp_path, kind, mixer, layout, scored):
    if kind == "text":
        scored = "all"  # running text has no answers
    config = RunConfig(
        task=task_of(kind, tmp_path),
        model=ModelConfig(scale="d16-L3-h2", mixer=mixer),
        objective=MultiTokenConfig(horizon=2, layout=layout, scored=scored),
        training=TWO_STEPS,
    )
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "done", outcome.message


def test_every_layout_and_loss_has_its_turn_with_every_mixer():
    for mixer in MIXERS:
        met = [case for case in CASES if case[1] == mixer]
        assert {layout for _, _, layout, _ in met} == set(LAYOUTS)
        assert {scored for *_, scored in met} == {"all", "answer"}
