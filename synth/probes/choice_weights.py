"""Do losses over several tokens weigh choice points more? (arXiv 2404.19737, 5.1, L.3)

By counting: a choice whose consequences are hard until it is seen appears in n (n+1) / 2
loss terms of an n-step predictor, an inconsequential token in n; in next-token prediction
both appear in one. Measured here: the shares of loss and gradient that fall on each role
of prediction, and whether free running suffers from wrong turns.

Letters: N horizons, R rows, T positions, V vocabulary, P parameters.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synth.metrics import Score
from synth.models.backward import token_losses
from synth.models.decoder import PredictionModel
from synth.objectives.batch.targets import make_targets
from synth.objectives.declarations import Prediction
from synth.objectives.objective import ObjectiveConfig
from synth.probes.calibration import log_probabilities
from synth.seeding import torch_seed
from synth.tasks.choice_points import ROLES
from synth.tasks.exact import ExactTask
from synth.tasks.task import EvaluationSet

WEIGHTY = ("choice", "consequent-undecided")
"""Roles whose terms are hard because of a choice that is not seen yet."""


@dataclass(frozen=True)
class Share:
    """The weight of one prediction and role in the training objective, on some rows."""

    prediction: Prediction
    role: str
    terms: int
    """Scored (position, head) pairs."""
    loss: float
    """Their part of the objective, in nats, as training weighs it."""
    gradient_norm: float
    """Norm of the gradient of that part, over all parameters."""
    trunk_norm: float
    """The same over what all heads share below them: embedding and trunk."""
    projection: float
    """<part, whole> / |whole|^2 of gradients: sums to 1 over all shares."""
    trunk_projection: float
    """The same over embedding and trunk."""


def measure_shares(
    model: PredictionModel,
    task: ExactTask,
    chosen: EvaluationSet,
    objective: ObjectiveConfig,
) -> list[Share]:
    """Loss and gradient of each prediction and role on `chosen`, in one batch.

    The objective is that of training: each head's mean over its own scored positions,
    weighted, summed over heads. Left out are readouts, which predict no single token, and
    registers, which stand beside the row and have no role in it.
    Weights with a schedule are taken at full strength. Its parts by prediction and role
    add up to it, and so do their gradients; norms do not, hence the projections.
    Predictions without a role (the question of a maze) are left out.
    """
    parameters = dict(model.named_parameters())
    below = torch.cat(
        [
            torch.full((p.numel(),), name.startswith(("embedding", "trunk")))
            for name, p in parameters.items()
        ]
    ).to(model.embedding_KVD.device)
    model.requires_grad_()
    try:
        parts = list(_objective_parts(model, task, chosen, objective))
        gradients = [_gradient(part.loss, parameters) for part in parts]
    finally:
        model.requires_grad_(False)
    whole = torch.stack(gradients).sum(0)
    return [
        Share(
            prediction=part.prediction,
            role=part.role,
            terms=part.terms,
            loss=part.loss.item(),
            gradient_norm=gradient.norm().item(),
            trunk_norm=gradient[below].norm().item(),
            projection=(gradient @ whole / (whole @ whole)).item(),
            trunk_projection=(
                gradient[below] @ whole[below] / (whole[below] @ whole[below])
            ).item(),
        )
        for part, gradient in zip(parts, gradients, strict=True)
    ]


@dataclass(frozen=True)
class _Part:
    """A differentiable piece of the objective."""

    prediction: Prediction
    role: str
    terms: int
    loss: Tensor


def _objective_parts(
    model: PredictionModel,
    task: ExactTask,
    chosen: EvaluationSet,
    objective: ObjectiveConfig,
) -> Iterator[_Part]:
    """The objective on all rows of `chosen`, piece by piece."""
    device, rows = model.embedding_KVD.device, chosen.rows
    tokens, example, answer = (
        torch.from_numpy(np.ascontiguousarray(values))[None].to(device)
        for values in (rows.tokens_RT.astype(np.int64), rows.example_RT, rows.answer_RT)
    )
    targets = make_targets(tokens, example, answer, objective)
    states = model.head_states(model.run_trunk(tokens), tokens)
    for index, (head, state) in enumerate(zip(model.plan, states, strict=True)):
        prediction = head.prediction
        wanted_KN = targets.tokens_NKBT[index].flatten(1)
        weight_N = head.weight * targets.weights_NKBT[index].flatten()
        logits_KNV = model.unembed(state).flatten(1, 2)
        loss_N = token_losses(logits_KNV, wanted_KN)[0] * weight_N
        role_N = torch.from_numpy(task.role_of(chosen, prediction).reshape(-1)).to(
            device
        )
        for number in torch.unique(role_N[(weight_N > 0) & (role_N >= 0)]).tolist():
            here = (weight_N > 0) & (role_N == number)
            yield _Part(
                prediction, task.roles[number], int(here.sum()), loss_N[here].sum()
            )


def _gradient(loss: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Gradient over all parameters as one float64 vector; zero where unused."""
    gradients = torch.autograd.grad(
        loss, list(parameters.values()), retain_graph=True, allow_unused=True
    )
    pieces = [
        torch.zeros_like(p) if g is None else g
        for g, p in zip(gradients, parameters.values(), strict=True)
    ]
    return torch.cat([piece.flatten() for piece in pieces]).double()


def share_scores(shares: list[Share], suite: str) -> list[Score]:
    """Shares of the whole by prediction and role, and by role alone.

    Metrics `term_share`, `loss_share`, `gradient_share` and `trunk_gradient_share` (of
    the sum of norms), `projection_share` and `trunk_projection_share`. The role
    "choice-point" joins the choice and the consequents that it leaves undecided.
    """
    columns: dict[str, Callable[[Share], float]] = {
        "term_share": lambda s: s.terms,
        "loss_share": lambda s: s.loss,
        "gradient_share": lambda s: s.gradient_norm,
        "trunk_gradient_share": lambda s: s.trunk_norm,
        "projection_share": lambda s: s.projection,
        "trunk_projection_share": lambda s: s.trunk_projection,
    }
    groups: dict[str, list[Share]] = {}
    for share in shares:
        groups.setdefault(f"{share.prediction.label},role={share.role}", []).append(
            share
        )
        groups.setdefault(f"role={share.role}", []).append(share)
        if share.role in WEIGHTY:
            groups.setdefault("role=choice-point", []).append(share)
    scores = []
    for metric, value in columns.items():
        whole = sum(map(value, shares))
        for label, members in groups.items():
            terms = sum(share.terms for share in members)
            fraction = sum(map(value, members)) / whole
            scores.append(Score(suite, metric, label, fraction, terms))
    return scores


@torch.no_grad()
def free_run(
    model: PredictionModel, tokens_RT: np.ndarray, start: int, greedy: bool
) -> np.ndarray:
    """Continue rows by head 1 from position `start` on, feeding its tokens back.

    Sampled at temperature 1 from a fixed stream, or greedy; (R, T).
    """
    device = model.embedding_KVD.device
    draw = torch.Generator(device).manual_seed(torch_seed(0, "choice-points", "free"))
    cache = model.start_decoding()
    shown = torch.from_numpy(tokens_RT[:, :start].astype(np.int64))[None].to(device)
    written = [shown]
    for _ in range(tokens_RT.shape[1] - start):
        logits_KBV = model.decode(shown, cache)
        if greedy:
            shown = logits_KBV.argmax(-1, keepdim=True)
        else:
            probabilities = logits_KBV.float().softmax(-1)[0]
            shown = torch.multinomial(probabilities, 1, generator=draw)[None]
        written.append(shown)
    return torch.cat(written, -1)[0].cpu().numpy()


def running_scores(
    model: PredictionModel, task: ExactTask, chosen: EvaluationSet, greedy: bool
) -> list[Score]:
    """Compare true prefixes (forced) with the model's own (free) by the same measure.

    The measure is the exact distribution: a token is possible when p allows it after
    the prefix. After its first impossible token a free run is derailed, and every later
    token of it counts as impossible. Metrics, with "forced" or "free" as the slice:
    `possible` (share of answer tokens), `sound` (share of examples without an
    impossible token), `right_choice` (share of choices that are the likeliest branch; a
    derailed run takes none), and `gap`, forced minus free `possible`. The generator
    itself has 1, 1 and 1 - slip. Forced `sound` multiplies the forced chances of an
    example's tokens. Greedy runs differ by their questions alone: choice points have
    none, so there a greedy run is one path, however many rows it fills.
    """
    suite = f"{chosen.suite}-{'greedy' if greedy else 'sampled'}"
    start = int(chosen.rows.answer_RT[0].argmax())
    choice_R1T = task.role(chosen, 1)[:, start - 1 : -1] == ROLES.index("choice")
    forced_possible, forced_right = _forced(model, task, chosen, start, greedy)
    written_RT = free_run(model, chosen.rows.tokens_RT, start, greedy)
    possible, right = walk_along(task, written_RT, start)
    values = {
        ("possible", "forced"): forced_possible,
        ("possible", "free"): possible,
        ("sound", "forced"): forced_possible.prod(1),
        ("sound", "free"): possible.all(1),
        ("right_choice", "forced"): forced_right[choice_R1T],
        ("right_choice", "free"): right[choice_R1T],
    }
    scores = [
        Score.mean(suite, metric, f"running={mode}", v)
        for (metric, mode), v in values.items()
        if v.size
    ]
    gap = float(forced_possible.mean() - possible.mean())
    return [*scores, Score(suite, "gap", "", gap, possible.size)]


def walk_along(
    task: ExactTask, tokens_RT: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each token from `start` on: possible so far, and a likeliest one; (R, T')."""
    possible = np.zeros((len(tokens_RT), tokens_RT.shape[1] - start), bool)
    right = np.zeros_like(possible)
    alive = np.arange(len(tokens_RT))
    for t in range(start, tokens_RT.shape[1]):
        if not len(alive):
            break
        p_RV = task.after(tokens_RT[alive, :t], 1)
        taken_R = p_RV[np.arange(len(alive)), tokens_RT[alive, t]]
        right[alive, t - start] = taken_R >= p_RV.max(1) - 1e-12
        alive = alive[taken_R > 0]
        possible[alive, t - start] = True
    return possible, right & possible


def _forced(
    model: PredictionModel,
    task: ExactTask,
    chosen: EvaluationSet,
    start: int,
    greedy: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Probability that head 1's token is possible, and likeliest, on true prefixes."""
    p_RTV = task.distributions(chosen.rows, 1)[:, start - 1 : -1]
    q_RTV = np.zeros_like(p_RTV)
    for part, logs_NRTV in log_probabilities(model, chosen.rows, heads=1):
        q_RTV[part] = np.exp(logs_NRTV[0, :, start - 1 : -1])
    if greedy:
        q_RTV = np.eye(q_RTV.shape[-1])[q_RTV.argmax(-1)]
    likeliest = p_RTV >= p_RTV.max(-1, keepdims=True) - 1e-12
    return (q_RTV * (p_RTV > 0)).sum(-1), (q_RTV * likeliest).sum(-1)
