"""Do states that lead to the same later token look alike? (arXiv 2604.06155)

The structure gain at offset k is a difference of two mean cosines of states, both over
pairs of positions: those whose token k places on is the same while the next one differs,
minus those whose token k places on differs. Nothing is gained by a state that says no
more than the next token. A state is what the unembedding of head 1 reads: its output
after the last norm.

Positions are those in an answer from which the answer goes on for k tokens, its end token
not counted; where a task has no answers, all that have k tokens after them in their
example. The source's code draws pairs at random, from 1,000 paths; the means here are
over all pairs.

Letters: B batch, T time, D width, S positions of all rows.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from synth.decoding import MAX_POSITIONS
from synth.evaluation import batches_by_length
from synth.metrics import Score
from synth.models.decoder import PredictionModel
from synth.tasks.task import EvaluationSet


@dataclass(frozen=True)
class SharedFuture:
    """Mean cosines of states, and the pairs that they are means over."""

    shared: float
    """Of pairs with the same token k places on and different next tokens."""
    shared_pairs: int
    other: float
    """Of pairs with different tokens k places on."""
    other_pairs: int


def compare_states(
    state_SD: np.ndarray, next_S: np.ndarray, later_S: np.ndarray
) -> SharedFuture:
    """Compare all pairs of states by their next and later tokens; NaN without a pair."""
    norm_S1 = np.linalg.norm(state_SD, axis=1, keepdims=True)
    unit_SD = state_SD.astype(np.float64) / np.maximum(norm_S1, 1e-8)
    everything = np.zeros(len(unit_SD), int)
    all_sum, all_pairs = _pairs_within(unit_SD, everything)
    same_sum, same_pairs = _pairs_within(unit_SD, later_S)
    both = np.unique(np.stack([later_S, next_S]), axis=1, return_inverse=True)[1]
    both_sum, both_pairs = _pairs_within(unit_SD, both)
    return SharedFuture(
        _ratio(same_sum - both_sum, same_pairs - both_pairs),
        same_pairs - both_pairs,
        _ratio(all_sum - same_sum, all_pairs - same_pairs),
        all_pairs - same_pairs,
    )


def _pairs_within(unit_SD: np.ndarray, group_S: np.ndarray) -> tuple[float, int]:
    """Sum of the cosines of all pairs within groups, and their number.

    The squared length of a sum of unit vectors is their number plus twice that sum.
    """
    number_S = np.unique(group_S, return_inverse=True)[1]
    size_G = np.bincount(number_S)
    sum_GD = np.zeros((len(size_G), unit_SD.shape[1]))
    np.add.at(sum_GD, number_S, unit_SD)
    own = float((unit_SD**2).sum())
    return (float((sum_GD**2).sum()) - own) / 2, int((size_G * (size_G - 1) // 2).sum())


def _ratio(total: float, pairs: int) -> float:
    return total / pairs if pairs else math.nan


def shared_future_scores(
    model: PredictionModel,
    chosen: EvaluationSet,
    offsets: tuple[int, ...],
    end_token: int | None,
) -> list[Score]:
    """Mean cosines and the structure gain at each offset, of a model of one lane."""
    found: list[Score] = []
    rows = chosen.rows
    inside_RT = rows.answer_RT if rows.answer_RT.any() else rows.example_RT > 0
    if end_token is not None:
        inside_RT = inside_RT & (rows.tokens_RT != end_token)
    state_RTD = head_states(model, chosen)
    for k in offsets:
        width = max(rows.tokens_RT.shape[1] - k, 0)
        here = slice(0, width)
        same_RT = rows.example_RT[:, here] == rows.example_RT[:, k:]
        kept_RT = inside_RT[:, here] & inside_RT[:, k:] & same_RT
        pairs = compare_states(
            state_RTD[:, here][kept_RT],
            rows.tokens_RT[:, 1 : 1 + width][kept_RT],
            rows.tokens_RT[:, k:][kept_RT],
        )
        found += [
            Score(
                chosen.suite,
                "similarity",
                f"offset={k},later=same",
                pairs.shared,
                pairs.shared_pairs,
            ),
            Score(
                chosen.suite,
                "similarity",
                f"offset={k},later=other",
                pairs.other,
                pairs.other_pairs,
            ),
            Score(
                chosen.suite,
                "structure_gain",
                f"offset={k}",
                pairs.shared - pairs.other,
                pairs.shared_pairs,
            ),
        ]
    return found


@torch.no_grad()
def head_states(model: PredictionModel, chosen: EvaluationSet) -> np.ndarray:
    """What head 1's unembedding reads at every position, (R, T, D); zeros on padding."""
    rows, device = chosen.rows, model.embedding_KVD.device
    state_RTD = np.zeros((*rows.tokens_RT.shape, model.embedding_KVD.shape[-1]), "f4")
    for index, length in batches_by_length(rows, MAX_POSITIONS):
        tokens_BT = torch.from_numpy(rows.tokens_RT[index, :length].astype(np.int64))
        tokens_1BT = tokens_BT[None].to(device)
        states = model.head_states(model.run_trunk(tokens_1BT), tokens_1BT)
        state_RTD[index, :length] = model.norm(states[0])[0].float().cpu().numpy()
    return state_RTD
