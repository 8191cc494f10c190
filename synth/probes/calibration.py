"""Compares a model's distributions with the exact ones, by prediction and role.

Letters: N horizons, R rows, T positions, V vocabulary, P predictions. p is exact, q the
model's; everything is teacher-forced and in nats.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from synth.metrics import Score
from synth.models.decoder import PredictionModel
from synth.tasks.exact import ExactTask
from synth.tasks.task import EvaluationSet, Rows

BATCH_TOKENS = 8192
BINS = 15
"""Bins of equal width for the calibration error."""


def log_probabilities(
    model: PredictionModel, rows: Rows, heads: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """log q of every head over every token, batch by batch: rows and (N, R, T, V)."""
    device = model.embedding_KVD.device
    size = max(1, BATCH_TOKENS // rows.tokens_RT.shape[1])
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        tokens = torch.from_numpy(rows.tokens_RT[part].astype(np.int64)).to(device)
        with torch.no_grad():
            trunk = model.run_trunk(tokens[None])
            states = model.head_states(trunk, tokens[None])[:heads]
            logits = torch.stack([model.unembed(state)[0] for state in states])
            yield part, logits.double().log_softmax(-1).cpu().numpy()


@dataclass
class _Sums:
    """Values of one prediction and role, from all batches."""

    values: dict[str, list[np.ndarray]]

    def scores(self, suite: str, label: str) -> list[Score]:
        columns = {name: np.concatenate(parts) for name, parts in self.values.items()}
        count = len(columns["loss"])
        means = [
            Score(suite, name, label, float(values.mean()), count)
            for name, values in columns.items()
        ]
        error = expected_calibration_error(columns["confidence"], columns["accuracy"])
        return [*means, Score(suite, "calibration_error", label, error, count)]


def against_exact(
    model: PredictionModel, task: ExactTask, chosen: EvaluationSet
) -> list[Score]:
    """How far each head is from the exact distribution, by role of what it predicts.

    Metrics, means over predictions: `loss` (of the realised token) and `accuracy`;
    `entropy` (of p: the least expected loss) and `best_accuracy` (of p's arg-max);
    `divergence` D(p || q) and `total_variation`; `agreement` (arg-max of q is a
    likeliest token of p); `possible` (mass of q on tokens that p allows); `confidence`
    (largest q) and `calibration_error` (confidence against accuracy, 15 bins).
    """
    sums: dict[tuple[str, str], _Sums] = {}
    exact = [
        task.distributions_of(chosen.rows, prediction)
        for prediction in model.predictions
    ]
    for part, logs_NRTV in log_probabilities(model, chosen.rows):
        for number_of_head, prediction in enumerate(model.predictions):
            role_RT = task.role_of(chosen, prediction)[part]
            p_RTV, logs_RTV = exact[number_of_head][part], logs_NRTV[number_of_head]
            target_RT = np.roll(chosen.rows.tokens_RT[part], -prediction.offset, axis=1)
            known_RT = np.isfinite(p_RTV[..., 0])
            for number in np.unique(role_RT[known_RT & (role_RT >= 0)]):
                here = known_RT & (role_RT == number)
                compared = compare(p_RTV[here], logs_RTV[here], target_RT[here])
                key = (prediction.label, task.roles[number])
                entry = sums.setdefault(key, _Sums({name: [] for name in compared}))
                for name, values in compared.items():
                    entry.values[name].append(values)
    return [
        score
        for (label, role), entry in sorted(sums.items())
        for score in entry.scores(chosen.suite, f"{label},role={role}")
    ]


def compare(
    p_PV: np.ndarray, log_q_PV: np.ndarray, target_P: np.ndarray
) -> dict[str, np.ndarray]:
    """The metrics of `against_exact`, one value for each prediction."""
    rows = np.arange(len(p_PV))
    q_PV = np.exp(log_q_PV)
    log_p_PV = np.log(p_PV, out=np.zeros_like(p_PV), where=p_PV > 0)
    guess_P, best_P = q_PV.argmax(1), p_PV.max(1)
    entropy_P = -(p_PV * log_p_PV).sum(1)
    cross_P = -weighted(p_PV, log_q_PV).sum(1)
    return {
        "loss": -log_q_PV[rows, target_P],
        "accuracy": (guess_P == target_P).astype(float),
        "entropy": entropy_P,
        "best_accuracy": best_P,
        "divergence": cross_P - entropy_P,
        "total_variation": np.abs(p_PV - q_PV).sum(1) / 2,
        "agreement": (p_PV[rows, guess_P] >= best_P - 1e-12).astype(float),
        "possible": np.where(p_PV > 0, q_PV, 0).sum(1),
        "confidence": q_PV.max(1),
    }


def weighted(p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """p log q, and 0 wherever p is 0, also where q is 0 there too."""
    products: np.ndarray = np.multiply(p, log_q, out=np.zeros_like(p), where=p > 0)
    return products


def expected_calibration_error(
    confidence_P: np.ndarray, correct_P: np.ndarray
) -> float:
    """Mean distance of confidence from accuracy over bins of equal width.

    >>> round(expected_calibration_error(np.array([0.9, 0.9]), np.array([1.0, 0.0])), 6)
    0.4
    """
    bin_P = np.minimum((confidence_P * BINS).astype(int), BINS - 1)
    gap_B = np.bincount(bin_P, confidence_P - correct_P, minlength=BINS)
    return float(np.abs(gap_B).sum() / len(confidence_P))
