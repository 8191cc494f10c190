"""The teacher-forced pass against the cached greedy decoder, and against slow forms."""

import dataclasses
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig
from synth.decoding import greedy_decode
from synth.evaluation import (
    PIECE_LOGITS,
    batches_by_length,
    likeliest,
    score_tokens,
    why_not_decoded,
)
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.multi_token import MultiTokenConfig
from synth.pack import Pack
from synth.run.checkpoint import load as load_checkpoint
from synth.run.checkpoint import path_at, save
from synth.run.execution import Execution
from synth.run.store import RunFolder
from synth.tasks.packing import pack_rows
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.running_text import TextConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.task import EvaluationSet, Rows
from synth.trained.loading import load
from synth.trained.scoring import (
    evaluate_folder,
    free_running_scores,
)
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.fast.test_native import needs_compiler

CPU = torch.device("cpu")
TASK = PolynomialConfig(modulus=3, degree=2, max_operations=2, max_evaluated=3).build()


def random_model(layout="parallel", horizon=2, lanes=2, sharpness=30.0, scored="all"):
    """Untrained, with logits large enough that arg-maxes differ from place to place."""
    config = ModelConfig(scale="d16-L4-h2")
    objective = MultiTokenConfig(horizon=horizon, layout=layout, scored=scored)
    model = PredictionModel(config, objective, len(TASK.vocabulary), lanes)
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


@pytest.mark.parametrize("positions", [8192, 40])
def test_decoding_up_to_an_end_token_uses_the_room_of_the_row(monkeypatch, positions):
    """Against decoding from scratch: past the right answer, never past the end token."""
    monkeypatch.setattr("synth.decoding.MAX_POSITIONS", positions)
    model = random_model(lanes=2)
    rows = TASK.evaluation_sets(6)[0].rows
    wide = Rows(
        *(
            np.pad(part, ((0, 0), (0, 6)))
            for part in (rows.tokens_RT, rows.example_RT, rows.answer_RT)
        )
    )
    end = 5
    decoded_KRT = greedy_decode(model, wide, CPU, end)
    lengths = set()
    for row in range(len(wide)):
        start = int(wide.answer_RT[row].argmax())
        for lane in range(2):
            tokens = wide.tokens_RT[row, :start].astype(np.int64).tolist()
            while len(tokens) < wide.tokens_RT.shape[1] and end not in tokens[start:]:
                logits = model(torch.tensor(tokens).expand(2, 1, -1))[0, lane, 0, -1]
                tokens.append(int(logits.argmax()))
            found = decoded_KRT[lane, row].tolist()
            assert found[: len(tokens)] == tokens
            assert not any(found[len(tokens) :])
            lengths.add(len(tokens) - start)
    assert len(lengths) > 2


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


def test_a_model_trained_on_answers_is_judged_on_answers():
    chosen = TASK.evaluation_sets(20)[0]
    answer_RT = chosen.rows.answer_RT
    (whole,) = score_tokens(random_model(lanes=1), chosen, CPU)
    (found,) = score_tokens(random_model(lanes=1, scored="answer"), chosen, CPU)
    for head in range(2):
        target_RT = np.zeros_like(answer_RT)
        target_RT[:, : -head - 1] = answer_RT[:, head + 1 :]
        assert np.array_equal(found.valid_NRT[head], target_RT & whole.valid_NRT[head])
    judged = found.valid_NRT
    assert 0 < judged.sum() < whole.valid_NRT.sum() / 2
    np.testing.assert_allclose(found.loss_NRT[judged], whole.loss_NRT[judged], 1e-5)
    assert np.array_equal(found.correct_NRT[judged], whole.correct_NRT[judged])
    same, every = TASK.score(chosen, found), TASK.score(chosen, whole)
    assert [s.slice for s in same] == [s.slice for s in every]
    assert [s.value for s in same] == pytest.approx(
        [s.value for s in every], nan_ok=True
    )


def test_without_answers_every_token_is_judged():
    chosen = TASK.evaluation_sets(5)[0]
    rows = chosen.rows
    bare = EvaluationSet(
        "plain", Rows(rows.tokens_RT, rows.example_RT, np.zeros_like(rows.answer_RT))
    )
    (whole,) = score_tokens(random_model(lanes=1), bare, CPU)
    (found,) = score_tokens(random_model(lanes=1, scored="answer"), bare, CPU)
    assert np.array_equal(found.valid_NRT, whole.valid_NRT)


@pytest.mark.parametrize("logits", [1 << 18, 100])
def test_a_lane_scores_as_it_would_alone(monkeypatch, logits):
    monkeypatch.setitem(PIECE_LOGITS, "cpu", logits)
    chosen = TASK.evaluation_sets(20)[1]
    both = score_tokens(random_model(lanes=2), chosen, CPU)
    (alone,) = score_tokens(random_model(lanes=1), chosen, CPU)
    assert np.array_equal(both[0].loss_NRT, alone.loss_NRT)
    assert np.array_equal(both[0].correct_NRT, alone.correct_NRT)
    assert not np.array_equal(both[0].loss_NRT, both[1].loss_NRT)


def packed_set():
    """Rows of several examples of different lengths, and padding at some ends."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 9, 40)
    offsets = np.concatenate([[0], lengths.cumsum()])
    tokens_S = rng.integers(1, len(TASK.vocabulary), offsets[-1])
    rows = pack_rows(tokens_S, offsets, lengths - 1, 24, 8)
    assert rows.example_RT.max() > 2
    assert (rows.example_RT == 0).any()
    return EvaluationSet("packed", rows)


@pytest.mark.parametrize("logits", [1 << 18, 300])
def test_pieces_say_what_whole_logits_say(monkeypatch, logits):
    """Against the plain form: all logits at once, their arg-max, no choice of places."""
    monkeypatch.setitem(PIECE_LOGITS, "cpu", logits)
    model = random_model(horizon=3, lanes=2)
    chosen = packed_set()
    tokens_RT = torch.from_numpy(chosen.rows.tokens_RT.astype(np.int64))
    example_RT = chosen.rows.example_RT
    with torch.no_grad():
        logits_NKRTV = model(tokens_RT.expand(2, -1, -1))
    for lane, scores in enumerate(score_tokens(model, chosen, CPU)):
        for head in range(3):
            ahead = head + 1
            valid = np.zeros(example_RT.shape, bool)
            valid[:, :-ahead] = example_RT[:, :-ahead] == example_RT[:, ahead:]
            valid &= example_RT > 0
            assert np.array_equal(scores.valid_NRT[head], valid)
            said = logits_NKRTV[head, lane, :, :-ahead]
            targets = tokens_RT[:, ahead:]
            loss = functional.cross_entropy(
                said.flatten(0, 1), targets.flatten(), reduction="none"
            )
            inside = valid[:, :-ahead]
            np.testing.assert_allclose(
                scores.loss_NRT[head, :, :-ahead][inside],
                loss.view_as(targets).numpy()[inside],
                rtol=2e-6,
                atol=2e-6,
            )
            right = (said.argmax(-1) == targets).numpy()
            assert np.array_equal(
                scores.correct_NRT[head, :, :-ahead][inside], right[inside]
            )
            assert 0 < right[inside].mean() < 1


@pytest.mark.parametrize("vocab", [1, 2, 7, 50])
def test_of_equal_logits_the_first_is_the_likeliest(vocab):
    stream = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 3, (2, 300, vocab), generator=stream).float()
    targets = torch.randint(0, vocab, (2, 300), generator=stream)
    expected = logits.argmax(-1) == targets
    assert torch.equal(likeliest(logits.clone(), targets), expected)
    tied = logits.gather(-1, targets[..., None]) == logits.amax(-1, keepdim=True)
    assert vocab == 1 or (tied.squeeze(-1) & ~expected).any()


def test_logits_that_are_no_numbers_are_never_right():
    logits = torch.tensor([[[0.0, torch.nan, 1.0], [torch.nan] * 3]])
    for target in range(3):
        assert not likeliest(logits.clone(), torch.full((1, 2), target)).any()


def test_batches_change_nothing(monkeypatch):
    model = random_model(lanes=1)
    chosen = TASK.evaluation_sets(20)[0]
    (whole,) = score_tokens(model, chosen, CPU)
    monkeypatch.setattr("synth.evaluation.MAX_POSITIONS", 64)
    (parts,) = score_tokens(model, chosen, CPU)
    valid = whole.valid_NRT
    assert np.array_equal(whole.correct_NRT[valid], parts.correct_NRT[valid])
    np.testing.assert_allclose(whole.loss_NRT[valid], parts.loss_NRT[valid], atol=1e-4)


@needs_compiler
@pytest.mark.filterwarnings("ignore:TrainingConfig.precision")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_native_pack_scores_as_an_eager_one(precision):
    """On the same weights: the same names, accuracies and counts; losses to rounding."""
    configs = [tiny_run(2, seed=seed, precision=precision) for seed in (0, 1)]
    eager, native = (
        Pack(configs, Execution(compile=form), None) for form in ("off", "on")
    )
    assert (eager.form, native.form) == ("eager", "native")
    for _ in range(8):
        native.train_step(defaultdict(float))
    eager.step = native.step
    eager.lanes.master_KP.copy_(native.lanes.master_KP)
    bits = []
    for plain, found in zip(eager.evaluate(20), native.evaluate(20), strict=True):
        for one, other in zip(plain, found, strict=True):
            where = (other.suite, other.metric, other.slice, other.count)
            assert where == (one.suite, one.metric, one.slice, one.count)
            if one.metric == "loss":
                assert other.value == pytest.approx(one.value, rel=1e-5)
                bits.append(one.value == other.value)
            else:
                assert other.value == one.value
    assert len(bits) > 5
    assert not all(bits)  # else nothing native has run


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


def rows_with_answers(*places):
    answer = np.zeros((len(places), 6), bool)
    for row, chosen in enumerate(places):
        answer[row, chosen] = True
    return Rows(np.ones((len(places), 6), int), np.ones((len(places), 6), int), answer)


def test_only_answers_of_one_stretch_after_a_question_are_decoded():
    assert why_not_decoded(rows_with_answers([2, 3], [5], [])) == ""
    assert why_not_decoded(rows_with_answers([], [])) == "it has no answers"
    assert "several answers" in why_not_decoded(rows_with_answers([2], [2, 4]))
    assert "no question" in why_not_decoded(rows_with_answers([0, 1]))


def test_rows_without_an_answer_do_not_count_as_right():
    model = random_model(lanes=1)
    whole = TASK.evaluation_sets(50)[0]
    answer_RT = whole.rows.answer_RT.copy()
    answer_RT[20:] = False
    rows = dataclasses.replace(whole.rows, answer_RT=answer_RT)
    some = dataclasses.replace(whole, rows=rows)
    few = dataclasses.replace(whole, rows=whole.rows[:20])
    assert free_running_scores(model, some, CPU) == free_running_scores(model, few, CPU)


@pytest.mark.parametrize("kind", ["text", "stories"])
def test_free_running_is_refused_where_nothing_can_be_decoded(tmp_path, kind):
    text = tmp_path / "a.txt"
    text.write_text("To be or not to be, that is the question. " * 50)
    tasks = {"text": lambda: TextConfig(corpus=str(text)), "stories": StoriesConfig}
    config = dataclasses.replace(tiny_run(), task=tasks[kind]())
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "done", outcome.message
    with pytest.raises(ValueError, match=r"no answer to decode .* without decoding"):
        evaluate_folder(tmp_path / config.run_id, 4, None, True, "cpu")


def test_a_corpus_that_moved_is_given_by_its_new_place(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("To be or not to be, that is the question. " * 50)
    task = TextConfig(corpus=str(text))
    config = dataclasses.replace(tiny_run(), task=task)
    train([config], tmp_path)
    folder = tmp_path / config.run_id
    before = evaluate_folder(folder, 4, None, False, "cpu")
    moved = text.rename(tmp_path / "b.txt")
    with pytest.raises(ValueError, match=r"a\.txt' does not exist here"):
        evaluate_folder(folder, 4, None, False, "cpu")
    places = {"corpus": str(moved)}
    assert evaluate_folder(folder, 4, None, False, "cpu", places) == before
    with pytest.raises(ValueError, match="tokenizer_file has no meaning"):
        evaluate_folder(folder, 4, None, False, "cpu", {"tokenizer_file": "x.json"})
    moved.write_text("Another text.")
    with pytest.raises(ValueError, match="was changed: it has another sha256"):
        evaluate_folder(folder, 4, None, False, "cpu", places)


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
        assert load(folder.path, step=7).model
    with pytest.raises(ValueError, match="nowhere does not exist"):
        load(tmp_path / "nowhere")


def test_an_unusable_checkpoint_is_passed_over_and_named(tmp_path, capsys):
    config = tiny_run()
    execution = Execution(keep_checkpoints_every_steps=5)
    assert train([config], tmp_path, execution)[0].state == "done"
    folder = RunFolder(tmp_path, config.run_id)
    place = path_at(folder, 12) / "place.json"
    whole = place.read_text()
    place.write_text("{")
    assert load(folder.path).step == 10
    assert "skipped: " in (said := capsys.readouterr().err)
    assert str(place) in said
    with pytest.raises(ValueError, match=r"No checkpoint can be used: .*place\.json"):
        assert load(folder.path, step=12).model
    place.write_text(whole)
    for step, edit in ((12, {}), (10, {"another": torch.zeros(1)})):
        saved = load_checkpoint(folder, step)
        weights = saved.weights | edit
        if not edit:
            weights["embedding_KVD"] = weights.pop("embedding_KVD")[:-1]
        save(folder, dataclasses.replace(saved, weights=weights), keep_every=5)
    with pytest.raises(ValueError, match=r"step-0+12 holds other weights .*embedding"):
        assert load(folder.path, step=12).model
    with pytest.raises(
        ValueError, match=r"step-0+10 holds .*another.*environment.json"
    ):
        assert load(folder.path, step=10).model
    assert load(folder.path).step == 5


def test_batches_hold_what_fits_if_all_rows_were_as_long_as_the_longest():
    example_RT = np.arange(4) < np.array([[3], [1], [4], [2]])
    rows = Rows(np.zeros((4, 4), np.int32), example_RT.astype(np.int32), example_RT)
    found = [(order.tolist(), cut) for order, cut in batches_by_length(rows, 6)]
    assert found == [([1, 3], 2), ([0], 3), ([2], 4)]
