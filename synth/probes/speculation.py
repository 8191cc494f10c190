"""How far drafts of a model's own heads are accepted, forced and free-running.

`acceptance` at depth k is the share of drafts of depth k that greedy decoding accepts, of
those whose shallower ones it accepted; `tokens_per_pass` is 1 + sum over k of the product
of the first k, the tokens that a pass of the trunk gives where rows do not end.

Free-running: rows are decoded by self-speculation (`synth.decoding`), answers or, where a
set has none that can be decoded, the second half of every row. `decoded_per_pass` is what
they took: decoded tokens by passes, those over the prompts included, so that short answers
gain less.

Forced: from every position of the rows, or of their answers, as far as the row goes on as
greedy decoding would; only there does one teacher-forced pass know what decoding says of
a draft. So a depth counts where head 1 says the row's next token, and those after it up to
the draft's own place.
"""

import numpy as np
import torch
from torch import Tensor

from synth.decoding import MAX_POSITIONS, DraftCounts, draft_heads, speculate
from synth.evaluation import PIECE_LOGITS, batches_by_length, why_not_decoded
from synth.metrics import Score
from synth.models.decoder import PredictionModel
from synth.objectives.batch.ahead import is_scored, shifted
from synth.tasks.task import EvaluationSet, Rows, Task


def speculation_scores(
    model: PredictionModel, task: Task, chosen: EvaluationSet
) -> list[Score]:
    """Scores of the first lane; without drafts, a pass gives one token."""
    device = model.embedding_KVD.device
    rows, end_token = chosen.rows, task.end_token if task.verifies else None
    if why_not_decoded(rows):
        rows, end_token = with_second_halves(rows), None
    if not draft_heads(model.objective):
        passes = int(rows.answer_RT.sum())
        return [
            Score(chosen.suite, "tokens_per_pass", f"running={mode}", 1.0, passes)
            for mode in ("forced", "free")
        ]
    forced = forced_counts(model, chosen.rows)
    free = speculate(model, rows, device, end_token)[1]
    tokens, passes = int(free.tokens_K[0]), int(free.passes_K[0])
    return [
        *_scores(chosen.suite, "forced", forced),
        *_scores(chosen.suite, "free", free),
        Score(
            chosen.suite, "decoded_per_pass", "running=free", tokens / passes, passes
        ),
    ]


def _scores(suite: str, mode: str, counts: DraftCounts) -> list[Score]:
    """Acceptance by depth, as far as drafts were checked, and tokens a pass."""
    scores, tokens, all_accepted = [], 1.0, 1.0
    pairs = zip(counts.checked_KJ[0], counts.accepted_KJ[0], strict=True)
    for depth, (checked, accepted) in enumerate(pairs, 1):
        if not checked:
            break
        share = float(accepted / checked)
        all_accepted *= share
        tokens += all_accepted
        part = f"running={mode},depth={depth}"
        scores.append(Score(suite, "acceptance", part, share, int(checked)))
    if scores:
        part = f"running={mode}"
        scores.append(Score(suite, "tokens_per_pass", part, tokens, scores[0].count))
    return scores


def with_second_halves(rows: Rows) -> Rows:
    """The rows with the second half of each, without padding, as its answer."""
    length_R1 = (rows.example_RT > 0).sum(1, keepdims=True)
    place_T = np.arange(rows.tokens_RT.shape[1])
    answer_RT = (place_T >= (length_R1 + 1) // 2) & (place_T < length_R1)
    return Rows(rows.tokens_RT, rows.example_RT, answer_RT)


@torch.no_grad()
def forced_counts(model: PredictionModel, rows: Rows) -> DraftCounts:
    """Drafts checked and accepted where rows go on as greedy decoding would."""
    device, num_lanes = model.embedding_KVD.device, model.num_lanes
    heads = draft_heads(model.objective)
    counts = DraftCounts.zeros(num_lanes, len(heads))
    scored = "all" if why_not_decoded(rows) else "answer"
    for index, length in batches_by_length(rows, MAX_POSITIONS):
        tokens, example, answer = (
            torch.from_numpy(part[index, :length]).to(device).expand(num_lanes, -1, -1)
            for part in (
                rows.tokens_RT.astype(np.int64),
                rows.example_RT,
                rows.answer_RT,
            )
        )
        next_KBT, *drafts_JKBT = _said(model, tokens, [1, *heads])
        as_decoded_KBT = next_KBT == shifted(tokens, 1)
        alive_KBT = as_decoded_KBT & is_scored(example, answer, 1, scored)
        for depth, draft_KBT in enumerate(drafts_JKBT):
            ahead = depth + 1
            checked_KBT = alive_KBT & is_scored(example, answer, ahead + 1, scored)
            accepted_KBT = checked_KBT & (draft_KBT == shifted(next_KBT, ahead))
            alive_KBT = accepted_KBT & shifted(as_decoded_KBT, ahead)
            counts.checked_KJ[:, depth] += checked_KBT.sum((1, 2)).cpu().numpy()
            counts.accepted_KJ[:, depth] += accepted_KBT.sum((1, 2)).cpu().numpy()
    return counts


def _said(model: PredictionModel, tokens_KBT: Tensor, heads: list[int]) -> list[Tensor]:
    """The likeliest tokens of some heads at every position, (K, B, T) each."""
    states = model.head_states(model.run_trunk(tokens_KBT), tokens_KBT)
    found = []
    for head in heads:
        said_KBT = torch.empty_like(tokens_KBT)
        said_KN = said_KBT.flatten(1)
        most = PIECE_LOGITS[tokens_KBT.device.type]
        for piece, logits_KNV in model.unembed_in_pieces(
            states[head - 1].flatten(1, 2), most
        ):
            said_KN[piece] = logits_KNV.argmax(-1)
        found.append(said_KN.view_as(tokens_KBT))
    return found
