"""Teacherless training: nothing of an answer is read, in training or in evaluation."""

import dataclasses

import numpy as np
import pytest
import torch

from synth.config import RunConfig
from synth.decoding import greedy_decode
from synth.evaluation import score_tokens
from synth.models.backward import loss_and_backward
from synth.objectives.batch.targets import make_targets
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.teacherless import TeacherlessConfig
from synth.probes.layer_states import load_readable
from synth.run.store import RunFolder
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.repeats import Repeats, RepeatsConfig
from synth.tasks.task import EvaluationSet, Rows
from tests.conftest import tiny_run
from tests.synth.objectives.conftest import VOCAB, build

DEVICE = torch.device("cpu")
WORDS = np.random.default_rng(0).integers(1, VOCAB, (6, 8))


def questions(words=WORDS):
    """Rows whose answer begins at position 5."""
    answer_RT = np.broadcast_to(np.arange(8) >= 5, words.shape)
    return EvaluationSet("test", Rows(words, np.ones_like(words), answer_RT))


def batch():
    rows = questions().rows
    kinds = (np.int64, np.int32, np.bool_)
    arrays = (rows.tokens_RT, rows.example_RT, rows.answer_RT)
    return [
        torch.from_numpy(a.astype(k))[None] for a, k in zip(arrays, kinds, strict=True)
    ]


def test_it_is_next_token_prediction_on_replaced_inputs():
    """The slow form: a plain model reads dummies, and targets are the true tokens."""
    objective = TeacherlessConfig()
    model, flat = build(objective)
    tokens, example, answer = batch()
    flat.zero_grad()
    losses = loss_and_backward(model, make_targets(tokens, example, answer, objective))
    gradient = flat.gather_grad()

    plain, plain_flat = build(MultiTokenConfig())
    blanked = tokens.clone()
    blanked[answer] = 0
    plain_flat.zero_grad()
    logits = plain(blanked)[0, 0, :, :-1]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), tokens[0, :, 1:].flatten()
    )
    expected.backward()
    assert torch.allclose(losses[0, 0], expected, atol=1e-6)
    assert torch.allclose(gradient, plain_flat.gather_grad(), atol=1e-6)


def test_an_answer_is_decoded_in_one_pass_and_scored_so():
    """Scores and decoded answers agree, and do not depend on the true answers."""
    model, _ = build(TeacherlessConfig(), lanes=2)
    chosen = questions()
    decoded_KRT = greedy_decode(model, chosen.rows, DEVICE)
    assert not (decoded_KRT == chosen.rows.tokens_RT)[:, chosen.rows.answer_RT].all()
    assert (decoded_KRT == chosen.rows.tokens_RT)[:, ~chosen.rows.answer_RT].all()
    other = questions(decoded_KRT[0])
    assert (greedy_decode(model, other.rows, DEVICE) == decoded_KRT).all()
    scored = score_tokens(model, other, DEVICE)[0]
    answers = other.rows.answer_RT
    assert scored.correct_NRT[0, :, :-1][answers[:, 1:]].all()


def test_an_end_token_ends_an_answer():
    model, _ = build(TeacherlessConfig())
    rows = questions().rows
    free = greedy_decode(model, rows, DEVICE)[0]
    end = int(free[0, 5])
    ended = greedy_decode(model, rows, DEVICE, end_token=end)[0]
    assert ended[0, 5:].tolist() == [end, 0, 0]


def test_probes_that_show_answers_are_refused(tmp_path):
    config = RunConfig(task=ChoicePointsConfig(), objective=TeacherlessConfig())
    folder = RunFolder(tmp_path, config.run_id)
    folder.open(config)
    with pytest.raises(ValueError, match=r"^/\S+ was trained without reading answers"):
        load_readable(folder.path)


def test_no_example_holds_the_dummy():
    rows = ChoicePointsConfig().build().train_rows(0, 0, 64)
    assert (rows.tokens_RT[rows.example_RT > 0] != 0).all()


def test_examples_that_hold_the_dummy_are_refused(monkeypatch):
    config = dataclasses.replace(
        tiny_run(), task=RepeatsConfig(), objective=TeacherlessConfig()
    )
    config.require_data()
    whole = Repeats.train_rows

    def from_zero(self, *words):
        rows = whole(self, *words)
        return Rows(rows.tokens_RT - 1, rows.example_RT, rows.answer_RT)

    monkeypatch.setattr(Repeats, "train_rows", from_zero)
    with pytest.raises(
        ValueError, match=r"of Repeats hold the token of id 0, '_', which"
    ):
        config.require_data()
    dataclasses.replace(config, objective=MultiTokenConfig()).require_data()
