"""Which attention heads look for what came after this token last time.

On rows that repeat a random segment of P tokens, an induction head at position t in a
later round attends to position t - P + 1, the token after the last occurrence of the
present one. Its prefix-matching score is the attention it puts there, averaged over
positions; an even spread would put 1 / (t + 1). After Olsson et al. (arXiv 2209.11895).

Letters: K lanes, B batch, T time, H attention heads, L layers.
"""

import numpy as np
import torch
from torch import Tensor

from synth.metrics import Score
from synth.models.decoder import PredictionModel
from synth.models.layer import Layer
from synth.models.mixers.attention import Attention
from synth.seeding import generator

SUITE = "prefix_matching"
PERIOD, ROUNDS, ROWS = 24, 3, 16


def repeated_segments(
    vocabulary: int, rounds: int = ROUNDS, rows: int = ROWS
) -> tuple[Tensor, int]:
    """Rows of a random segment of distinct tokens, repeated, (B, T), and its length.

    A small vocabulary has shorter segments.
    """
    rng = generator(0, "probe", SUITE)
    length = min(PERIOD, vocabulary)
    segments = np.stack([rng.permutation(vocabulary)[:length] for _ in range(rows)])
    return torch.from_numpy(np.tile(segments, rounds)), length


@torch.no_grad()
def prefix_matching(model: PredictionModel) -> Tensor:
    """Score of every attention head on the way to prediction head 1, (K, L, H).

    Rows are random tokens of the model's vocabulary, the same on every call, so any
    model can be measured, whatever it was trained on.
    """
    tokens, length = repeated_segments(model.vocab_size)
    tokens = tokens.to(model.embedding_KVD.device)
    x = model.embed(tokens.expand(model.num_lanes, -1, -1))
    at = torch.arange(length, tokens.shape[1], device=tokens.device)
    scores = []
    layers = model.answer_path()
    for layer in layers:
        if not isinstance(layer, Layer):
            break
        if not isinstance(layer.mixer, Attention):
            raise ValueError(
                "Prefix matching reads attention patterns; this model's ModelConfig.mixer "
                f"is {layer.kind!r}, which has none. Use a run with mixer 'attention'."
            )
        weights_KBHTT = layer.mixer.weights(x)
        there = weights_KBHTT[..., at, at - length + 1]
        scores.append(there.mean(dim=(1, 3)))
        x = layer(x)
    return torch.stack(scores, dim=1)


def prefix_scores(model: PredictionModel) -> list[Score]:
    """One score for every attention head of a model of one lane, and the largest."""
    scores_LH = prefix_matching(model)[0].cpu()
    count = ROWS * (ROUNDS - 1) * min(PERIOD, model.vocab_size)
    scores = [
        Score(SUITE, "attention", f"layer={layer},head={head}", float(value), count)
        for layer, heads in enumerate(scores_LH, 1)
        for head, value in enumerate(heads, 1)
    ]
    best = float(scores_LH.max())
    return [*scores, Score(SUITE, "attention", "best", best, count)]
