"""The teacher-forced pass against the cached greedy decoder, and against slow forms."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig
from synth.evaluation import greedy_decode, score_tokens
from synth.models.heads import MultiTokenModel
from synth.models.lanes import FlatLanes, initialise
from synth.scoring import evaluate_folder, free_running_scores, load_model
from synth.store import RunFolder
from synth.tasks.polynomial import PolynomialConfig
from synth.training import train
from tests.conftest import tiny_run

CPU = torch.device("cpu")
TASK = PolynomialConfig(modulus=3, degree=2, max_operations=2, max_evaluated=3).build()


def random_model(layout="parallel", horizon=2, lanes=2, sharpness=30.0):
    """Untrained, with logits large enough that arg-maxes differ from place to place."""
    config = ModelConfig(scale="d16-L4-h2", layout=layout)
    model = MultiTokenModel(config, horizon, len(TASK.vocabulary), lanes)
    flat = FlatLanes(model, torch.float32)
    stds = model.initial_stds()
    stds["unembedding_KVD"] *= sharpness
    initialise(flat, stds, list(range(lanes)))
    return model


@pytest.mark.parametrize("layout", ["parallel", "causal", "anticausal", "linear"])
def test_cached_decoding_equals_decoding_from_scratch(layout):
    model = random_model(layout, lanes=1)
    rows = TASK.evaluation_sets(4)[0].rows
    (decoded,) = greedy_decode(model, rows, CPU)
    for row in range(len(rows)):
        length = int(rows.example_RT[row].sum())
        start = int(rows.answer_RT[row].argmax())
        tokens = rows.tokens_RT[row, :start].astype(np.int64).tolist()
        for _ in range(start, length):
            logits = model(torch.tensor([[tokens]]))[0, 0, 0, -1]
            tokens.append(int(logits.argmax()))
        assert decoded[row, :length].tolist() == tokens


@pytest.mark.parametrize("layout", ["parallel", "anticausal"])
def test_exact_match_is_the_same_decoded_or_teacher_forced(layout):
    """On gold answers half of which are made to be what the model would say."""
    model = random_model(layout)
    chosen = TASK.evaluation_sets(100)[0]
    rows = chosen.rows
    agreed = 0
    for lane in range(2):
        decoded = greedy_decode(model, rows, CPU)[lane]
        gold = rows.tokens_RT.copy()
        gold[::2] = decoded[::2]
        half = type(rows)(gold, rows.example_RT, rows.answer_RT)
        scores = score_tokens(model, type(chosen)("half", half), CPU)[lane]
        source_right = np.zeros_like(rows.answer_RT)
        source_right[:, 1:] = scores.correct_NRT[0, :, :-1]
        forced = (source_right | ~rows.answer_RT).all(1)
        again = greedy_decode(model, half, CPU)[lane]
        free = ((again == gold) | ~rows.answer_RT).all(1)
        assert np.array_equal(forced, free)
        agreed += int(forced.sum())
        assert forced[::2].all()
    assert agreed < 2 * len(rows)


def test_scores_equal_a_slow_loop():
    model = random_model(horizon=3, lanes=2)
    chosen = TASK.evaluation_sets(3)[0]
    rows = chosen.rows
    found = score_tokens(model, chosen, CPU)
    tokens = torch.from_numpy(rows.tokens_RT.astype(np.int64))
    logits = model(tokens.expand(2, -1, -1))
    for lane in range(2):
        for head in range(3):
            for row in range(len(rows)):
                length = int((rows.example_RT[row] > 0).sum())
                for t in range(rows.tokens_RT.shape[1]):
                    valid = t + head + 1 < length
                    assert found[lane].valid_NRT[head, row, t] == valid
                    if not valid:
                        continue
                    at = logits[head, lane, row, t]
                    target = tokens[row, t + head + 1]
                    loss = functional.cross_entropy(at, target).item()
                    got = found[lane].loss_NRT[head, row, t]
                    assert got == pytest.approx(loss, abs=1e-4)
                    right = int(at.argmax()) == int(target)
                    assert found[lane].correct_NRT[head, row, t] == right


def test_a_lane_scores_as_it_would_alone():
    chosen = TASK.evaluation_sets(20)[1]
    both = score_tokens(random_model(lanes=2), chosen, CPU)
    (alone,) = score_tokens(random_model(lanes=1), chosen, CPU)
    assert np.array_equal(both[0].loss_NRT, alone.loss_NRT)
    assert np.array_equal(both[0].correct_NRT, alone.correct_NRT)


def test_batches_change_nothing(monkeypatch):
    model = random_model(lanes=1)
    chosen = TASK.evaluation_sets(20)[0]
    (whole,) = score_tokens(model, chosen, CPU)
    monkeypatch.setattr("synth.evaluation.MAX_POSITIONS", 64)
    (parts,) = score_tokens(model, chosen, CPU)
    valid = whole.valid_NRT
    assert np.array_equal(whole.correct_NRT[valid], parts.correct_NRT[valid])
    np.testing.assert_allclose(whole.loss_NRT[valid], parts.loss_NRT[valid], atol=1e-4)


def test_free_running_is_at_most_teacher_forced_and_equal_on_the_first_token():
    model = random_model(lanes=1)
    chosen = TASK.evaluation_sets(50)[0]
    (forced,) = score_tokens(model, chosen, CPU)
    first = chosen.rows.answer_RT.argmax(1)
    right = forced.correct_NRT[0, np.arange(len(first)), first - 1].mean()
    scores = {s.slice: s for s in free_running_scores(model, chosen, CPU)}
    assert scores["answer_token=1"].value == pytest.approx(right)
    assert scores["sequence"].value <= scores["answer_token=1"].value
    assert set(scores) == {f"answer_token={i}" for i in (1, 2, 3)} | {"sequence"}


def test_a_folder_evaluates_to_what_training_recorded(tmp_path):
    config = tiny_run(2)
    train([config], tmp_path)
    folder = RunFolder(tmp_path, config.run_id)
    lines = folder.metrics_path.read_text().splitlines()
    found = evaluate_folder(folder.path, 8, None, False, "cpu")
    for score in found:
        row = f'"{score.suite}", "metric": "{score.metric}", "slice": "{score.slice}"'
        (line,) = [x for x in lines if row in x and '"step": 12' in x]
        assert f'"value": {score.value}' in line
    assert len(found) > 10
    with pytest.raises(ValueError, match=r"no checkpoint at step 7; it has \[12\]"):
        load_model(folder, 7)
    with pytest.raises(ValueError, match="no run folder"):
        load_model(RunFolder(tmp_path, "nowhere"))
