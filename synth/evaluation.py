"""Evaluation: one teacher-forced pass in fp32, and a cached greedy decoder.

An answer comes out right under greedy decoding exactly when, given the question and the
right answer so far, every answer token is the arg-max; so exact match needs one forward
pass and no decoding. The decoder is the reference for that statement in the tests, and
gives free-running figures, where earlier mistakes are fed back.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from synth.prediction import Predictor, token_losses
from synth.tasks.task import EvaluationSet, Rows, TokenScores

MAX_POSITIONS = 8192
"""Positions of one lane in a batch of evaluation; fewer for large vocabularies."""
MAX_LOGITS = 1 << 22


@torch.no_grad()
def score_tokens(
    model: Predictor, chosen: EvaluationSet, device: torch.device
) -> list[TokenScores]:
    """What each lane of `model` says of every token of an evaluation set.

    Batches depend on the rows alone, so a lane scores as it would alone.
    """
    rows = chosen.rows
    num_lanes, horizon = model.num_lanes, model.horizon
    num_rows, time = rows.tokens_RT.shape
    shape = (num_lanes, horizon, num_rows, time)
    loss = np.zeros(shape, np.float32)
    correct = np.zeros(shape, bool)
    limit = min(MAX_POSITIONS, MAX_LOGITS // model.vocab_size)
    for index, length in _batches(rows, limit):
        tokens_BT = torch.from_numpy(
            rows.tokens_RT[index, :length].astype(np.int64)
        ).to(device)
        tokens_KBT = tokens_BT.expand(num_lanes, -1, -1)
        states = model.head_states(model.run_trunk(tokens_KBT))
        for ahead, state in enumerate(states, 1):
            if ahead >= length:
                break
            logits_KNV = model.unembed(state[:, :, : length - ahead]).flatten(1, 2)
            targets_KN = tokens_KBT[:, :, ahead:].flatten(1)
            part = (num_lanes, len(index), length - ahead)
            where = (slice(None), ahead - 1, index, slice(0, length - ahead))
            loss[where] = token_losses(logits_KNV, targets_KN).view(part).cpu()
            correct[where] = (logits_KNV.argmax(-1) == targets_KN).view(part).cpu()
    valid = np.zeros(shape[1:], bool)
    for ahead in range(1, min(horizon, time - 1) + 1):
        here, there = rows.example_RT[:, :-ahead], rows.example_RT[:, ahead:]
        valid[ahead - 1, :, :-ahead] = (here == there) & (here > 0)
    return [TokenScores(loss[k], correct[k], valid) for k in range(num_lanes)]


@torch.no_grad()
def greedy_decode(model: Predictor, rows: Rows, device: torch.device) -> np.ndarray:
    """Decode the answer of each row (one example a row) with head 1, feeding back.

    Returns tokens_KRT: the rows with their answer tokens replaced by decoded ones. Rows
    with questions of equal length share a batch; keys and values are cached.
    """
    num_lanes = model.num_lanes
    decoded = np.broadcast_to(rows.tokens_RT, (num_lanes, *rows.tokens_RT.shape)).copy()
    starts = rows.answer_RT.argmax(1)
    answers = rows.answer_RT.sum(1)
    for start, count in sorted(
        set(zip(starts.tolist(), answers.tolist(), strict=True))
    ):
        if count == 0:
            continue
        index = np.flatnonzero((starts == start) & (answers == count))
        for part in np.array_split(index, 1 + len(index) * int(start) // MAX_POSITIONS):
            prompt = torch.from_numpy(rows.tokens_RT[part, :start].astype(np.int64)).to(
                device
            )
            new = _continue(model, prompt.expand(num_lanes, -1, -1), int(count))
            decoded[:, part, start : start + count] = new.cpu().numpy()
    return decoded


def _continue(model: Predictor, tokens_KBT: Tensor, count: int) -> Tensor:
    """The `count` tokens that follow under greedy decoding, (K, B, count)."""
    cache = model.start_decoding()
    new: list[Tensor] = []
    for _ in range(count):
        tokens_KBT = model.decode(tokens_KBT, cache).argmax(-1, keepdim=True)
        new.append(tokens_KBT)
    return torch.cat(new, -1)


def _batches(rows: Rows, limit: int) -> Iterator[tuple[np.ndarray, int]]:
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
