"""Evaluation: one teacher-forced pass in fp32, and answers that were decoded.

An answer comes out right under greedy decoding exactly when, given the question and the
right answer so far, every answer token is the arg-max; so exact match needs one forward
pass and no decoding. The decoder is the reference for that statement in the tests, and
gives free-running figures, where earlier mistakes are fed back. Where more than one
answer is right that statement does not hold, and a task verifies what was decoded.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from synth.decoding import MAX_POSITIONS, greedy_decode
from synth.metrics import Score
from synth.models.backward import token_losses
from synth.models.decoder import PredictionModel
from synth.objectives.declarations import Prediction
from synth.tasks.checks import scores_of
from synth.tasks.task import EvaluationSet, Rows, Task, TokenScores

PIECE_LOGITS = {"cpu": 1 << 18, "cuda": 1 << 25}
"""Logits held at once. On a CPU a megabyte: each pass over them finds them in the second
cache, where those of a whole batch would come from memory and go back."""


@torch.no_grad()
def score_tokens(
    model: PredictionModel, chosen: EvaluationSet, device: torch.device
) -> list[TokenScores]:
    """What each lane of `model` says of the tokens of an evaluation set.

    A model that is trained on answers alone is judged on answers alone, if the set has
    any: with a large vocabulary, logits of the other tokens cost most of an evaluation.
    Batches and pieces depend on the rows alone, so a lane scores as it would alone.
    """
    rows = chosen.rows
    num_lanes, predictions = model.num_lanes, model.predictions
    answers_alone = model.objective.scored == "answer" and rows.answer_RT.any()
    judged_RT = rows.answer_RT if answers_alone else rows.example_RT > 0
    valid_NRT = _valid(rows.example_RT, judged_RT, predictions)
    shape = (num_lanes, *valid_NRT.shape)
    loss = np.zeros(shape, np.float32)
    correct = np.zeros(shape, bool)
    for index, length in batches_by_length(rows, MAX_POSITIONS):
        tokens_BT = torch.from_numpy(
            rows.tokens_RT[index, :length].astype(np.int64)
        ).to(device)
        tokens_KBT = tokens_BT.expand(num_lanes, -1, -1)
        answer_BT = torch.from_numpy(rows.answer_RT[index, :length]).to(device)
        read_KBT = model.objective.inputs(tokens_KBT, answer_BT.expand_as(tokens_KBT))
        states = model.head_states(model.run_trunk(read_KBT), read_KBT)
        for number, (said, state) in enumerate(zip(predictions, states, strict=True)):
            row_S, at_S = np.nonzero(valid_NRT[number, index, :length])
            if not len(row_S):
                continue
            place_S = torch.from_numpy(row_S * length + at_S).to(device)
            targets_S = tokens_BT.flatten()[place_S + said.offset]
            state_KSD = state.flatten(1, 2)[:, place_S]
            found = _judged(model, state_KSD, targets_S)
            where = (slice(None), number, index[row_S], at_S)
            loss[where], correct[where] = (part.cpu().numpy() for part in found)
    said_by = tuple(predictions)
    return [
        TokenScores(loss[k], correct[k], valid_NRT, said_by) for k in range(num_lanes)
    ]


def _valid(
    example_RT: np.ndarray, judged_RT: np.ndarray, predictions: Sequence[Prediction]
) -> np.ndarray:
    """Whether each prediction has a judged target in its own example, (N, R, T)."""
    valid_NRT = np.zeros((len(predictions), *example_RT.shape), bool)
    for valid_RT, said in zip(valid_NRT, predictions, strict=True):
        here, there = example_RT[:, : -said.offset], example_RT[:, said.offset :]
        if there.size:
            judged = judged_RT[:, said.offset :]
            valid_RT[:, : -said.offset] = (here == there) & (here > 0) & judged
    return valid_NRT


def _judged(
    model: PredictionModel, state_KSD: Tensor, targets_S: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of each target, and whether it is the likeliest token, both (K, S)."""
    shape = state_KSD.shape[:2]
    loss_KS = state_KSD.new_empty(shape, dtype=torch.float32)
    right_KS = state_KSD.new_empty(shape, dtype=torch.bool)
    most = PIECE_LOGITS[state_KSD.device.type]
    for piece, logits_KSV in model.unembed_in_pieces(state_KSD, most):
        targets_KS = targets_S[piece[1]].expand(len(logits_KSV), -1)
        loss_KS[piece] = token_losses(logits_KSV, targets_KS)
        right_KS[piece] = likeliest(logits_KSV, targets_KS)
    return loss_KS, right_KS


def likeliest(logits_KSV: Tensor, targets_KS: Tensor) -> Tensor:
    """Whether each target is the arg-max; overwrites the targets' logits.

    Torch's arg-max costs twenty times its maximum on a CPU, so the target is compared
    with the maximum of the others. Of equal logits the first counts, as for arg-max.
    """
    targets_KS1 = targets_KS[..., None]
    target_KS = logits_KSV.gather(-1, targets_KS1).squeeze(-1)
    others_KSV = logits_KSV.scatter_(-1, targets_KS1, -torch.inf)
    other_KS = others_KSV.amax(-1)
    right_KS = target_KS > other_KS
    tied_KS = target_KS == other_KS
    if tied_KS.any():
        right_KS |= tied_KS & (targets_KS < others_KSV.argmax(-1))
    return right_KS


def why_not_decoded(rows: Rows) -> str:
    """Why the answers of `rows` cannot be decoded; empty if they can.

    Decoding goes on from the question to the end of one stretch of answer tokens.
    """
    if not rows.answer_RT.any():
        return "it has no answers"
    begins_RT = np.diff(rows.answer_RT.astype(np.int8), axis=1, prepend=0) == 1
    if (begins_RT.sum(1) > 1).any():
        return "its rows have several answers"
    return "an answer has no question before it" if begins_RT[:, 0].any() else ""


def task_scores(
    model: PredictionModel, task: Task, chosen: EvaluationSet, device: torch.device
) -> list[tuple[TokenScores, list[Score]]]:
    """What the task makes of each lane, teacher-forced and decoded, with its tokens.

    Raises `ValueError` when the task returns anything but scores.
    """
    scored = score_tokens(model, chosen, device)
    verified = verified_scores(model, task, chosen, device)
    return [
        (tokens, scores_of(task, "score", task.score(chosen, tokens)) + decoded)
        for tokens, decoded in zip(scored, verified, strict=True)
    ]


def verified_scores(
    model: PredictionModel, task: Task, chosen: EvaluationSet, device: torch.device
) -> list[list[Score]]:
    """The task's scores of the answers of each lane; none where it verifies nothing."""
    if not task.verifies:
        return [[] for _ in range(model.num_lanes)]
    decoded_KRT = greedy_decode(model, chosen.rows, device, task.end_token)
    return [
        scores_of(task, "verify", task.verify(chosen, decoded_RT))
        for decoded_RT in decoded_KRT
    ]


def batches_by_length(rows: Rows, limit: int) -> Iterator[tuple[np.ndarray, int]]:
    """Row numbers by length, longest last, with the length to which they are cut."""
    lengths = (rows.example_RT > 0).sum(1)
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        # As many rows as fit if all were as long as the last one of the batch.
        last = first + 1
        while last < len(order) and (last + 1 - first) * lengths[order[last]] <= limit:
            last += 1
        yield order[first:last], int(lengths[order[last - 1]])
        first = last
