"""Evaluate a checkpoint that lies in a run's folder."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synth.config import RunConfig
from synth.evaluation import greedy_decode, score_tokens, verified_scores
from synth.metrics import Score
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes
from synth.run import checkpoint as checkpoints
from synth.run.store import RunFolder
from synth.tasks.task import EvaluationSet, Rows


def load_model(
    folder: RunFolder,
    step: int | None = None,
    device: str = "cpu",
    moved: Mapping[str, str] = {},
) -> tuple[PredictionModel, RunConfig, int]:
    """The fp32 model of a run at a checkpoint (the newest whole one if `step` is None).

    Newer ones that cannot be used are named on standard error. `moved` says where files
    of the task lie now: `corpus`, `books`, `tokenizer_file`.

    Raises
    ------
    ValueError
        When the folder holds no run, or no such checkpoint, with the steps it has; why
        the checkpoint, or the newest one, cannot be used.
    """
    config = with_files_at(folder.config(), moved)
    steps = checkpoints.saved_steps(folder)
    if not steps:
        raise ValueError(f"{folder.path} has no checkpoint yet.")
    if step is not None and step not in steps:
        raise ValueError(
            f"{folder.path} has no checkpoint at step {step}; it has {steps}."
        )
    vocab_size = len(config.task.build().vocabulary)
    with torch.device(device):
        model = PredictionModel(
            config.model, config.objective, vocab_size, 1, config.training.context
        )
        lanes = FlatLanes(model, torch.float32)
    weights = lanes.lane(lanes.master_KP, 0)
    problems: list[str] = []
    for chosen in reversed(steps) if step is None else [step]:
        try:
            saved = checkpoints.load(folder, chosen)
            checkpoints.fill(weights, saved, str(checkpoints.path_at(folder, chosen)))
        except ValueError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            print(f"skipped: {problem}", file=sys.stderr)
        return model, config, chosen
    raise ValueError(f"No checkpoint can be used: {problems[0]}")


def with_files_at(config: RunConfig, moved: Mapping[str, str]) -> RunConfig:
    """The configuration with other places of its task's files, by field name.

    Raises
    ------
    ValueError
        Names an option that does not apply to the run, or files of other content.
    """
    task: Any = config.task
    for name, path in moved.items():
        owner: Any = (
            getattr(task, "tokenizer", None) if name == "tokenizer_file" else task
        )
        if not getattr(owner, name, ""):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} has no meaning: the run was made without one.")
        changed = dataclasses.replace(owner, **{name: path})
        whole = owner is task
        task = changed if whole else dataclasses.replace(task, tokenizer=changed)
    return dataclasses.replace(config, task=task) if moved else config


def evaluate_folder(
    path: Path,
    examples: int,
    step: int | None,
    free_running: bool,
    device: str,
    moved: Mapping[str, str] = {},
) -> list[Score]:
    """Scores of a run's checkpoint on the fixed sets of the split that it held out."""
    if examples < 1:
        raise ValueError(f"--examples must be at least 1; got {examples}.")
    path = path.resolve()
    folder = RunFolder(path.parent, path.name)
    model, config, _ = load_model(folder, step, device, moved)
    task = config.build_task()
    sets = task.evaluation_sets(examples)
    if free_running:
        return _free_running(model, sets, torch.device(device))
    scores: list[Score] = []
    for chosen in sets:
        (teacher_forced,) = score_tokens(model, chosen, torch.device(device))
        (verified,) = verified_scores(model, task, chosen, torch.device(device))
        scores += task.score(chosen, teacher_forced) + verified
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
            "without --free-running."
        )
    for line in sorted(skipped):
        print(f"left out {line}", file=sys.stderr)
    scores: list[Score] = []
    for chosen, why in zip(sets, reasons, strict=True):
        if not why:
            scores += free_running_scores(model, chosen, device)
    return scores


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
        here = place_RT == place
        share, count = float(right_RT[here].mean()), int(here.sum())
        scores.append(
            Score(chosen.suite, "free_running", f"answer_token={place}", share, count)
        )
    whole = (right_RT.sum(1) == rows.answer_RT.sum(1)).mean()
    scores.append(
        Score(chosen.suite, "free_running", "sequence", float(whole), len(rows))
    )
    return scores
