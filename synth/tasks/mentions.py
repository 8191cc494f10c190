"""Scores of repeated names: accuracy of both tokens, its splits, references, losses.

Letters in names: R rows, T positions, N horizons, M repeated mentions, V vocabulary,
I items (stories).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from synth.metrics import Metric, Score
from synth.tasks.task import (
    EvaluationSet,
    ItemCounts,
    Rows,
    Sample,
    TokenScores,
    prediction_scores,
)
from synth.tasks.text.corpus import SEPARATOR
from synth.tasks.text.roles import REPEAT_1, REPEAT_2, repeats, roles
from synth.tasks.text.tokenizer import Tokenizer

MENTION_METRICS = (
    Metric(
        "second_token_accuracy",
        "share",
        "higher",
        floor="second_token_majority",
        ceiling=1.0,
        learned=0.75,
    ),
    Metric("second_token_stderr", "share", None, floor=0.0),
    Metric("second_token_by_story", "share", "higher", floor=0.0, ceiling=1.0),
    Metric("second_token_loss", "nats", "lower", floor=0.0),
    Metric("second_token_oracle", "share", None, floor=0.0, ceiling=1.0),
    Metric("second_token_floor", "share", None, floor=0.0, ceiling=1.0),
    Metric("second_token_majority", "share", None, floor=0.0, ceiling=1.0),
    Metric("unseen_share", "share", None, floor=0.0, ceiling=1.0),
    Metric("first_token_accuracy", "share", "higher", floor=0.0),
    Metric("first_token_loss", "nats", "lower"),
    Metric("loss", "nats", "lower", floor="loss_floor"),
    Metric("loss_floor", "nats", None, floor=0.0),
    Metric("accuracy", "share", "higher", floor=0.0),
)
"""The metrics of `score_mentions`, which explains them."""
DISTANCES = (1, 16, 32, 64, 128, 256, 512, 1 << 20)
"""Edges of the slices by distance to the mention before, in tokens."""
COUNTED = ("", "guess=none")
"""Slices whose counts are kept story by story."""
MAX_ITEMS = 4096
"""Bounds the file: in larger sets, neighbouring stories are counted together."""


def story_set(
    suite: str,
    documents: Sequence[tuple[np.ndarray, np.ndarray]],
    nats: Sequence[np.ndarray] | None,
    seen_V: np.ndarray,
    length: int,
) -> EvaluationSet:
    """One document a row, cut or padded to `length`; labels for `score_mentions`.

    `documents` are tokens and marks; `nats` the known -log p of generated tokens.
    """
    shape = (len(documents), length)
    tokens_RT = np.zeros(shape, np.int64)
    mark_RT = np.zeros(shape, np.uint8)
    example_RT = np.zeros(shape, np.int32)
    for row, (tokens, marks) in enumerate(documents):
        size = min(length, len(tokens))
        tokens_RT[row, :size], mark_RT[row, :size] = tokens[:size], marks[:size]
        example_RT[row, :size] = 1
    role_RT = roles(mark_RT, example_RT)
    repeated = repeats(mark_RT, example_RT)
    row_M, at_M = repeated.row_M, repeated.at_M
    oracle_M, floor_M, majority_M = references(tokens_RT, role_RT, row_M, at_M)
    labels = {
        "role_RT": role_RT,
        "row_M": row_M,
        "at_M": at_M,
        "distance_M": repeated.distance_M,
        "names_M": _names_in_row(mark_RT)[row_M],
        "number_M": repeated.number_M,
        "seen_M": seen_V[tokens_RT[row_M, at_M]] & seen_V[tokens_RT[row_M, at_M - 1]],
        "oracle_M": oracle_M,
        "floor_M": floor_M,
        "majority_M": majority_M,
    }
    if nats is not None:
        labels["nats_RT"] = np.zeros(shape)
        for row, cost in enumerate(nats):
            size = min(length, len(cost))
            labels["nats_RT"][row, :size] = cost[:size]
    return EvaluationSet(
        suite, Rows(tokens_RT, example_RT, role_RT == REPEAT_2), labels
    )


def _names_in_row(mark_RT: np.ndarray) -> np.ndarray:
    """Number of different names in each row."""
    most = int(mark_RT.max(initial=0))
    return sum(
        (
            (mark_RT == mark).any(axis=1).astype(np.int64)
            for mark in range(2, most + 1, 2)
        ),
        start=np.zeros(len(mark_RT), np.int64),
    )


def references(
    tokens_RT: np.ndarray, role_RT: np.ndarray, row_M: np.ndarray, at_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether three fixed rules get each mention right.

    Oracle: the token that followed the same first token last time. Floor: the second
    token of the latest name. Majority: the most frequent second token so far. Floor and
    majority ignore the first token.
    """
    target_M = tokens_RT[row_M, at_M]
    before_M = _last_equal(tokens_RT)[row_M, at_M - 1]
    oracle = (before_M >= 0) & (tokens_RT[row_M, before_M + 1] == target_M)
    second_RT = (role_RT > 0) & (role_RT % 2 == 0)
    # The latest name before the first token of this mention, which is at at_M - 1.
    place_RT = np.where(second_RT, np.arange(tokens_RT.shape[1]), -1)
    latest_M = np.maximum.accumulate(place_RT, axis=1)[row_M, at_M - 2]
    known_M = (at_M >= 2) & (latest_M >= 0)
    floor = known_M & (tokens_RT[row_M, latest_M] == target_M)
    commonest_M = _commonest_so_far(tokens_RT, second_RT)[row_M, latest_M]
    majority = known_M & (commonest_M == target_M)
    return oracle, floor, majority


def _last_equal(tokens_RT: np.ndarray) -> np.ndarray:
    """Where each token stood last before, in its row; -1 where it is new."""
    order_RT = np.argsort(tokens_RT, axis=1, kind="stable")
    sorted_RT = np.take_along_axis(tokens_RT, order_RT, axis=1)
    again_RT = sorted_RT[:, 1:] == sorted_RT[:, :-1]
    last_RT = np.full(tokens_RT.shape, -1)
    found_RT = np.where(again_RT, order_RT[:, :-1], -1)
    np.put_along_axis(last_RT, order_RT[:, 1:], found_RT, axis=1)
    return last_RT


def _commonest_so_far(tokens_RT: np.ndarray, chosen_RT: np.ndarray) -> np.ndarray:
    """At each chosen place, the commonest of the row's chosen tokens up to there.

    Of equally common ones the smallest; -1 at other places.
    """
    best_RT = np.full(tokens_RT.shape, -1)
    seen: Counter[int] = Counter()
    row, best = -1, -1
    where = zip(*(axis.tolist() for axis in np.nonzero(chosen_RT)), strict=True)
    for (r, t), token in zip(where, tokens_RT[chosen_RT].tolist(), strict=True):
        if r != row:
            seen.clear()
            row, best = r, token
        seen[token] += 1
        ahead = seen[token] - seen[best]
        if ahead > 0 or (ahead == 0 and token < best):
            best = token
        best_RT[r, t] = best
    return best_RT


def score_mentions(chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
    """All scores of one suite.

    second_token_accuracy   head 1 at the second token of repeated mentions, with slices
                            tokens=seen|unseen, names=k, distance=a-b, mention=k;
                            guess=none are the mentions that neither of the two
                            guessing rules below gets right: only looking back does
    second_token_stderr     its standard error, over stories
    second_token_by_story   the mean over stories of each story's accuracy
    second_token_loss       nats at these tokens
    second_token_oracle, second_token_floor, second_token_majority, unseen_share
                            references: scores of rules that know no language
    first_token_accuracy, first_token_loss      the same for the first token
    loss                    mean over all tokens, horizon=i
    accuracy                of all tokens, by position
    loss_floor              nats a token of the choices made by the generator; slightly
                            above the least loss where a text has several derivations

    Of a model that was trained on answers, the last three are about second tokens of
    repeated mentions, and first tokens have no score.
    """
    suite, labels = chosen.suite, chosen.labels
    result = prediction_scores(chosen, scores, ("loss",))
    predicted_RT = np.roll(scores.valid_NRT[0], 1, axis=1)
    predicted_RT[:, 0] = False
    if "nats_RT" in labels:
        floor = labels["nats_RT"][predicted_RT]
        result.append(Score(suite, "loss_floor", "", float(floor.mean()), floor.size))
    row_M, at_M = labels["row_M"], labels["at_M"]
    if len(row_M) == 0:
        return result
    correct_M = scores.correct_NRT[0, row_M, at_M - 1].astype(np.float64)
    loss_M = scores.loss_NRT[0, row_M, at_M - 1]

    def add(metric: str, values: np.ndarray, slice_: str = "") -> None:
        if len(values):
            result.append(Score.mean(suite, metric, slice_, values))

    for slice_, inside_M in _slices(chosen).items():
        add("second_token_accuracy", correct_M[inside_M], slice_)
    add("second_token_loss", loss_M)
    add("second_token_oracle", labels["oracle_M"])
    add("second_token_floor", labels["floor_M"])
    add("second_token_majority", labels["majority_M"])
    add("unseen_share", ~labels["seen_M"])
    number_R = np.bincount(row_M)
    right_R = np.bincount(row_M, correct_M)
    stories = np.flatnonzero(number_R)
    add("second_token_by_story", right_R[stories] / number_R[stories])
    stderr = _standard_error(right_R[stories], number_R[stories])
    result.append(Score(suite, "second_token_stderr", "", stderr, len(stories)))
    row, at = np.nonzero((labels["role_RT"] == REPEAT_1) & predicted_RT)
    add("first_token_accuracy", scores.correct_NRT[0, row, at - 1])
    add("first_token_loss", scores.loss_NRT[0, row, at - 1])
    return result


def count_mentions(chosen: EvaluationSet, scores: TokenScores) -> list[ItemCounts]:
    """Second tokens of repeated mentions that head 1 got right, for each story."""
    row_M, at_M = chosen.labels["row_M"], chosen.labels["at_M"]
    if len(row_M) == 0:
        return []
    stories = len(chosen.rows)
    together = -(-stories // MAX_ITEMS)
    item_M, items = row_M // together, -(-stories // together)
    correct_M = scores.correct_NRT[0, row_M, at_M - 1]
    slices = _slices(chosen)
    return [
        ItemCounts(
            chosen.suite,
            "second_token_accuracy",
            name,
            np.bincount(item_M[slices[name] & correct_M], minlength=items),
            np.bincount(item_M[slices[name]], minlength=items),
        )
        for name in COUNTED
        if slices[name].any()
    ]


def _slices(chosen: EvaluationSet) -> dict[str, np.ndarray]:
    """Which mentions belong to each slice; the empty slice holds all."""
    labels = chosen.labels
    seen, names = labels["seen_M"], labels["names_M"]
    distance, number = labels["distance_M"], labels["number_M"]
    guessed = labels["floor_M"] | labels["majority_M"]
    slices = {
        "": np.ones(len(seen), bool),
        "tokens=seen": seen,
        "tokens=unseen": ~seen,
        "guess=none": ~guessed,
    }
    for k in np.unique(names).tolist():
        slices[f"names={k}"] = names == k
    for low, high in pairwise(DISTANCES):
        text = f"distance={low}-{high - 1}" if high < 1 << 20 else f"distance={low}+"
        slices[text] = (distance >= low) & (distance < high)
    for k in (2, 3, 4):
        slices[f"mention={k}"] = number == k
    slices["mention=5+"] = number >= 5
    return slices


def _standard_error(right_R: np.ndarray, number_R: np.ndarray) -> float:
    """Standard error of a ratio of sums over stories: mentions of a story correlate."""
    count = len(number_R)
    if count < 2:
        return float("nan")
    residual = right_R - right_R.sum() / number_R.sum() * number_R
    variance = count / (count - 1) * (residual**2).sum()
    return float(np.sqrt(variance) / number_R.sum())


def marked_text(
    tokens: np.ndarray, role: np.ndarray, decode: Callable[[list[int]], str]
) -> str:
    """The text with names in brackets; a scored second token follows a bar and a star.

    [Zorbel] met [Kindor]. "Hello, [Zor|bel*]!"
    """
    parts: list[str] = []
    at = 0
    while at < len(tokens):
        end = at + 1
        if (
            role[at] in (1, REPEAT_1)
            and end < len(tokens)
            and role[end] in (2, REPEAT_2)
        ):
            end += 1
            name = [decode([token]) for token in tokens[at:end].tolist()]
            scored = role[at + 1] == REPEAT_2
            inner = f"{name[0].strip()}|{name[1]}*" if scored else "".join(name).strip()
            parts.append(f" [{inner}]")
        else:
            while end < len(tokens) and role[end] == 0:
                end += 1
            parts.append(decode(tokens[at:end].tolist()))
        at = end
    return "".join(parts)


def story_sample(
    tokenizer: Tokenizer, tokens: np.ndarray, marks: np.ndarray, split: str
) -> Sample:
    """One document for people and programs, with a role for every token."""
    role = roles(marks[None], np.ones((1, len(marks)), np.int32))[0]
    firsts = np.flatnonzero((role == 1) & (np.append(role[1:], 0) == 2))
    names = [tokenizer.decode(tokens[i : i + 2].tolist())[1:] for i in firsts]
    record = {
        "text": tokenizer.decode(tokens.tolist()).removesuffix(SEPARATOR),
        "tokens": tokens.tolist(),
        "roles": role.tolist(),
        "names": names,
        "split": split,
    }
    pieces = [tokenizer.vocabulary[token] for token in tokens.tolist()]
    shown = marked_text(tokens, role, tokenizer.decode).removesuffix(SEPARATOR)
    return Sample(record, pieces, (role == REPEAT_2).tolist(), shown)
