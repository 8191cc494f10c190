"""Text to tokens and back: byte-level BPE, characters, or a user's tokenizer.json.

BPE is trained and stored by the `tokenizers` library; `tiktoken` encodes with the same
merges about five times as fast, and is used where the pre-tokeniser is GPT-2's (a test
holds the two to equal ids).
"""

import contextlib
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from synth.tasks.text.tokenizer_json import (
    is_gpt2,
    lost_bytes,
    merges_in_order,
    parse_tokenizer,
    spells_bytes,
    token_bytes,
)

FILE_VERSION = 2
"""Raised when a given tokenizer.json would encode the same text differently."""
LEAST_TOKENS = 300
"""Smallest vocabulary of byte pairs."""
MOST_TOKENS = 1 << 20
END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
_ENDS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>", "[SEP]")
GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
_LONG_GAP = re.compile(r"\s{100000}")


class Tokenizer(ABC):
    """Encodes text; never produces the end-of-text token."""

    vocabulary: tuple[str, ...]
    """The text of each token id; id 0 is padding in those trained here."""
    end: int
    """The id that closes a document."""
    digest: str
    """Hex sha256 of what defines the tokeniser."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text."""

    @abstractmethod
    def decode(self, tokens: Iterable[int]) -> str:
        """The text of ids; special tokens are shown by name."""

    def __len__(self) -> int:
        return len(self.vocabulary)

    # Equal by digest, since caches of derived arrays are keyed by the tokeniser.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)


class Characters(Tokenizer):
    """One token a character: padding, end of text, then the alphabet in order."""

    def __init__(self, alphabet: Iterable[str]) -> None:
        self.vocabulary = (PADDING, END_OF_TEXT, *sorted(set(alphabet)))
        self.end = 1
        self._number = {c: i for i, c in enumerate(self.vocabulary) if len(c) == 1}
        joined = "".join(self.vocabulary[2:])
        self.digest = hashlib.sha256(b"characters:" + joined.encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The ids of a text; a character outside the alphabet is refused."""
        try:
            return [self._number[c] for c in text]
        except KeyError as missing:
            raise ValueError(
                f"The character {missing.args[0]!r} is not in the alphabet of "
                f"{len(self) - 2} characters that the training text has."
            ) from None

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.vocabulary[token] for token in tokens)


class BytePairs(Tokenizer):
    """A tokeniser as the `tokenizers` library stores it.

    Truncation and padding that were saved with it are switched off. Special tokens
    that stand in a text as words are encoded as words.
    """

    def __init__(self, stored: str) -> None:
        """From the content of a tokenizer.json.

        Raises `ValueError` for another kind of file, no end-of-text token, or an id above
        `MOST_TOKENS`.
        """
        import tokenizers

        self.stored = stored
        self.digest = hashlib.sha256(stored.encode()).hexdigest()
        described = parse_tokenizer(stored)
        with library_errors("The tokeniser cannot be read"):
            self._tokenizer = tokenizers.Tokenizer.from_str(stored)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        numbers = {name: self._tokenizer.token_to_id(name) for name in _ENDS}
        ends = [number for number in numbers.values() if number is not None]
        if not ends:
            raise ValueError(
                "The tokenizer.json has no end-of-text token; add one of "
                f"{', '.join(_ENDS)} to its special tokens."
            )
        self.end = ends[0]
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        # Ids may have gaps: those of added tokens often begin at a round number.
        size = max(ids) + 1
        if size > MOST_TOKENS:
            raise ValueError(
                f"The tokenizer.json has a token of id {size - 1}; ids up to "
                f"{MOST_TOKENS - 1} are supported. Number its tokens without gaps."
            )
        special = {t["content"] for t in described.get("added_tokens") or []}
        raw = [self._tokenizer.id_to_token(i) or "" for i in range(size)]
        spelled = special if spells_bytes(described) else frozenset(raw)
        self._bytes = [token_bytes(token, spelled) for token in raw]
        self.vocabulary = tuple(
            piece.decode("utf-8", "replace") for piece in self._bytes
        )
        self._byte_level = is_gpt2(described)
        ordinary = sorted(set(ids) - set(map(self._tokenizer.token_to_id, special)))
        self._ranks = {self._bytes[i]: i for i in ordinary}
        self._fast_agrees = self._byte_level and merges_in_order(
            described, set(ordinary), self._ranks
        )
        self._lost = lost_bytes(described, self._ranks)

    @cached_property
    def _fast(self) -> Any:
        """The same merges in tiktoken; None if it is not installed or would differ."""
        if not self._fast_agrees:
            return None
        try:
            import tiktoken
        except ImportError:
            return None
        return tiktoken.Encoding(
            self.digest,
            pat_str=GPT2_PATTERN,
            mergeable_ranks=self._ranks,
            special_tokens={},
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        Raises `ValueError` if the library fails, or the tokeniser has no token for a
        character.
        """
        # Tiktoken's regular expressions have a stack of a million characters.
        if self._fast is None or (len(text) > 500_000 and _LONG_GAP.search(text)):
            return self.encode_slowly(text)
        with library_errors(f"A text that begins {text[:40]!r} cannot be encoded"):
            return self._fast.encode_ordinary(text)

    def encode_slowly(self, text: str) -> list[int]:
        """The ids by the library that trained the tokeniser."""
        what = f"A text that begins {text[:40]!r} cannot be encoded"
        if self._lost and (missing := self._lost & set(text.encode())):
            raise ValueError(
                f"{what}: the tokenizer.json has no token for the bytes "
                f"{bytes(sorted(missing))!r}, which would be lost. Train it with all 256 "
                "bytes as its initial alphabet."
            )
        with library_errors(what):
            return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Iterable[int]) -> str:
        if not self._byte_level:
            return self._tokenizer.decode(list(tokens), skip_special_tokens=False)
        return b"".join(self._bytes[token] for token in tokens).decode(
            "utf-8", "replace"
        )


@contextlib.contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Turn errors of a library in Rust into a `ValueError` that begins with `what`.

    Panics of Rust do not derive from `Exception`, so other handlers miss them.
    """
    try:
        yield
    except BaseException as error:
        if type(error) is Exception or type(error).__name__ == "PanicException":
            raise ValueError(f"{what}: {error}.") from None
        raise


def read_tokenizer(path: Path) -> BytePairs:
    """The tokeniser of a tokenizer.json.

    Raises `ValueError` that names the file and says what it is instead, or what it lacks.
    """
    try:
        return BytePairs(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is binary, no tokenizer.json (a SentencePiece model, perhaps). "
            "Load it with transformers' AutoTokenizer; save_pretrained(folder) writes a "
            "tokenizer.json."
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def train_byte_pairs(texts: Iterable[str], vocab_size: int) -> BytePairs:
    """Byte-level BPE on whole documents; equal documents give equal bytes.

    Raises `ValueError` if the texts hold too few different words to fill the
    vocabulary.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if vocab_size < LEAST_TOKENS:
        raise ValueError(
            f"vocab_size must be at least {LEAST_TOKENS} (256 bytes and some merges); "
            f"got {vocab_size}."
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=True
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PADDING, END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with library_errors("The tokeniser cannot be trained"):
        tokenizer.train_from_iterator(texts, trainer)
    size = tokenizer.get_vocab_size()
    if size < vocab_size:
        fewer = f"vocab_size {size} or less" if size >= LEAST_TOKENS else "characters"
        raise ValueError(
            f"The training text fills only {size} of the {vocab_size} tokens asked "
            f"for; use {fewer}, or more text."
        )
    return BytePairs(tokenizer.to_str())
