"""What all tasks keep to: declared metrics, the split, drawing until enough."""

import numpy as np
import pytest
import torch

from synth.config import ModelConfig
from synth.evaluation import score_tokens, verified_scores
from synth.families.family import members
from synth.metrics import Metric, metric_of
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks import exact, repeats
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.maze import MazeConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.polynomial import arithmetic as polynomial
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.running_text import TextConfig
from synth.tasks.sources import SourcesConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.task import TaskConfig, drawn_until, suite_in

CPU = torch.device("cpu")
BUILT_IN = sorted(
    kind
    for kind, task in members("task").items()
    if task.__module__.startswith("synth")
)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A small task of each kind."""
    text = tmp_path_factory.mktemp("text") / "a.txt"
    text.write_text("To be or not to be, that is the question. " * 200)
    small = {
        "polynomial": PolynomialConfig(modulus=3, degree=2, max_evaluated=6),
        "text": TextConfig(corpus=str(text)),
    }
    return lambda kind: small.get(kind) or members("task")[kind]()


def measured(task, examples):
    """All scores and item counts of an untrained model with two heads."""
    model = PredictionModel(
        ModelConfig(scale="d16-L2-h2"),
        MultiTokenConfig(horizon=2),
        len(task.vocabulary),
        1,
    )
    initialise(FlatLanes(model, torch.float32), model.initial_stds(), [0])
    found, items = [], []
    for chosen in task.evaluation_sets(examples):
        (scores,) = score_tokens(model, chosen, CPU)
        (verified,) = verified_scores(model, task, chosen, CPU)
        found += [*task.score(chosen, scores), *verified]
        items += task.count_items(chosen, scores)
    return found, items


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("kind", BUILT_IN)
def test_what_is_measured_is_what_is_declared(make, kind, split):
    config = make(kind)
    declared = [metric.name for metric in config.metrics]
    assert len(set(declared)) == len(declared)
    scores, items = measured(config.build().judged_on(split), 12)
    assert {one.metric for one in (*scores, *items)} == set(declared)
    keys = [(score.suite, score.metric, score.slice) for score in scores]
    assert len(set(keys)) == len(keys)  # one number is one row
    for suite in {score.suite for score in scores}:
        assert (suite, "accuracy", "horizon=2,position=3") in keys


@pytest.mark.parametrize("kind", BUILT_IN)
def test_bounds_of_metrics_are_numbers_or_metrics_of_the_same_task(kind):
    task = members("task")[kind]
    names = {metric.name: metric for metric in task.metrics}
    for metric in task.metrics:
        for bound in (metric.floor, metric.ceiling):
            if isinstance(bound, str):
                assert names[bound].better is None
                assert names[bound].unit == metric.unit


def test_a_metric_is_found_by_the_task_that_declares_it():
    assert metric_of([MazeConfig.metrics], "verified").better == "higher"
    assert metric_of([MazeConfig.metrics], "exact_match") is None
    assert (
        metric_of([MazeConfig.metrics, PolynomialConfig.metrics], "exact_match").ceiling
        == 1
    )
    assert metric_of([PolynomialConfig.metrics], "gradient_norm").better is None

    class Golf(TaskConfig):
        metrics = (Metric("accuracy", "strokes", "lower"),)

    with pytest.raises(ValueError, match=r"disagree .* 'accuracy': higher and lower"):
        metric_of([MazeConfig.metrics, Golf.metrics], "accuracy")


EXAMPLES = 300


def problems(task):
    """Training and evaluation examples in a form that the split goes by."""
    chosen = [s.rows for s in task.evaluation_sets(EXAMPLES)]
    return _examples(task, [task.train_rows(0, 0, 80)]), _examples(task, chosen)


def _examples(task, sets):
    found = set()
    for rows in sets:
        for tokens, example, answer in zip(
            rows.tokens_RT, rows.example_RT, rows.answer_RT, strict=True
        ):
            for number in range(1, int(example.max()) + 1):
                inside = example == number
                words = tokens[inside]
                if isinstance(task, repeats.Repeats):
                    words = words[:3]
                elif isinstance(task, polynomial.Polynomial):
                    words = words[~answer[inside]]
                elif isinstance(task.config, MazeConfig):
                    words = task.problem(task.names_of(words[None]))[0]
                found.add(tuple(words.tolist()))
    return found


SMALL_SPACES = [
    RepeatsConfig(symbols=16, max_period=16),
    PolynomialConfig(modulus=3, degree=2, max_operations=2, max_evaluated=2),
    ChoicePointsConfig(branches=2, consequences=(1, 1, 1, 1), variations=2),
    MazeConfig(turns="c", cells=6),
]


@pytest.mark.parametrize("config", SMALL_SPACES, ids=lambda config: config.kind)
def test_validation_is_apart_from_its_training_data_and_from_the_tests(config):
    """In spaces so small that sets drawn without a split would overlap."""
    whole = config.build()
    train, test = problems(whole)
    without, validation = problems(whole.judged_on("validation"))
    assert min(map(len, (train, test, without, validation))) > 20
    assert not train & test
    assert not without & (test | validation)
    assert not validation & test
    assert len(validation & train) > 5  # of the runs that choose nothing
    assert {s.suite for s in whole.judged_on("validation").evaluation_sets(5)} == {
        suite_in(s.suite, "validation") for s in whole.evaluation_sets(5)
    }


def test_a_split_is_a_view_of_the_task():
    task = SourcesConfig(length=5).build()
    other = task.judged_on("validation")
    assert task.split == "test"
    assert other.judged_on("validation") is other
    test, validation = (t.evaluation_sets(50)[0] for t in (task, other))
    assert (test.suite, validation.suite) == ("test", "validation")
    assert not np.array_equal(test.rows.tokens_RT, validation.rows.tokens_RT)
    back = other.judged_on("test").evaluation_sets(50)[0]
    assert np.array_equal(back.rows.tokens_RT, test.rows.tokens_RT)
    few = other.evaluation_sets(20)[0].rows.tokens_RT
    assert np.array_equal(few, validation.rows.tokens_RT[:20])


def test_stories_are_validated_on_names_and_stories_of_their_own():
    task = StoriesConfig().build()
    suites = {s.suite: s for s in task.evaluation_sets(20)}
    found = {s.suite: s for s in task.judged_on("validation").evaluation_sets(20)}
    assert set(found) == {
        "validation",
        "validation_seen",
        "validation_training_names",
    }
    same = found["validation"].rows.tokens_RT
    assert np.array_equal(same, suites["validation"].rows.tokens_RT)
    tests = {tuple(row) for row in suites["test_seen"].rows.tokens_RT.tolist()}
    seen = {tuple(row) for row in found["validation_seen"].rows.tokens_RT.tolist()}
    assert not tests & seen


@pytest.mark.parametrize("hold_out", ["tail", "documents"])
def test_text_is_validated_on_a_part_of_its_own(tmp_path, hold_out):
    """Every word is said once, so windows without a common word do not overlap."""
    path = tmp_path / "a.txt"
    documents = [
        " ".join(f"w{place:05d}" for place in range(start, start + 40))
        for start in range(0, 40 * 200, 40)
    ]
    path.write_text("\n<|endoftext|>\n".join(documents))
    config = TextConfig(corpus=str(path), hold_out=hold_out, evaluation_length=60)
    task = config.build()
    words = {}
    for split in ("test", "validation"):
        judged = task.judged_on(split)
        (chosen,) = judged.evaluation_sets(400)
        assert chosen.suite == split
        words[split] = _whole_words(judged, chosen.rows.tokens_RT)
        rows = [judged.train_rows(0, block, 64).tokens_RT for block in (0, 1)]
        words[f"train {split}"] = _whole_words(judged, np.concatenate(rows))
    assert min(map(len, words.values())) > 100
    assert not words["test"] & words["validation"]
    assert not words["train test"] & words["test"]
    assert not words["train validation"] & (words["test"] | words["validation"])


def _whole_words(task, tokens_RT):
    return {
        word
        for row in tokens_RT.tolist()
        for word in task.tokenizer.decode(row).split()[1:-1]
        if len(word) == 6 and word[0] == "w"
    }


def test_drawing_stops_when_there_are_enough_or_never_will_be():
    assert drawn_until(range, 4, "") == [range(0), range(1), range(2), range(3)]
    with pytest.raises(ValueError, match="too few"):
        drawn_until(lambda index: [], 1, "too few")
    with pytest.raises(ValueError, match="Fewer than 3 examples"):
        exact.stack_until(lambda index: np.empty((0, 2)), 3)
