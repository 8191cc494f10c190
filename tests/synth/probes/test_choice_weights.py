"""Counts by brute force, shares of loss and gradient, forced and free running."""

import numpy as np
import pytest
import torch

from synth.models.backward import loss_and_backward
from synth.objectives.batch.targets import make_targets
from synth.probes.calibration import (
    against_exact,
    compare,
    expected_calibration_error,
    log_probabilities,
)
from synth.probes.choice_weights import (
    free_run,
    measure_shares,
    running_scores,
    share_scores,
    walk_along,
)
from synth.tasks.choice_points import ROLES, ChoicePointsConfig
from synth.trained.loading import load


def loss_terms(horizon, consequence):
    """Terms of the n-step loss that a choice not yet seen makes hard, one by one.

    The choice stands at position 0 and determines the `consequence` tokens after it; a
    term is a (position, head) pair that predicts any of them before position 0 is seen.
    There are n (n + 1) / 2 when the consequences outlast the horizon, else fewer.
    """
    return sum(
        1
        for position in range(-horizon - 1, consequence + 1)
        for head in range(1, horizon + 1)
        if position < 0 <= position + head <= consequence
    )


@pytest.fixture(scope="module")
def loaded(run_folder):
    run = load(run_folder)
    return run.config, run.model, run.task, run.task.evaluation_sets(24)[0]


@pytest.mark.parametrize("horizon", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [0, 1, 3, 7])
def test_terms_of_the_task_are_those_of_the_count(horizon, length):
    """Roles on real examples, in the middle of a row, against the count."""
    config = ChoicePointsConfig(consequences=(length,) * 3, variations=4, stretch=6)
    task = config.build()
    chosen = task.evaluation_sets(5)[0]
    weighty = [ROLES.index("choice"), ROLES.index("consequent-undecided")]
    found = sum(
        int(np.isin(task.role(chosen, h), weighty).sum()) for h in range(1, horizon + 1)
    )
    assert found == 5 * 3 * loss_terms(horizon, length)
    if length >= horizon - 1:
        assert found == 5 * 3 * horizon * (horizon + 1) // 2
    varied = sum(
        int((task.role(chosen, h) == ROLES.index("inconsequential")).sum())
        for h in range(1, horizon + 1)
    )
    assert varied == 5 * 3 * 4 * horizon


def test_parts_add_up_to_the_objective_and_its_gradient(loaded):
    """Against the trainer's own loss and backward pass, an independent code path."""
    config, model, task, chosen = loaded
    shares = measure_shares(model, task, chosen, config.objective)
    model.requires_grad_()
    model.zero_grad()
    tensors = [
        torch.from_numpy(np.array(values))[None]
        for values in (
            chosen.rows.tokens_RT.astype(np.int64),
            chosen.rows.example_RT,
            chosen.rows.answer_RT,
        )
    ]
    targets = make_targets(*tensors, config.objective)
    losses = loss_and_backward(model, targets)[:, 0]
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()]).double()
    model.requires_grad_(False)
    for horizon in (1, 2, 3):
        parts = [s.loss for s in shares if s.prediction.offset == horizon]
        assert sum(parts) == pytest.approx(losses[horizon - 1].item(), rel=1e-5)
    assert sum(s.projection for s in shares) == pytest.approx(1, abs=1e-6)
    assert sum(s.trunk_projection for s in shares) == pytest.approx(1, abs=1e-6)
    # <part, whole> summed with the whole's own norm: |whole|^2 from the trainer.
    norms = [s.gradient_norm for s in shares]
    assert max(norms) <= gradient.norm() * 3
    assert gradient.norm() <= sum(norms)
    assert not any(p.requires_grad for p in model.parameters())


def test_one_part_alone_has_the_gradient_of_its_loss(loaded):
    """With one role only, its norm is that of a plain backward pass."""
    config, model, task, chosen = loaded
    shares = measure_shares(model, task, chosen, config.objective)
    share = next(s for s in shares if (s.prediction.offset, s.role) == (2, "choice"))
    model.requires_grad_()
    model.zero_grad()
    tokens = torch.from_numpy(chosen.rows.tokens_RT.astype(np.int64))
    logs = model(tokens[None])[1, 0].log_softmax(-1)[:, :-2]
    nll = -logs.gather(-1, tokens[:, 2:, None])[..., 0]
    here = torch.from_numpy(task.role(chosen, 2)[:, :-2] == ROLES.index("choice"))
    loss = nll[here].sum() / nll.numel()
    loss.backward()
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.requires_grad_(False)
    assert share.loss == pytest.approx(loss.item(), rel=1e-5)
    assert share.gradient_norm == pytest.approx(
        torch.cat(grads).norm().item(), rel=1e-4
    )
    assert share.terms == int(here.sum())


def test_shares_sum_to_one_over_roles(loaded):
    config, model, task, chosen = loaded
    scores = share_scores(measure_shares(model, task, chosen, config.objective), "test")
    for metric in {s.metric for s in scores}:
        by_role = [
            s.value
            for s in scores
            if s.metric == metric
            and s.slice.startswith("role=")
            and s.slice != "role=choice-point"
        ]
        assert sum(by_role) == pytest.approx(1, abs=1e-6)


def test_batches_of_log_probabilities_are_the_forward_pass(loaded):
    _, model, _, chosen = loaded
    found = np.concatenate([x for _, x in log_probabilities(model, chosen.rows)], 1)
    tokens = torch.from_numpy(chosen.rows.tokens_RT.astype(np.int64))
    expected = model(tokens[None])[:, 0].double().log_softmax(-1)
    assert np.allclose(found, expected, atol=1e-5)


def test_the_exact_distribution_diverges_from_itself_by_nothing():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(6, 0.5), 200)
    p[:, 0] = 0
    p /= p.sum(1, keepdims=True)
    with np.errstate(divide="ignore"):
        found = compare(p, np.log(p), np.ones(200, int))
    assert np.allclose(found["divergence"], 0, atol=1e-12)
    assert np.allclose(found["total_variation"], 0)
    assert found["agreement"].all()
    assert np.allclose(found["possible"], 1)
    uniform = compare(p, np.full(p.shape, -np.log(6)), np.ones(200, int))
    assert np.allclose(uniform["loss"], np.log(6))
    assert np.allclose(uniform["divergence"], np.log(6) - uniform["entropy"])


def test_calibration_error_of_known_cases():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    calibrated = (rng.random(200_000) < confidence).astype(float)
    assert expected_calibration_error(confidence, calibrated) < 0.01
    assert expected_calibration_error(confidence, 1.0 * (confidence > 2)) == (
        pytest.approx(0.5, abs=0.01)
    )


def test_every_role_is_measured_at_every_horizon(loaded):
    _, model, task, chosen = loaded
    found = {(s.metric, s.slice) for s in against_exact(model, task, chosen)}
    for horizon in (1, 2, 3):
        for role in ROLES:
            if (horizon, role) == (1, "consequent-undecided"):
                continue
            label = f"horizon={horizon},role={role}"
            assert ("divergence", label) in found
            assert ("calibration_error", label) in found


def test_true_examples_are_possible_all_along(loaded):
    _, _, task, chosen = loaded
    possible, right = walk_along(task, chosen.rows.tokens_RT, 1)
    assert possible.all()
    choices = task.role(chosen, 1)[:, :-1] == ROLES.index("choice")
    assert 0.7 < right[choices].mean() <= 1


def test_a_wrong_token_derails_the_rest(loaded):
    _, _, task, chosen = loaded
    written = chosen.rows.tokens_RT.copy()
    written[0, 4] = 1
    possible, _ = walk_along(task, written, 1)
    assert possible[0, :3].all()
    assert not possible[0, 3:].any()
    assert possible[1:].all()


def test_free_running_repeats_and_greedy_follows_the_arg_max(loaded):
    _, model, _, chosen = loaded
    tokens = chosen.rows.tokens_RT
    first = free_run(model, tokens, 1, greedy=False)
    assert np.array_equal(first, free_run(model, tokens, 1, greedy=False))
    assert len(np.unique(first, axis=0)) > 1
    greedy = free_run(model, tokens[:1], 1, greedy=True)[0]
    expected = tokens[0, :1].tolist()
    for _ in range(len(greedy) - 1):
        shown = torch.tensor(expected)[None, None]
        state = model.head_states(model.run_trunk(shown), shown)[0]
        expected.append(int(model.unembed(state)[0, 0, -1].argmax()))
    assert greedy.tolist() == expected


class Exactly:
    """Stands in for a model: head 1 says the exact distribution."""

    horizon = 1

    def __init__(self, task, model):
        self.task, self.vocab_size = task, len(task.vocabulary)
        self.embedding_KVD = model.embedding_KVD

    def start_decoding(self):
        return []

    def decode(self, tokens_KBT, cache):
        cache.append(tokens_KBT[0].numpy())
        p = self.task.after(np.concatenate(cache, 1), 1)
        return torch.from_numpy(p).log()[None]

    def run_trunk(self, tokens_KBT):
        return tokens_KBT

    def head_states(self, z, tokens_KBT):
        return [z]

    def unembed(self, z):
        p = self.task.distributions(self.task.one_per_row(z[0].numpy()), 1)
        return torch.from_numpy(np.nan_to_num(p)).log()[None]


@pytest.mark.parametrize("greedy", [False, True])
def test_the_generator_itself_reaches_the_yardstick(loaded, greedy):
    _, model, task, chosen = loaded
    scores = running_scores(Exactly(task, model), task, chosen, greedy)
    found = {(s.metric, s.slice): s.value for s in scores}
    assert found["possible", "running=free"] == 1
    assert found["sound", "running=forced"] == pytest.approx(1)
    assert found["gap", ""] == pytest.approx(0, abs=1e-12)
    right = found["right_choice", "running=free"]
    expected = 1 if greedy else 1 - task.config.slip
    assert right == pytest.approx(expected, abs=0.12)


def test_an_untrained_model_is_far_below_it(loaded):
    _, model, task, chosen = loaded
    scores = running_scores(model, task, chosen, greedy=False)
    found = {(s.metric, s.slice): s.value for s in scores}
    assert found["possible", "running=free"] < found["possible", "running=forced"] < 0.7
