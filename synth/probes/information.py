"""The information terms in a loss on two tokens, on sources of known entropy (5.2, L.2).

X is the next token, Y the one after, both given a prefix. Exact:

    H(X) = H(X|Y) + I(X;Y)
    H(X) + H(Y) = H(X|Y) + 2 I(X;Y) + H(Y|X)

so a loss on both tokens contains I(X;Y) twice; H(Y|X) returns at the next position. For a
model q in place of the source p (lemma L.3 of arXiv 2404.19737), with cross-entropies
H(p, q) and the relative mutual information

    I(p||q) = D(p || q_X x q_Y) - D(p || q) = H(p_X,q_X) + H(p_Y,q_Y) - H(p,q)

the same two lines hold with H(p_X, q_X), H(p_X|Y, q_X|Y) and I(p||q). The sign is
that of a saving: positive when knowing one token helps the model with the other. It is
not a divergence and may be negative.

Which q? A model gives no joint q(x, y) at one position. Two are measured:

- "chain": q(x, y) = head 1 now, times head 1 one token later, with every x tried; q_Y
  is the marginal of that joint. All quantities are those of one distribution.
- "heads": the same joint, but q_Y is the current prediction of head 2, as in the
  two-token loss. The identities still hold as algebra, with q(x|y) = q(x,y) / q_Y(y),
  which need not sum to 1.

Letters: B prefixes, V tokens, X and Y the axes of a pair.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch

from synth.metrics import Score
from synth.models.decoder import PredictionModel
from synth.objectives.declarations import Prediction
from synth.probes.calibration import against_exact, weighted
from synth.tasks.machines import Information, mean_information
from synth.tasks.sources import Sources
from synth.tasks.task import EvaluationSet

Joint = Literal["chain", "heads"]
BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class RelativeInformation:
    """Cross-entropies of a model under the source, means over prefixes, in nats."""

    x: float
    """H(p_X, q_X)."""
    y: float
    """H(p_Y, q_Y)."""
    joint: float
    """H(p, q)."""
    x_given_y: float
    """H(p_X|Y, q_X|Y) = E over y of the cross-entropy of x given y."""
    y_given_x: float
    """H(p_Y|X, q_Y|X)."""
    mutual: float
    """I(p||q), from the two divergences."""

    @property
    def x_error(self) -> float:
        """H(p_X,q_X) - H(p_X|Y,q_X|Y) - I(p||q): zero but for rounding."""
        return self.x - self.x_given_y - self.mutual

    @property
    def sum_error(self) -> float:
        """Left minus right side of the two-token form: zero but for rounding."""
        return self.x + self.y - self.x_given_y - 2 * self.mutual - self.y_given_x


def decompose(
    p_BXY: np.ndarray, log_q_BXY: np.ndarray, log_q_BY: np.ndarray | None = None
) -> RelativeInformation:
    """Every quantity from its own definition, so that the identities are tests.

    `log_q_BY` replaces the marginal of `log_q_BXY` over Y (the choice "heads").
    """
    p_BX, p_BY = p_BXY.sum(2), p_BXY.sum(1)
    log_q_BX = np.logaddexp.reduce(log_q_BXY, axis=2)
    if log_q_BY is None:
        log_q_BY = np.logaddexp.reduce(log_q_BXY, axis=1)
    log_apart_BXY = log_q_BX[:, :, None] + log_q_BY[:, None, :]
    given_y_BXY = log_q_BXY - log_q_BY[:, None, :]
    given_x_BXY = log_q_BXY - log_q_BX[:, :, None]
    return RelativeInformation(
        x=_mean_cross(p_BX, log_q_BX),
        y=_mean_cross(p_BY, log_q_BY),
        joint=_mean_cross(p_BXY, log_q_BXY),
        x_given_y=_mean_conditional(p_BXY, given_y_BXY, axis=1),
        y_given_x=_mean_conditional(p_BXY, given_x_BXY, axis=2),
        mutual=_mean_divergence(p_BXY, log_apart_BXY)
        - _mean_divergence(p_BXY, log_q_BXY),
    )


@dataclass(frozen=True)
class SourceReport:
    """One kind of prefix: exact entropies, and the model's for each choice of q."""

    prefixes: str
    """Which prefixes: "all", or the coupling of the pair that follows."""
    count: int
    exact: Information
    model: dict[Joint, RelativeInformation]

    def scores(self, suite: str = "information") -> list[Score]:
        """Long form; exact values have no q."""
        exact = {
            "entropy_x": self.exact.x,
            "entropy_y": self.exact.y,
            "entropy_x_given_y": self.exact.x_given_y,
            "entropy_y_given_x": self.exact.y_given_x,
            "mutual_information": self.exact.mutual,
        }
        label = f"prefixes={self.prefixes}"
        scores = [Score(suite, k, label, v, self.count) for k, v in exact.items()]
        for q, values in self.model.items():
            for name, value in asdict(values).items():
                metric = (
                    "relative_information"
                    if name == "mutual"
                    else f"cross_entropy_{name}"
                )
                slice_ = f"{label},q={q}"
                scores.append(Score(suite, metric, slice_, value, self.count))
            errors = {"x_error": values.x_error, "sum_error": values.sum_error}
            scores += [
                Score(suite, f"identity_{name}", f"{label},q={q}", value, self.count)
                for name, value in errors.items()
            ]
        return scores


def measure_information(
    model: PredictionModel, task: Sources, chosen: EvaluationSet, prefixes: int = 64
) -> list[SourceReport]:
    """Exact and relative quantities on up to `prefixes` prefixes of each kind.

    Coupled pairs: prefixes that end before X, by coupling. Other sources: one position
    of each row, spread over the row.
    """
    tokens_RT = chosen.rows.tokens_RT
    reports = []
    for name, index_B2 in _prefixes(task, chosen, prefixes).items():
        row_B, t_B = index_B2.T
        p_BXY = task.pairs(tokens_RT[row_B])[np.arange(len(row_B)), t_B]
        log_q_BXY, log_head2_BY = pair_predictions(model, tokens_RT[row_B], t_B)
        measured: dict[Joint, RelativeInformation] = {
            "chain": decompose(p_BXY, log_q_BXY)
        }
        if log_head2_BY is not None:
            measured["heads"] = decompose(p_BXY, log_q_BXY, log_head2_BY)
        exact = mean_information(p_BXY, np.ones(len(row_B)))
        reports.append(SourceReport(name, len(row_B), exact, measured))
    return reports


def information_scores(
    model: PredictionModel, task: Sources, chosen: EvaluationSet, prefixes: int = 64
) -> list[Score]:
    """The decomposition on some prefixes, and every head against p on all.

    D(p || q) of X by coupling is how well X is predicted as I(X;Y) grows.
    """
    reports = measure_information(model, task, chosen, prefixes)
    scores = [score for report in reports for score in report.scores()]
    return scores + against_exact(model, task, chosen)


@torch.no_grad()
def pair_predictions(
    model: PredictionModel, tokens_BT: np.ndarray, t_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """log q(x, y) by the chain, with every x tried, and log of head 2's q_Y; at t_B."""
    device, size = model.embedding_KVD.device, model.vocab_size
    chain = np.empty((len(t_B), size, size))
    second = np.empty((len(t_B), size)) if _predicts_second(model) else None
    for index, length in _batches(t_B + 1, size):
        shown = torch.from_numpy(tokens_BT[index, :length].astype(np.int64)).to(device)
        states = model.head_states(model.run_trunk(shown[None]), shown[None])
        logs = [_logs(model, state)[:, -1] for state in states[:2]]
        if second is not None:
            second[index] = logs[1]
        every = torch.arange(size, device=device).repeat(len(index))[:, None]
        tried = torch.cat([shown.repeat_interleave(size, 0), every], 1)
        states = model.head_states(model.run_trunk(tried[None]), tried[None])
        after = _logs(model, states[0])[:, -1].reshape(len(index), size, size)
        chain[index] = logs[0][:, :, None] + after
    return chain, second


def _predicts_second(model: PredictionModel) -> bool:
    """Whether head 2 predicts t+2 from x[..t] alone, which the decomposition needs."""
    return Prediction(2) in model.predictions[1:2]


def _logs(model: PredictionModel, state: torch.Tensor) -> np.ndarray:
    logits: np.ndarray = model.unembed(state)[0].double().log_softmax(-1).cpu().numpy()
    return logits


def _batches(length_B: np.ndarray, size: int) -> list[tuple[np.ndarray, int]]:
    """Batches of prefixes of equal length, small enough to try every next token."""
    batches = []
    for length in np.unique(length_B):
        index = np.flatnonzero(length_B == length)
        most = max(1, BATCH_TOKENS // (int(length + 1) * size))
        for start in range(0, len(index), most):
            batches.append((index[start : start + most], int(length)))
    return batches


def _prefixes(
    task: Sources, chosen: EvaluationSet, count: int
) -> dict[str, np.ndarray]:
    """Row and last position of the prefixes of each kind, (B, 2)."""
    role_RT = task.role(chosen, 1)
    role_RT = np.where(np.arange(role_RT.shape[1]) < role_RT.shape[1] - 2, role_RT, -1)
    prefixes = {}
    for number, role in enumerate(task.roles):
        if role != "token" and not role.startswith("X,"):
            continue
        index_B2 = np.argwhere(role_RT == number)
        if role == "token":
            # Past the tokens that reveal the state, every row at another position.
            first = min(task.config.order, role_RT.shape[1] - 3)
            usable = role_RT.shape[1] - 2 - first
            rows = np.arange(len(role_RT))
            index_B2 = np.stack([rows, first + rows * 7 % usable], axis=1)
        if len(index_B2):
            spread = np.linspace(0, len(index_B2) - 1, min(count, len(index_B2)))
            name = "all" if role == "token" else role.removeprefix("X,")
            prefixes[name] = index_B2[spread.astype(int)]
    return prefixes


def _mean_cross(p: np.ndarray, log_q: np.ndarray) -> float:
    """Mean over prefixes of -sum p log q, with 0 log 0 = 0."""
    return float(-weighted(p, log_q).reshape(len(p), -1).sum(1).mean())


def _mean_divergence(p: np.ndarray, log_q: np.ndarray) -> float:
    """Mean over prefixes of D(p || q)."""
    log_p = np.log(p, out=np.zeros_like(p), where=p > 0)
    return float(
        (p * np.where(p > 0, log_p - log_q, 0)).reshape(len(p), -1).sum(1).mean()
    )


def _mean_conditional(p_BXY: np.ndarray, log_q_BXY: np.ndarray, axis: int) -> float:
    """Mean of E over the condition of the cross-entropy along `axis`."""
    weight = p_BXY.sum(axis, keepdims=True)
    given = np.divide(p_BXY, weight, out=np.zeros_like(p_BXY), where=weight > 0)
    cross = -weighted(given, log_q_BXY).sum(axis, keepdims=True)
    return float((weight * cross).reshape(len(p_BXY), -1).sum(1).mean())
