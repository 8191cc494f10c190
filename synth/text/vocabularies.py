"""Which tokeniser a run uses, and where it comes from: trained, an alphabet, a file."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from synth.identity import Part, digest, identity, location
from synth.text.cache import entry
from synth.text.cleaning import CLEANING_VERSION
from synth.text.corpus import corpus_digest
from synth.text.grammar import grammar
from synth.text.hub import PREFIX, HubPlace
from synth.text.plain import plain_stories, syllable_names
from synth.text.tokenizer import BytePairs, Characters, Tokenizer, train_byte_pairs

TRAINING_VERSION = 1
"""Raised when the same settings would train another tokeniser."""
GENERATED_CHARACTERS = 3_000_000
SYLLABLE_NAMES = 20_000
FILLED = 23_000
"""Tokens that generated stories fill; a larger vocabulary takes a list of names too."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(Part):
    """How text becomes tokens."""

    tokens: Literal["bpe", "characters", "file"] = identity("bpe")
    """Byte-level BPE trained on the training text, its characters, or a given file."""
    vocab_size: int = identity(2048)
    """Tokens of a trained BPE."""
    tokenizer_file: str = location()
    """A tokenizer.json (tokens "file")."""
    tokenizer_digest: str = identity("")
    """Hex sha256 of that file; filled in if not given."""

    def validate(self) -> None:
        """Refuse impossible sizes and files that are absent or not meant."""
        self.check(300 <= self.vocab_size <= 1 << 17, "vocab_size", "300 to 131072")
        if self.tokens == "file":
            filled = filled_digest(
                self.tokenizer_file,
                self.tokenizer_digest,
                "TokenizerConfig.tokenizer_file",
            )
            object.__setattr__(self, "tokenizer_digest", filled)
        else:
            for name in ("tokenizer_file", "tokenizer_digest"):
                allowed = f"empty for tokens {self.tokens!r}"
                self.check(getattr(self, name) == "", name, allowed)

    def build(
        self, key: Sequence[str], texts: Callable[[], Iterator[str]]
    ) -> Tokenizer:
        """The tokeniser; `texts` yields the training text that `key` identifies."""
        if self.tokens == "file":
            path = verified(
                self.tokenizer_file,
                self.tokenizer_digest,
                "TokenizerConfig.tokenizer_file",
            )
            return BytePairs(Path(path).read_text("utf-8"))
        if self.tokens == "characters":
            folder = entry(
                "alphabets",
                digest([*key, TRAINING_VERSION]),
                lambda to: _write(to, "".join(sorted(set().union(*map(set, texts()))))),
            )
            return Characters((folder / "content").read_text("utf-8"))
        folder = entry(
            "tokenizers",
            digest([*key, self.vocab_size, TRAINING_VERSION, CLEANING_VERSION]),
            lambda to: _write(to, train_byte_pairs(texts(), self.vocab_size).stored),
        )
        return BytePairs((folder / "content").read_text("utf-8"))


def _write(folder: Path, content: str) -> None:
    # newline="": the alphabet of a text holds its line ends as they are.
    with (folder / "content").open("w", encoding="utf-8", newline="") as file:
        file.write(content)


def filled_digest(path: str, given: str, field: str) -> str:
    """The digest of what lies at `path`; the one given if nothing lies there.

    So a stored configuration can be read where its corpus is absent, and a new one is
    complete once it is built.

    Raises
    ------
    ValueError
        If nothing lies at `path` and no digest is given, or if they disagree.
    """
    if path.startswith(PREFIX):
        # The revision is a hash of the content already; nothing is downloaded here.
        found = digest(HubPlace.parse(path).identity)
        if given and found != given:
            raise ValueError(
                f"{field} {path!r} is not what the digest given stands for."
            )
        return found
    if given and not Path(path).exists():
        return given
    if not path:
        raise ValueError(f"{field} is empty. Give the path of a file.")
    found = corpus_digest(Path(path)) if not path.endswith(".json") else _plain(path)
    if given and found != given:
        raise ValueError(
            f"{field} {path!r} has the sha256 {found}, but the digest given is "
            f"{given}: the content has changed. Leave the digest out to use it so."
        )
    return found


def verified(path: str, expected: str, field: str) -> str:
    """The place, if what lies there has the digest of the configuration."""
    if not path.startswith(PREFIX) and not Path(path).exists():
        raise ValueError(
            f"{field} {path!r} does not exist here. Give the place of the content with "
            f"sha256 {expected}."
        )
    filled_digest(path, expected, field)
    return path


def _plain(path: str) -> str:
    import hashlib

    if not Path(path).is_file():
        raise ValueError(f"The file {path!r} does not exist.")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def generated_texts(profiles: Sequence[str], vocab_size: int = 0) -> Iterator[str]:
    """Stories with made-up names of two syllables, to train a tokeniser from nothing.

    Plain stories alone would fill a vocabulary of about 1,000 tokens, with too few
    pieces that can be put together to names. Up to `FILLED` tokens, the texts are the
    same for every size.
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
