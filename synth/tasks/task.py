"""The contract between a task and the rest: rows, evaluation sets, scores.

What tasks share is here: the split, drawing until enough, losses by prediction.

Training, validation and test problems are disjoint by a hash of the problem, whose
*side* is a number from 0 to `SIDES` - 1:

```
side                    0      1            2 ... 7
split "test"            test   train        train       every run, unless it says otherwise
split "validation"      -      validation   train       runs on which something is chosen
```

So a rate is chosen on problems that its trials were not trained on, and test sets choose
nothing; the runs that use it then train on the validation side as well.

Letters in names: R rows, T positions in a row, V vocabulary, N horizons, S tokens in a
flat sequence, I items of a test set, E examples. A task is pure numpy; it knows no model.
"""

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import numpy as np

from synth.families.family import Family
from synth.identity import require
from synth.metrics import Metric, Score
from synth.objectives.declarations import Prediction
from synth.tasks.checks import nothing_to_train, require_fitting
from synth.tasks.positions import number_positions, position_scores

if TYPE_CHECKING:
    from synth.tasks.text.tokenizer import Tokenizer

MAX_EVALUATION_LENGTH = 1 << 16
"""Tokens of a test row; evaluation holds the attention of one at once."""
SAMPLE_CONTEXT = 256
"""Tokens in a row from which examples are shown, where that holds one."""
MOST_EMPTY_BLOCKS = 1000
"""Blocks of a training stream without rows, one after another, that end it."""
FIRST_BLOCKS = 16
"""Blocks of which one must hold rows before a run begins."""
SIDES = 8
"""Sides of a split by hash: one is for testing, one for validation if there is one."""
Split = Literal["test", "validation"]
Batch = TypeVar("Batch", bound=Sized)
SIDE: dict[Split, int] = {"test": 0, "validation": 1}


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Family, ABC, family="task"):
    """What a task draws from; `kind` is its name on the command line and in ids."""

    metrics: ClassVar[tuple[Metric, ...]] = ()
    """All that `Task.score`, `count_items` and `verify` can yield."""
    splits: ClassVar[tuple[Split, ...]] = ("test",)
    """What can be held out; a task that goes by `Task.trained_on` and `Task.held_out`
    has both."""
    seeds: ClassVar[tuple[str, ...]] = ()
    """Fields that draw the task itself, a graph for instance: runs that differ in them
    repeat one experiment, as those of other seeds do."""

    @abstractmethod
    def build(self) -> "Task":
        """The task itself, ready to draw from."""


@dataclass(frozen=True)
class Rows:
    """Examples packed into rows of equal length.

    `tokens_RT`: token ids (padding is 0 and belongs to no example).
    `example_RT`: 0 on padding, else 1, 2, ... counting the examples of the row.
    `answer_RT`: true where the token belongs to the answer of its example.
    """

    tokens_RT: np.ndarray
    example_RT: np.ndarray
    answer_RT: np.ndarray

    def __post_init__(self) -> None:
        assert self.tokens_RT.shape == self.example_RT.shape == self.answer_RT.shape

    def __len__(self) -> int:
        return len(self.tokens_RT)

    def __getitem__(self, rows: slice | np.ndarray) -> Self:
        return type(self)(
            self.tokens_RT[rows], self.example_RT[rows], self.answer_RT[rows]
        )


@dataclass(frozen=True)
class Sample:
    """One example to look at: `record` for programs, tokens and answer for a drawing."""

    record: Mapping[str, Any]
    tokens: Sequence[str]
    answer: Sequence[bool]
    """Whether each token belongs to the answer."""
    text: str = ""
    """How a person reads it; shown in place of the drawing."""


@dataclass(frozen=True)
class EvaluationSet:
    """A fixed set of rows, and the labels by which its task groups the scores."""

    suite: str
    rows: Rows
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenScores:
    """A model's loss and hit at every token of an evaluation set, teacher-forced.

    Entry [i, r, t] is head i+1's prediction at position t of row r; `predictions` says
    what each head predicts from which tokens, the next token first. `valid_NRT` is false
    where the target lies outside the example that holds t, or is no answer and the model
    was trained on answers alone; loss and hit are meaningless there. Losses are in nats.
    """

    loss_NRT: np.ndarray
    correct_NRT: np.ndarray
    valid_NRT: np.ndarray
    predictions: tuple[Prediction, ...] = ()

    def __post_init__(self) -> None:
        if not self.predictions:  # multi-token prediction from x[..t]
            default = tuple(Prediction(1 + i) for i in range(len(self.loss_NRT)))
            object.__setattr__(self, "predictions", default)

    def by_prediction(
        self,
    ) -> Iterator[tuple[Prediction, np.ndarray, np.ndarray, np.ndarray]]:
        """Each prediction with its losses, hits and valid positions, each (R, T)."""
        arrays = (self.loss_NRT, self.correct_NRT, self.valid_NRT)
        return zip(self.predictions, *arrays, strict=True)


def prediction_scores(
    chosen: EvaluationSet,
    scores: TokenScores,
    metrics: Sequence[Literal["loss", "accuracy"]] = ("loss", "accuracy"),
    answers: bool = False,
) -> list[Score]:
    """Mean loss and accuracy of each prediction, over all targets or those of answers.

    Accuracy by position is always added; a prediction without any target has no score.
    """
    found, rows = [], chosen.rows
    counted_RT = rows.answer_RT if answers else rows.example_RT > 0
    position_RT = number_positions(rows.example_RT, counted_RT)
    for prediction, loss_RT, correct_RT, valid_RT in scores.by_prediction():
        inside_RT = valid_RT.copy()
        inside_RT[:, : -prediction.offset] &= counted_RT[:, prediction.offset :]
        if not inside_RT.any():
            continue
        values_RT = {"loss": loss_RT, "accuracy": correct_RT}
        for name in metrics:
            values = values_RT[name][inside_RT]
            found.append(Score.mean(chosen.suite, name, prediction.label, values))
        found += position_scores(
            chosen.suite, prediction, position_RT, correct_RT, inside_RT
        )
    return found


@dataclass(frozen=True)
class ItemCounts:
    """The right and the scored tokens of each item (story): their sums make the score.

    Items are the independent parts of a test set, so resampling them shows how much a
    score depends on the items drawn. An item without a scored token counts 0 of 0.
    """

    suite: str
    metric: str
    slice: str
    right_I: np.ndarray
    """Scored tokens that were right, for each item."""
    number_I: np.ndarray
    """Scored tokens."""


class Task(ABC):
    """A generator of training rows and of fixed evaluation sets.

    Rows of training data are a function of (data seed, block, context) alone. Train and
    test problems are disjoint by construction.
    """

    vocabulary: Sequence[str]
    """The printed form of each token id; id 0 is padding."""
    tokenizer: "Tokenizer | None" = None
    """Of tasks on text; tokens of the others are symbols."""
    split: Split = "test"
    """What is held out from training, and evaluated; see `judged_on`."""
    end_token: int | None = None
    """Ends an answer that is decoded for `verify`, which may be as long as the row;
    without one it is as long as the right answer."""

    def judged_on(self, split: Split) -> Self:
        """The same task that holds out, and is evaluated on, this split."""
        if split == self.split:
            return self
        found = copy.copy(self)
        found.split = split
        return found

    def trained_on(self, side_E: np.ndarray) -> np.ndarray:
        """Which problems are for training, by the sides to which they hash."""
        return side_E > SIDE[self.split]

    def held_out(self, side_E: np.ndarray) -> np.ndarray:
        """Which problems are for the evaluation sets."""
        return side_E == SIDE[self.split]

    def suite(self, name: str) -> str:
        """The suite of that name in the split: see `suite_in`."""
        return suite_in(name, self.split)

    @abstractmethod
    def train_rows(self, data_seed: int, block: int, context: int) -> Rows:
        """All rows of one block of the training stream.

        A row holds `context` tokens. The number of rows varies from block to block.
        """

    def require_rows(self, context: int) -> Rows:
        """Rows of the first block with any, such as a run of this context trains on.

        A task whose blocks are slow overrides it.

        Raises `ValueError` before training if no rows of this context can be used.
        """
        return next(self.filled_blocks(0, context, FIRST_BLOCKS))

    def filled_blocks(
        self, data_seed: int, context: int, most_empty: int = MOST_EMPTY_BLOCKS
    ) -> Iterator[Rows]:
        """The blocks of the training stream that hold rows.

        Raises `ValueError` where `most_empty` in a row hold none, or a token is outside
        the vocabulary.
        """
        empty = 0
        for block in itertools.count():
            rows = self.train_rows(data_seed, block, context)
            require_fitting(self, "train_rows", rows)
            if len(rows):
                yield rows
            empty = 0 if len(rows) else empty + 1
            if empty == most_empty:
                raise nothing_to_train(self, empty, context)

    @abstractmethod
    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """The fixed sets of the split, with up to `examples` examples in each slice.

        A smaller number gives a prefix of the larger set. The seed of a run plays no
        part in them.
        """

    def samples(self, seed: int, count: int) -> list[Sample]:
        """`count` examples to look at; fewer are a prefix of more.

        The first of the training stream, as tokens; a task whose records can say more
        overrides it.
        """
        samples: list[Sample] = []
        for rows in self.filled_blocks(seed, self.sample_context):
            for tokens, example, answer in zip(
                rows.tokens_RT, rows.example_RT, rows.answer_RT, strict=True
            ):
                for number in range(1, int(example.max()) + 1):
                    inside = example == number
                    words = [self.vocabulary[token] for token in tokens[inside]]
                    record = {"tokens": words, "split": "train"}
                    samples.append(Sample(record, words, answer[inside].tolist()))
                if len(samples) >= count:
                    return samples[:count]
        return samples

    def read_question(self, question: Sequence[int]) -> EvaluationSet | None:
        """A user's question as a set of one row; `None` if the task has no questions.

        An end that the user left out (`=`) is added. The row's answer is the right one
        if the task knows it, else padding.

        Raises `ValueError`, saying why it is not a question of the task.
        """
        return None

    def report(self) -> dict[str, Any]:
        """Facts about the data that are known before training; text tasks report more."""
        return {"vocabulary": len(self.vocabulary)}

    def verify(self, chosen: EvaluationSet, decoded_RT: np.ndarray) -> list[Score]:
        """Scores of answers that a model decoded greedily, if several can be right.

        `decoded_RT` are the rows of `chosen` with the answers as decoded. Evaluation
        decodes for tasks that define this; the others have one right answer, which
        `score` judges without decoding.
        """
        return []

    @property
    def sample_context(self) -> int:
        """Tokens in a row from which examples are shown."""
        return SAMPLE_CONTEXT

    @property
    def verifies(self) -> bool:
        """Whether the task defines `verify`."""
        return type(self).verify is not Task.verify

    @abstractmethod
    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """The metrics of the task from the model's token scores on `chosen`."""

    def count_items(
        self, chosen: EvaluationSet, scores: TokenScores
    ) -> list[ItemCounts]:
        """The counts behind a score item by item, if an item has several scored tokens.

        None for most tasks, whose items are scored once each.
        """
        return []


def build_task(config: TaskConfig) -> Task:
    """`config.build()`, refused with `ValueError` where it is no task."""
    task: Any = config.build()
    builds = f"{type(config).__name__}.build"
    require(isinstance(task, Task), builds, "a method that returns a Task", task)
    return task


def suite_in(name: str, split: Split) -> str:
    """The suite `name` of the test split as it is called in `split`.

    Numbers on which something was chosen cannot be taken for those of a test. "train"
    belongs to no split.

    >>> [suite_in(name, "validation") for name in ("test", "test_seen", "in_domain")]
    ['validation', 'validation_seen', 'validation_in_domain']
    """
    if split == "test" or name == "train" or name.split("_")[0] == split:
        return name
    own = name.removeprefix("test_")
    return split if own == "test" else f"{split}_{own}"


def drawn_until(
    batch: Callable[[int], Batch], count: int, too_small: str
) -> list[Batch]:
    """Batches 0, 1, 2, ..., whatever their sizes, until they hold `count` examples.

    Raises `ValueError` (`too_small`) when so many batches hold too few: the problem
    space is too small.
    """
    parts: list[Batch] = []
    for index in range(64 * (1 + count // 256)):
        parts.append(batch(index))
        if sum(map(len, parts)) >= count:
            return parts
    raise ValueError(too_small)
