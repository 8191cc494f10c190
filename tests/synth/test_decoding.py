"""Self-speculation against plain greedy decoding and a slow walk over its rows."""

import numpy as np
import pytest
import torch

from synth.config import ModelConfig
from synth.decoding import draft_heads, greedy_decode, speculate, why_no_drafts
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
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
from synth.tasks.task import Rows

CPU = torch.device("cpu")
VOCAB = 4
"""Few tokens, so that an untrained model accepts some drafts of every depth."""
LANES = 2
PARALLEL, CHAIN = MultiTokenConfig(horizon=3), ChainConfig(depth=2, budget="added")
INJECTED = TransferConfig(horizon=3, depth=0, injection=True)
CASES = [
    (PARALLEL, "attention", None),
    (MultiTokenConfig(horizon=3, layout="causal"), "attention", 2),
    (MultiTokenConfig(horizon=3, layout="anticausal"), "attention", None),
    (MultiTokenConfig(horizon=2, layout="linear"), "attention", None),
    (MultiTokenConfig(horizon=2, layout="same"), "attention", 2),
    (MyopicConfig(horizon=2), "attention", None),
    (CHAIN, "attention", None),
    (CHAIN, "mamba2", 2),
    (ChainConfig(depth=3, modules="shared"), "attention", None),
    (ChainConfig(depth=3, modules="shared"), "rwkv", 2),
    (TransferConfig(horizon=3, depth=2), "attention", 2),
    (INJECTED, "attention", 2),
    (TransferConfig(horizon=2, depth=1, injection=True), "attention", 2),
    (JointConfig(depth=3), "attention", None),
    (NextLatentConfig(depth=2), "attention", 2),
]
"""Every way to look ahead, every mixer, with and without an end token."""


def random_model(objective, mixer="attention", positions="rotary", context=None):
    """Untrained lanes whose arg-maxes differ from place to place."""
    config = ModelConfig(scale="d16-L4-h2", mixer=mixer, positions=positions)
    model = PredictionModel(config, objective, VOCAB, LANES, context)
    stds = model.initial_stds()
    stds["unembedding_KVD"] *= 30.0
    initialise(FlatLanes(model, torch.float32), stds, list(range(LANES)))
    return model


def random_rows(length=16):
    """Prompts of 1 to 9 random tokens, and answers up to the end of the row."""
    stream = np.random.default_rng(0)
    starts = np.repeat([1, 2, 9], 2)
    answer_RT = np.arange(length) >= starts[:, None]
    tokens_RT = stream.integers(1, VOCAB, answer_RT.shape)
    return Rows(tokens_RT, np.ones_like(tokens_RT), answer_RT)


def walk(model, decoded_RT, rows, lane, end_token):
    """Drafts checked and accepted at each depth, tokens, passes: one row at a time.

    Of one pass over the decoded row: drafts whose shallower ones were accepted have read
    what stands there.
    """
    heads = draft_heads(model.objective)
    checked, accepted = [0] * len(heads), [0] * len(heads)
    tokens = passes = 0
    for row, decoded in enumerate(decoded_RT):
        stop = len(decoded)
        start = int(rows.answer_RT[row].argmax())
        if end_token in decoded[start:]:
            stop = start + decoded[start:].tolist().index(end_token) + 1
        read = torch.from_numpy(decoded).expand(LANES, 1, -1)
        said = model(read)[:, lane, 0].argmax(-1)
        known, passes = start + 1, passes + 1
        while known < stop:
            right = 0
            for depth, head in enumerate(heads):
                if known + depth >= stop:
                    break
                checked[depth] += 1
                if said[head - 1, known - 2] != decoded[known + depth]:
                    break
                accepted[depth] += 1
                right += 1
            known, passes = min(known + right + 1, stop), passes + 1
        tokens += stop - start
    return checked, accepted, tokens, passes


@pytest.mark.parametrize(
    ("objective", "mixer", "end_token"),
    CASES,
    ids=lambda one: getattr(one, "arm", f"{one}"),
)
def test_speculation_equals_plain_decoding(objective, mixer, end_token):
    """Token for token; and drafts fare as a slow walk over the rows says."""
    model, rows = random_model(objective, mixer), random_rows()
    plain_KRT = greedy_decode(model, rows, CPU, end_token)
    found_KRT, counts = speculate(model, rows, CPU, end_token)
    assert np.array_equal(found_KRT, plain_KRT)
    for lane in range(LANES):
        expected = walk(model, plain_KRT[lane], rows, lane, end_token)
        assert counts.checked_KJ[lane].tolist() == expected[0]
        assert counts.accepted_KJ[lane].tolist() == expected[1]
        assert (counts.tokens_K[lane], counts.passes_K[lane]) == expected[2:]
    assert counts.accepted_KJ.sum() > 0
    assert counts.passes_K.sum() < counts.tokens_K.sum()


@pytest.mark.parametrize("objective", [PARALLEL, CHAIN, INJECTED], ids=lambda o: o.arm)
def test_learned_positions_end_with_the_row(objective):
    """Drafts beyond the last learned position are drawn and never read."""
    rows = random_rows()
    context = rows.tokens_RT.shape[1]
    model = random_model(objective, positions="learned", context=context)
    found_KRT, _ = speculate(model, rows, CPU)
    assert np.array_equal(found_KRT, greedy_decode(model, rows, CPU))


def test_arms_that_cannot_draft_say_why():
    for objective in (
        MultiTokenConfig(),
        MultiTokenConfig(horizon=2, stride=3),
        BagOfWordsConfig(),
        TokenOrderConfig(),
        RegistersConfig(),
    ):
        assert "no head predicts the token after next" in why_no_drafts(objective)
    assert "in one pass" in why_no_drafts(TeacherlessConfig())
    with pytest.raises(ValueError, match="n1 drafts nothing"):
        speculate(random_model(MultiTokenConfig()), random_rows(), CPU)
