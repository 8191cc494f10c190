"""The structure gain against a loop over all pairs, and what it finds in a model."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from synth.config import ModelConfig
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.multi_token import MultiTokenConfig
from synth.probes.commands import SharedFutureProbe
from synth.probes.shared_future import (
    compare_states,
    head_states,
    shared_future_scores,
)
from synth.tasks.navigation import NavigationConfig
from synth.tasks.task import EvaluationSet, Rows

TASK = NavigationConfig(nodes=12, edge_probability=0.2, longest=7)


def new_model(horizon=1):
    objective = MultiTokenConfig(horizon=horizon, budget="added")
    config = ModelConfig(scale="d16-L2-h2", positions="learned")
    model = PredictionModel(config, objective, len(TASK.build().vocabulary), 1, 9)
    initialise(FlatLanes(model, torch.float32), model.initial_stds(), [0])
    return model


def slow_means(states, following, later):
    """Mean cosine of pairs with one later token and two next ones; of two later ones."""
    shared, other = [], []
    for i, j in itertools.combinations(range(len(states)), 2):
        lengths = np.linalg.norm(states[i]) * np.linalg.norm(states[j])
        cosine = float(states[i] @ states[j] / lengths)
        if later[i] != later[j]:
            other.append(cosine)
        elif following[i] != following[j]:
            shared.append(cosine)
    return shared, other


def test_means_over_pairs_equal_a_loop():
    rng = np.random.default_rng(0)
    states = rng.normal(0.3, 1.0, (60, 5))
    following, later = rng.integers(0, 3, 60), rng.integers(0, 4, 60)
    shared, other = slow_means(states, following, later)
    found = compare_states(states, following, later)
    assert (found.shared_pairs, found.other_pairs) == (len(shared), len(other))
    assert found.shared == pytest.approx(np.mean(shared))
    assert found.other == pytest.approx(np.mean(other))


def test_means_by_hand():
    """Three states along one axis or the other; the last shares its later token."""
    states = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    found = compare_states(states, np.array([1, 2, 3]), np.array([7, 8, 7]))
    assert found.shared == pytest.approx(math.sqrt(0.5))  # first and last
    assert found.other == pytest.approx(math.sqrt(0.5) / 2)  # 0 and sqrt(1/2)
    assert (found.shared_pairs, found.other_pairs) == (1, 2)


def test_without_a_pair_there_is_no_mean():
    for states in (np.ones((1, 2)), np.ones((2, 2))):
        same = np.zeros(len(states), int)
        found = compare_states(states, same, same)
        assert math.isnan(found.shared)
        assert math.isnan(found.other)
        assert found.shared_pairs == found.other_pairs == 0


def test_positions_lie_in_an_answer_that_goes_on():
    """Question and end do not count: of `s t a b c d \\n` a, b and c have a next token,
    a and b one that is two places on, a one that is three places on."""
    task = TASK.build()
    paths = [path for path in task.trained.nodes_PX if (path >= 0).sum() == 5][:6]
    chosen = EvaluationSet("test", task.rows_of(type(task.trained)(np.array(paths))))
    model = new_model()
    states = head_states(model, chosen)
    tokens = chosen.rows.tokens_RT
    found = {
        (score.metric, score.slice): score
        for score in shared_future_scores(model, chosen, (2, 3), task.end_token)
    }
    for k, places in ((2, (2, 3)), (3, (2,))):
        kept = [(row, place) for row in range(6) for place in places]
        shared, other = slow_means(
            [states[at] for at in kept],
            [tokens[row, place + 1] for row, place in kept],
            [tokens[row, place + k] for row, place in kept],
        )
        same = found["similarity", f"offset={k},later=same"]
        differ = found["similarity", f"offset={k},later=other"]
        assert (same.count, differ.count) == (len(shared), len(other))
        assert differ.value == pytest.approx(np.mean(other), abs=1e-5)
        if shared:
            gain = found["structure_gain", f"offset={k}"].value
            assert same.value == pytest.approx(np.mean(shared), abs=1e-5)
            assert gain == pytest.approx(np.mean(shared) - np.mean(other), abs=1e-5)


def test_rows_without_answers_count_whole_and_examples_stay_apart():
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 12, (4, 9))
    example = np.array([[1, 1, 1, 1, 2, 2, 2, 0, 0]] * 4, np.int32)
    rows = Rows(tokens.astype(np.int32), example, np.zeros_like(example, bool))
    found = shared_future_scores(new_model(), EvaluationSet("test", rows), (2,), None)
    pairs = sum(s.count for s in found if s.metric == "similarity")
    positions = 4 * (2 + 1)  # two of four tokens, one of three
    same_next_and_later = sum(
        tokens[r, t + 2] == tokens[q, u + 2] and tokens[r, t + 1] == tokens[q, u + 1]
        for (r, t), (q, u) in itertools.combinations(
            itertools.product(range(4), (0, 1, 4)), 2
        )
    )
    assert pairs == positions * (positions - 1) // 2 - same_next_and_later


def test_states_are_what_the_first_head_unembeds():
    model, task = new_model(horizon=2), TASK.build()
    chosen = task.evaluation_sets(20)[0]
    states = torch.from_numpy(head_states(model, chosen))
    tokens = torch.from_numpy(chosen.rows.tokens_RT.astype(np.int64))
    expected = model(tokens[None])[0]
    logits = states @ model.unembedding_KVD[0].T
    inside = torch.from_numpy(chosen.rows.example_RT > 0)
    assert torch.allclose(logits[inside], expected[0][inside], atol=1e-4)


@pytest.mark.parametrize("offsets", [(), (1,), (2, 0)])
def test_offsets_that_name_no_later_token_are_refused(offsets, next_token_folder):
    probe = SharedFutureProbe(names=(str(next_token_folder),), offsets=offsets)
    with pytest.raises(ValueError, match="--offsets must be numbers from 2 on"):
        probe.run_command()


def test_the_command_measures_a_run_on_any_task(next_token_folder, capsys):
    probe = SharedFutureProbe(names=(str(next_token_folder),), examples=20)
    assert probe.run_command() == 0
    out = capsys.readouterr().out
    assert out.count("structure_gain") == 2
    few = replace(probe, examples=0)
    with pytest.raises(ValueError, match="--examples"):
        few.run_command()
