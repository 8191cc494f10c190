"""Induction in children's stories: the second token of a name that was said before.

Section 4.1 and figure 7 of arXiv 2404.19737, and appendix J for the mixture with books.
A character's name is two random tokens. Which name comes next depends on the story; the
second token of a name is known from its first mention, by induction. The score is the
accuracy of head 1, teacher-forced, on the second token of every repeated mention.

Letters in names: R rows, T positions, V vocabulary, M repeated mentions, D documents.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from synth.identity import identity, location
from synth.metrics import Metric, Score
from synth.tasks.mentions import (
    MENTION_METRICS,
    count_mentions,
    score_mentions,
    story_sample,
    story_set,
)
from synth.tasks.task import (
    MAX_EVALUATION_LENGTH,
    EvaluationSet,
    ItemCounts,
    Rows,
    Sample,
    Split,
    Task,
    TaskConfig,
    TokenScores,
)
from synth.tasks.text.cleaning import TextSplit
from synth.tasks.text.detection import NAME_RULE
from synth.tasks.text.encoded import Corpus, encoded_corpus
from synth.tasks.text.grammar import grammar
from synth.tasks.text.names import NameConfig, NameSource
from synth.tasks.text.pools import NamePools
from synth.tasks.text.reading import (
    absolute,
    check_reading,
    filled_digest,
    naming,
    reading_rule,
    verified,
)
from synth.tasks.text.roles import REPEAT_2, roles
from synth.tasks.text.story_documents import story_documents
from synth.tasks.text.story_draws import BOOK, StoryConfig
from synth.tasks.text.story_generator import StoryGenerator
from synth.tasks.text.story_tokenizer import story_tokenizer, text_of
from synth.tasks.text.tokenizer import Tokenizer
from synth.tasks.text.training_text import TrainingText
from synth.tasks.text.vocabularies import TokenizerConfig
from synth.tasks.text.windows import STORIES_PER_DRAW, block_rows

PAPER_STORIES = 100
"""Test stories of the paper's protocol."""
MAX_STORIES = 1 << 26
"""Limit of `fixed_stories`: the order of an epoch is one permutation."""
MAX_PARTS = 1 << 16
"""Limit of each part: a group of the mixture is drawn as a whole."""


@dataclass(frozen=True, kw_only=True)
class StoriesConfig(TaskConfig):
    """Read children's stories, in which every name occurs more than once."""

    kind: ClassVar[str] = "stories"
    metrics: ClassVar[tuple[Metric, ...]] = MENTION_METRICS
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    story: StoryConfig = identity(StoryConfig())
    """The generated stories."""
    names: NameConfig = identity(NameConfig())
    """The names of the generated stories."""
    tokenizer: TokenizerConfig = identity(TokenizerConfig())
    """The tokeniser; one is trained on the training text by default."""
    fixed_stories: int = identity(0)
    """Train on so many generated stories in epochs; 0 never repeats a story."""
    corpus: str = location()
    """Files of stories to train and test on in place of generated ones."""
    corpus_digest: str = identity("")
    """Hex sha256 of their content; filled in if not given."""
    stories_parts: int = identity(1)
    """Windows of stories among stories_parts + books_parts."""
    books_parts: int = identity(0)
    """Windows of books among them: 9 for the mixture of appendix J."""
    books: str = location()
    """Files of books; generated books if not given."""
    books_digest: str = identity("")
    """Hex sha256 of their content; filled in if not given."""
    evaluation_length: int = identity(512)
    """Test stories are cut after so many tokens."""
    grammar_digest: str = identity("")
    """Hex sha256 of the files of words, frames and plots; filled in if not given."""
    reading: str = identity("", implied="")
    """How the given files are read; filled in with the digests."""
    field: str = identity("", implied="")
    """The field of the corpus' rows that holds the text, if not text, story, content."""
    books_field: str = identity("", implied="")
    """The field of the books' rows that holds the text."""

    def validate(self) -> None:
        """Fill in digests; refuse impossible mixtures and tokenisers without names."""
        for name in ("corpus", "books"):
            path, given = absolute(getattr(self, name)), getattr(self, f"{name}_digest")
            object.__setattr__(self, name, path)
            if path or given:
                filled = filled_digest(path, given, f"StoriesConfig.{name}")
                object.__setattr__(self, f"{name}_digest", filled)
        if not self.grammar_digest:  # a new configuration, none that was stored
            object.__setattr__(self, "grammar_digest", grammar("book").digest)
            object.__setattr__(self, "reading", self.reading or self.rule)
            self._check_used()
        self.check_ranges(
            fixed_stories=(0, MAX_STORIES),
            stories_parts=(0, MAX_PARTS),
            books_parts=(0, MAX_PARTS),
            evaluation_length=(16, MAX_EVALUATION_LENGTH),
        )
        self.check(
            self.stories_parts + self.books_parts >= 1,
            "stories_parts",
            "at least 1 if books_parts is 0",
        )
        self.check(
            self.books_parts > 0 or not self.books_digest,
            "books_parts",
            "at least 1 when books are given",
        )
        if self.corpus_digest and self.fixed_stories:
            raise ValueError(
                "StoriesConfig.fixed_stories is for generated stories; a corpus is a "
                "fixed set already. Leave one of the two out."
            )
        if self.tokenizer.tokens == "characters":
            raise ValueError(
                "TokenizerConfig.tokens 'characters' has no names of two tokens. Use "
                "'bpe' or 'file' for stories, or the task 'text' for characters."
            )

    def _check_used(self) -> None:
        """Refuse settings that nothing reads; stored configurations may hold them."""
        self.tokenizer.check_used()
        names = self.names
        allowed = "0 with p_open 1, since no story takes names of the closed list"
        names.check(names.zipf == 0 or names.p_open < 1, "zipf", allowed)
        allowed = "0 with p_open 0, since no story takes names of the open pool"
        names.check(names.open_names == 0 or names.p_open > 0, "open_names", allowed)
        of_stories = bool(self.stories_parts) or not self.fixed_stories
        self.check(of_stories, "fixed_stories", "0 with stories_parts 0")
        for field, digest in (("field", "corpus"), ("books_field", "books")):
            given = not getattr(self, field) or bool(getattr(self, f"{digest}_digest"))
            self.check(given, field, f"left out without {digest}")
        for field in ("story", "names") if self.corpus_digest else ():
            usual = getattr(self, field) == getattr(type(self), field)
            allowed = "left at its default with a corpus: it is about generated stories"
            self.check(usual, field, allowed)

    @property
    def rule(self) -> str:
        """The rules by which this code reads the files and finds the names of a corpus."""
        reading = reading_rule(
            self.corpus,
            self.books,
            cleaned=bool(self.corpus_digest or self.books_digest),
            own_tokenizer=self.tokenizer.tokens == "file",
        )
        return f"{reading}, names {NAME_RULE}" if self.corpus_digest else reading

    def build(self) -> "Stories":
        """The task, with its tokeniser trained or read from the cache.

        Raises `ValueError` if words, frames or plots are not those that the
        configuration was made with.
        """
        self.check(
            self.grammar_digest == grammar("book").digest,
            "grammar_digest",
            f"{grammar('book').digest}, that of the files under synth/tasks/text/data, "
            "which have changed since",
        )
        return Stories(self)


class Stories(Task):
    """Rows of running stories; tests on stories with held-out names."""

    tokenizer: Tokenizer

    def __init__(self, config: StoriesConfig) -> None:
        self.config = config
        for name in ("corpus", "books"):
            if content := getattr(config, f"{name}_digest"):
                verified(getattr(config, name), content, f"StoriesConfig.{name}")
        check_reading(config.reading, config.rule, "StoriesConfig.reading")
        self.tokenizer = story_tokenizer(config)
        self.vocabulary = self.tokenizer.vocabulary
        words = grammar("book").all_words
        if self._corpus is not None:
            words |= frozenset(self._corpus.report["words"])
        self.names = NamePools(config.names, self.tokenizer, words)

    def train_rows(self, data_seed: int, block: int, context: int) -> Rows:
        """Consecutive windows of the training text, about 65,000 tokens a block."""
        config = self.config
        group = config.stories_parts + config.books_parts
        count = block_rows(context, group)
        rows = self._text.source.windows(data_seed, block, count, context)
        role_RT = roles(rows.mark_RT, rows.example_RT)
        return Rows(rows.tokens_RT, rows.example_RT, role_RT == REPEAT_2)

    def require_rows(self, context: int) -> Rows:
        """Draw the first block from a few of the fixed stories, if they fill a row."""
        config = self.config
        few = replace(config, fixed_stories=min(config.fixed_stories, STORIES_PER_DRAW))
        try:
            return few.build().train_rows(0, 0, context)
        except ValueError:
            with naming(config.corpus or config.books):
                return super().require_rows(context)

    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """Four suites (more with a corpus), one story a row.

        "test": at most 100 stories with any held-out names, the paper's protocol.
        "test_seen": held-out names whose two tokens are frequent in training, made of
        the pieces of the training names; left out if these pieces are too few.
        "validation": as "test", other names and stories: choose a step on these.
        "training_names" (generated): names as the training stories have them.
        "plain" (a corpus): the test documents as they are, for their loss alone.

        Of the validation split: the same suites by their names there, with names and
        documents that neither training nor the test split has.

        Raises `ValueError` for a corpus without a test document in which a name is said
        twice, and where all generated stories are cut before that.
        """
        split, own = self.split, self._corpus is None
        few = min(examples, PAPER_STORIES) if split == "test" else examples
        seen = self.names.seen(split, self._seen_V, own)
        wanted: list[tuple[str, NameSource | None, int]] = [
            (split, self.names.any(split), few),
            (f"{split}_seen", seen, examples),
        ]
        if split == "test":
            wanted.append(("validation", self.names.any("validation"), examples))
        if own:
            name = self.suite("training_names")
            wanted.append((name, self.names.training, examples))
        sets = [
            self._story_set(suite, names, number)
            for suite, names, number in wanted
            if names is not None and number > 0
        ]
        if self._corpus is not None and examples > 0:
            if len(sets[0].rows) == 0:
                counts = {s: len(part) for s, part in self._corpus.splits.items()}
                raise ValueError(
                    f"{self.config.corpus!r} has no {split} document in which a name is "
                    f"said twice (documents by split: {counts}; a hash of the title "
                    "holds one in twenty out). Add documents, or give one long .txt: one "
                    "text is split by pieces. `sample stories --corpus FILE --report` "
                    "lists the words taken for names."
                )
            sets.append(self._plain_set(examples))
        elif sets and not any(len(chosen.labels["row_M"]) for chosen in sets):
            raise ValueError(
                f"evaluation_length {self.config.evaluation_length} cuts every test story "
                "before a name is said again: nothing to score. Take 128 or more."
            )
        return [chosen for chosen in sets if len(chosen.rows)]

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Accuracy on both tokens of repeated mentions with its splits, and losses."""
        return score_mentions(chosen, scores)

    def count_items(
        self, chosen: EvaluationSet, scores: TokenScores
    ) -> list[ItemCounts]:
        """Accuracy on second tokens, story by story."""
        return count_mentions(chosen, scores)

    def samples(
        self, seed: int, count: int, split: TextSplit = "train"
    ) -> list[Sample]:
        """Whole documents; the record holds text, tokens, roles, names and split.

        From the generator, or from the user's corpus with its names replaced. `split`
        is "train" (names as in training), "validation" or "test" (held-out names).
        """
        names = self.names.training if split == "train" else self.names.any(split)
        stream = f"sample {split}"
        documents = story_documents(self._stories, names, count, stream, seed)
        samples = [
            story_sample(self.tokenizer, tokens, marks, split)
            for tokens, marks in documents
        ]
        if not samples:
            raise ValueError(
                f"{self.config.corpus!r} holds no name that is said twice in one document"
                f" of the {split} split. Use a longer text, or another one."
            )
        return samples

    def report(self) -> dict[str, Any]:
        """Sizes of the name pools; share, size and leakage of the training text."""
        test = self.names.any("test")
        seen = self._seen_V[test.tokens_P2].all(axis=1)
        sizes = {
            "training_names": self.names.training.num_names,
            "test_names": test.num_names,
            "test_first_tokens": len(np.unique(test.tokens_P2[:, 0])),
            "test_second_tokens": len(np.unique(test.tokens_P2[:, 1])),
            "unseen_share": float(1 - seen.mean()),
            "vocabulary": len(self.vocabulary),
        }
        return {"tokenizer": self.tokenizer.digest, **sizes} | self._text.report()

    def _encoded(self, name: str) -> Corpus | None:
        text = text_of(self.config, name)
        return None if text is None else encoded_corpus(text, self.tokenizer, True)

    @cached_property
    def _corpus(self) -> Corpus | None:
        return self._encoded("corpus")

    @cached_property
    def _stories(self) -> StoryGenerator | Corpus:
        """The training text besides books."""
        story, names = self.config.story, self.names.training
        return self._corpus or StoryGenerator(story, self.tokenizer, names)

    @cached_property
    def _text(self) -> TrainingText:
        """The training text, books included."""
        config = self.config
        books: Corpus | StoryGenerator | None = None
        if config.books_parts:
            generated = StoryGenerator(BOOK, self.tokenizer, self.names.books)
            books = self._encoded("books") or generated
        parts = (config.stories_parts, config.books_parts)
        return TrainingText(self._stories, books, parts, config.fixed_stories)

    @cached_property
    def _seen_V(self) -> np.ndarray:
        """Whether the training text holds each token often."""
        return self._text.seen_V(len(self.vocabulary))

    def _story_set(self, suite: str, names: NameSource, count: int) -> EvaluationSet:
        """Rows of `count` stories; a smaller count gives the first of them."""
        nats: list[np.ndarray] | None = [] if self._corpus is None else None
        documents = list(story_documents(self._stories, names, count, suite, 0, nats))
        return story_set(
            suite, documents, nats, self._seen_V, self.config.evaluation_length
        )

    def _plain_set(self, count: int) -> EvaluationSet:
        assert self._corpus is not None
        test = self._corpus.splits[self.split]
        texts = [test.document(d) for d in range(min(count, len(test)))]
        documents = [(tokens, np.zeros(len(tokens), np.uint8)) for tokens in texts]
        length = self.config.evaluation_length
        return story_set(self.suite("plain"), documents, None, self._seen_V, length)
