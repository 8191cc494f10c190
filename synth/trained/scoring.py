"""Evaluate a checkpoint that lies in a run's folder."""

import os
import sys
from collections.abc import Mapping

import numpy as np
import torch

from synth.config import check_examples
from synth.decoding import greedy_decode
from synth.evaluation import task_scores, why_not_decoded
from synth.metrics import Score
from synth.models.decoder import PredictionModel
from synth.tasks.checks import evaluated
from synth.tasks.task import EvaluationSet
from synth.trained.loading import load


def evaluate_folder(
    name: str | os.PathLike[str],
    examples: int,
    step: int | None,
    free_running: bool,
    device: str,
    moved: Mapping[str, str] = {},
) -> list[Score]:
    """Scores of a run's checkpoint on the fixed sets of the split that it held out.

    The run is named as for `load`.
    """
    check_examples("examples", examples)
    run = load(name, step=step, device=device, moved=moved)
    model, task = run.model, run.task
    sets = evaluated(task, examples)
    if free_running:
        return _free_running(model, sets, torch.device(device))
    scores: list[Score] = []
    for chosen in sets:
        ((_, found),) = task_scores(model, task, chosen, torch.device(device))
        scores += found
    return scores


def _free_running(
    model: PredictionModel, sets: list[EvaluationSet], device: torch.device
) -> list[Score]:
    """Scores of the sets whose answers can be decoded; the others are named."""
    reasons = [why_not_decoded(chosen.rows) for chosen in sets]
    skipped = {f"{s.suite}: {why}" for s, why in zip(sets, reasons, strict=True) if why}
    if all(reasons):
        raise ValueError(
            f"There is no answer to decode ({', '.join(sorted(skipped))}). Evaluate "
            "without decoding, which is the default."
        )
    for line in sorted(skipped):
        print(f"left out {line}", file=sys.stderr)
    scores: list[Score] = []
    for chosen, why in zip(sets, reasons, strict=True):
        if not why:
            scores += free_running_scores(model, chosen, device)
    return scores


def free_running_scores(
    model: PredictionModel, chosen: EvaluationSet, device: torch.device
) -> list[Score]:
    """Per-token accuracy when the model's own answer tokens are fed back.

    Slices count answer tokens from 1; `sequence` is the share of answers without a
    mistake, end token included. Rows without an answer do not count.
    """
    rows = chosen.rows[np.flatnonzero(chosen.rows.answer_RT.any(1))]
    (decoded_RT,) = greedy_decode(model, rows, device)
    right_RT = (decoded_RT == rows.tokens_RT) & rows.answer_RT
    place_RT = np.cumsum(rows.answer_RT, 1) * rows.answer_RT
    scores = []
    for place in range(1, int(place_RT.max()) + 1):
        here, part = right_RT[place_RT == place], f"answer_token={place}"
        scores.append(Score.mean(chosen.suite, "free_running", part, here))
    whole_R = right_RT.sum(1) == rows.answer_RT.sum(1)
    return [*scores, Score.mean(chosen.suite, "free_running", "sequence", whole_R)]
