"""The tokeniser of a run: trained on its text, an alphabet, or a given file."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from synth.disk.cache import entry
from synth.identity import Part, digest, identity, location
from synth.tasks.text.cleaning import CLEANING_VERSION
from synth.tasks.text.grammar import grammar
from synth.tasks.text.plain import plain_stories, syllable_names
from synth.tasks.text.reading import (
    absolute,
    filled_digest,
    tokenizer_file_digest,
    verified,
)
from synth.tasks.text.tokenizer import (
    LEAST_TOKENS,
    BytePairs,
    Characters,
    Tokenizer,
    read_tokenizer,
    train_byte_pairs,
)

TRAINING_VERSION = 1
"""Raised when the same settings would train another tokeniser."""
GENERATED_CHARACTERS = 3_000_000
SYLLABLE_NAMES = 20_000
FILLED = 23_000
"""Largest vocabulary that generated stories fill; beyond it names are added."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(Part):
    """How text becomes tokens."""

    tokens: Literal["bpe", "characters", "file"] = identity("bpe")
    """Byte-level BPE trained on the training text, its characters, or a given file."""
    vocab_size: int = identity(2048)
    """Tokens of a trained BPE."""
    tokenizer_file: str = location()
    """A tokenizer.json; with one, tokens is "file"."""
    tokenizer_digest: str = identity("")
    """Hex sha256 of that file; filled in if not given."""

    def validate(self) -> None:
        self.check_ranges(vocab_size=(LEAST_TOKENS, 1 << 17))
        if self.tokenizer_file:
            object.__setattr__(self, "tokens", "file")
        if self.tokens == "file":
            object.__setattr__(self, "tokenizer_file", absolute(self.tokenizer_file))
            filled = filled_digest(
                self.tokenizer_file,
                self.tokenizer_digest,
                "TokenizerConfig.tokenizer_file",
                tokenizer_file_digest,
            )
            object.__setattr__(self, "tokenizer_digest", filled)
        else:
            allowed = f"empty for tokens {self.tokens!r}"
            self.check(self.tokenizer_digest == "", "tokenizer_digest", allowed)

    def check_used(self) -> None:
        """Refuse a vocabulary size that nothing reads (`ValueError`)."""
        usual = type(self).vocab_size
        self.check(
            self.tokens == "bpe" or self.vocab_size == usual,
            "vocab_size",
            f"left at {usual} with tokens {self.tokens!r}: it sizes those of tokens 'bpe'",
        )

    def build(
        self, key: Sequence[str], texts: Callable[[], Iterator[str]]
    ) -> Tokenizer:
        """The tokeniser; `texts` yields the training text that `key` identifies."""
        if self.tokens == "file":
            path = verified(
                self.tokenizer_file,
                self.tokenizer_digest,
                "TokenizerConfig.tokenizer_file",
                tokenizer_file_digest,
            )
            return read_tokenizer(Path(path))
        if self.tokens == "characters":
            folder = entry(
                "alphabets",
                digest([*key, TRAINING_VERSION]),
                lambda to: _write(to, _alphabet(texts())),
            )
            return Characters(_read(folder))
        folder = entry(
            "tokenizers",
            digest([*key, self.vocab_size, TRAINING_VERSION, CLEANING_VERSION]),
            lambda to: _write(to, train_byte_pairs(texts(), self.vocab_size).stored),
        )
        return BytePairs(_read(folder))


def _alphabet(texts: Iterator[str]) -> str:
    """All characters of the texts, in order."""
    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    return "".join(sorted(characters))


def _write(folder: Path, content: str) -> None:
    # As bytes, since an alphabet may hold any kind of line end.
    (folder / "content").write_bytes(content.encode())


def _read(folder: Path) -> str:
    return (folder / "content").read_bytes().decode()


def generated_texts(profiles: Sequence[str], vocab_size: int = 0) -> Iterator[str]:
    """Stories with made-up names of two syllables, to train a tokeniser without files.

    Stories with ordinary names would fill about 1,000 tokens, of which too few combine
    to new names. Up to `FILLED` tokens the texts do not depend on the size.
    """
    for profile in profiles:
        rng = random.Random(20240430)
        names = syllable_names(rng, SYLLABLE_NAMES)
        written = 0
        for text in plain_stories(rng, grammar(profile), names):
            yield text
            written += len(text)
            if written >= GENERATED_CHARACTERS:
                break
    if vocab_size > FILLED:
        yield " ".join(syllable_names(random.Random(vocab_size), 3 * vocab_size))
