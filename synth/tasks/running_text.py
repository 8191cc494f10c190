"""Language modelling of the user's own text: losses and accuracy, no other metric.

With characters as tokens and the last tenth held out, this is the usual set-up for small
GPTs on Tiny Shakespeare.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np

from synth.identity import identity, location
from synth.metrics import Metric, Score
from synth.seeding import generator
from synth.tasks.task import (
    MAX_EVALUATION_LENGTH,
    EvaluationSet,
    Rows,
    Sample,
    Split,
    Task,
    TaskConfig,
    TokenScores,
    prediction_scores,
)
from synth.tasks.text.encoded import (
    CorpusText,
    Encoded,
    cleaned_documents,
    encoded_corpus,
    sampled_texts,
)
from synth.tasks.text.reading import (
    absolute,
    check_reading,
    filled_digest,
    naming,
    reading_rule,
    verified,
)
from synth.tasks.text.tokenizer import Tokenizer
from synth.tasks.text.vocabularies import TokenizerConfig
from synth.tasks.text.windows import (
    ShuffledWindows,
    Windows,
    block_rows,
    first_tokens,
    unmarked_windows,
)

SAMPLE_TOKENS = 64
"""Tokens of a window that is shown."""


@dataclass(frozen=True, kw_only=True)
class TextConfig(TaskConfig):
    """Model a running text of one's own, by characters or tokens."""

    kind: ClassVar[str] = "text"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "nats", "lower"),
        Metric("accuracy", "share", "higher", floor=0.0),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    corpus: str = location()
    """A .txt, .jsonl (.xz, .gz) or .parquet file, or a folder of them."""
    corpus_digest: str = identity("")
    """Hex sha256 of the content; filled in if not given."""
    reading: str = identity("", implied="")
    """How the files are read, if not as plain .txt; filled in with the digest."""
    field: str = identity("", implied="")
    """The field of rows that holds the text; text, story or content if not given."""
    tokenizer: TokenizerConfig = identity(TokenizerConfig(tokens="characters"))
    """The tokeniser; characters by default."""
    hold_out: Literal["tail", "documents"] = identity("tail")
    """Test on the last 10 % of the raw text (of a folder: the last files), or on 5 % of
    the documents, cleaned. Validation takes as much of what remains."""
    evaluation_length: int = identity(65)
    """Length of a test row; N tokens give N - 1 predictions."""

    def validate(self) -> None:
        """Fill in the digest, and for a new configuration how the text is read."""
        self.check_ranges(evaluation_length=(2, MAX_EVALUATION_LENGTH))
        object.__setattr__(self, "corpus", absolute(self.corpus))
        stored = bool(self.corpus_digest)
        filled = filled_digest(self.corpus, self.corpus_digest, "TextConfig.corpus")
        object.__setattr__(self, "corpus_digest", filled)
        if not stored:
            self.tokenizer.check_used()
            object.__setattr__(self, "reading", self.reading or self.rule)

    @property
    def rule(self) -> str:
        """How this code reads the files."""
        return reading_rule(
            self.corpus,
            cleaned=self.hold_out == "documents",
            own_tokenizer=self.tokenizer.tokens == "file",
        )

    def build(self) -> "RunningText":
        return RunningText(self)


class RunningText(Task):
    """Windows of a text, each once an epoch; tests on the part held out."""

    tokenizer: Tokenizer

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        path = verified(config.corpus, config.corpus_digest, "TextConfig.corpus")
        check_reading(config.reading, config.rule, "TextConfig.reading")
        self._text = CorpusText(
            path, config.corpus_digest, config.field, config.reading
        )
        self.tokenizer = self._make_tokenizer()
        self.vocabulary = self.tokenizer.vocabulary

    def judged_on(self, split: Split) -> Self:
        """As `Task.judged_on`, with the text divided anew."""
        task = super().judged_on(split)
        for name in ("_parts", "_source"):
            vars(task).pop(name, None)
        return task

    def _make_tokenizer(self) -> Tokenizer:
        config = self.config

        def texts() -> Iterator[str]:
            # The alphabet is that of the whole text, held-out part included.
            if config.hold_out == "tail":
                return (document.text for document in self._text.documents())
            if config.tokenizer.tokens == "characters":
                return (text for _, text in cleaned_documents(self._text, False))
            return sampled_texts([self._text])

        return config.tokenizer.build([*self._text.key, config.hold_out], texts)

    @cached_property
    def _parts(self) -> tuple[Encoded, Encoded]:
        """The training text and the text held out."""
        if self.config.hold_out == "documents":
            return self._split_by_documents()
        encoded = [
            self._text.encode(self.tokenizer, document.text, number)
            for number, document in enumerate(self._text.documents(), 1)
        ]
        if len(encoded) > 1:
            encoded = [[*tokens, self.tokenizer.end] for tokens in encoded]
        tokens = np.concatenate([np.array(t, np.uint32) for t in encoded])
        starts = np.cumsum([0, *[len(t) for t in encoded]])
        train, held_out = split_tail(Encoded(tokens, starts))
        return (train, held_out) if self.split == "test" else split_tail(train)

    def _split_by_documents(self) -> tuple[Encoded, Encoded]:
        splits = encoded_corpus(self._text, self.tokenizer, chunked=False).splits
        counts = {name: len(part) for name, part in splits.items()}
        if not counts["train"] or not counts[self.split]:
            raise ValueError(
                f"{self.config.corpus!r} has too few documents to hold some out "
                f"(documents by split: {counts}; a hash of the title or text holds one "
                "in twenty out). Set hold_out to 'tail', or add documents: a .txt is one "
                "document unless lines of <|endoftext|> divide it."
            )
        return splits["train"], splits[self.split]

    @cached_property
    def _source(self) -> ShuffledWindows:
        train = self._parts[0]
        return ShuffledWindows(train.tokens_S, train.starts_D)

    def train_rows(self, data_seed: int, block: int, context: int) -> Rows:
        """Windows of the training text, about 65,000 tokens a block."""
        count = block_rows(context, 1)
        return _rows(self._source.windows(data_seed, block, count, context))

    def require_rows(self, context: int) -> Rows:
        """Draw the first block; the message names the corpus."""
        with naming(self.config.corpus):
            return super().require_rows(context)

    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """Random windows of the held-out text, the same for every run."""
        test, length = self._parts[1], self.config.evaluation_length
        if examples == 0:
            return []
        last = len(test.tokens_S) - length
        if last < 0:
            raise ValueError(
                f"{self.config.corpus!r}: its held-out text has {len(test.tokens_S)} "
                f"tokens, fewer than TextConfig.evaluation_length = {length}. Use a "
                "longer text, or a smaller evaluation_length."
            )
        start = generator(0, "text", self.split).integers(0, last + 1, examples)
        first_S = first_tokens(test.starts_D)
        windows = unmarked_windows(test.tokens_S, first_S, start, length)
        return [EvaluationSet(self.suite("test"), _rows(windows))]

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Loss in nats and accuracy of the top token, for each prediction."""
        return prediction_scores(chosen, scores)

    def samples(self, seed: int, count: int) -> list[Sample]:
        """Windows of the training text; the record holds text, tokens and split."""
        rows = self._source.windows(seed, 0, count, SAMPLE_TOKENS)
        samples = []
        for tokens in rows.tokens_RT.tolist():
            text = self.tokenizer.decode(tokens)
            record = {"text": text, "tokens": tokens, "split": "train"}
            pieces = [self.vocabulary[token] for token in tokens]
            samples.append(Sample(record, pieces, [False] * len(tokens), text))
        return samples

    def report(self) -> dict[str, Any]:
        """Tokens of both parts, and the size of the vocabulary."""
        train, test = self._parts
        tokens = {"train": len(train.tokens_S), self.split: len(test.tokens_S)}
        return super().report() | {"tokens": tokens}


def split_tail(whole: Encoded) -> tuple[Encoded, Encoded]:
    """The first nine tenths of the tokens, and the last tenth."""
    cut = len(whole.tokens_S) * 9 // 10
    before = whole.starts_D[whole.starts_D < cut]
    after = whole.starts_D[whole.starts_D > cut] - cut
    return (
        Encoded(whole.tokens_S[:cut], np.append(before, cut)),
        Encoded(whole.tokens_S[cut:], np.insert(after, 0, 0)),
    )


def _rows(windows: Windows) -> Rows:
    nothing = np.zeros(windows.tokens_RT.shape, bool)
    return Rows(windows.tokens_RT, windows.example_RT, nothing)
