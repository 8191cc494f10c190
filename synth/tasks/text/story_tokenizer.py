"""The files that a configuration of stories names, and the tokeniser of its text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from synth.tasks.text.encoded import CorpusText, sampled_texts
from synth.tasks.text.grammar import grammar
from synth.tasks.text.tokenizer import Tokenizer
from synth.tasks.text.vocabularies import generated_texts

if TYPE_CHECKING:
    from synth.tasks.stories import StoriesConfig

SMALL_CORPUS = 2_000_000
"""Below so many characters, generated stories help to train the tokeniser."""


def text_of(config: "StoriesConfig", name: str) -> CorpusText | None:
    """The files of "corpus" or of "books", if there are any."""
    content = getattr(config, f"{name}_digest")
    field = config.field if name == "corpus" else config.books_field
    if not content:
        return None
    return CorpusText(getattr(config, name), content, field, config.reading)


def story_tokenizer(config: "StoriesConfig") -> Tokenizer:
    """The tokeniser, trained on the files and on generated stories or books."""
    files = [text for name in ("corpus", "books") if (text := text_of(config, name))]
    profiles = [] if config.corpus_digest else ["story", "book"]
    if config.books_parts and not config.books_digest and config.corpus_digest:
        profiles = ["book"]
    key = [*profiles, *(word for text in files for word in text.key)]
    versions = [str(grammar(profile).digest) for profile in profiles]

    def texts() -> Iterator[str]:
        sampled = list(sampled_texts(files))
        yield from sampled
        if profiles:
            yield from generated_texts(profiles, config.tokenizer.vocab_size)
        elif sum(map(len, sampled)) < SMALL_CORPUS:
            # Too little to fill a vocabulary, or to give pieces of names.
            yield from generated_texts(["story"], config.tokenizer.vocab_size)

    return config.tokenizer.build([*key, *versions], texts)
