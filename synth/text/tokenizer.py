"""Text to tokens and back: byte-level BPE, characters, or a user's tokenizer.json.

BPE is trained and stored by the `tokenizers` library; `tiktoken` encodes with the same
merges about five times as fast, and is used where the pre-tokeniser is GPT-2's (a test
holds the two to equal ids).
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
_ENDS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>", "[SEP]")
GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


class Tokenizer(ABC):
    """Encodes text without ever producing the end-of-text token."""

    vocabulary: tuple[str, ...]
    """The text of each token id; id 0 is padding in the tokenisers made here."""
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

    # Tokenisers of the same digest are the same: caches of derived arrays use this.
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
        """The text of ids."""
        return "".join(self.vocabulary[token] for token in tokens)


class BytePairs(Tokenizer):
    """A tokeniser as the `tokenizers` library stores it."""

    def __init__(self, stored: str) -> None:
        """From the content of a tokenizer.json.

        Raises
        ------
        ValueError
            If it has no end-of-text token, or is a WordPiece (which loses capitals).
        """
        import tokenizers

        self.stored = stored
        self.digest = hashlib.sha256(stored.encode()).hexdigest()
        described: dict[str, Any] = json.loads(stored)
        if described["model"]["type"] == "WordPiece":
            raise ValueError(
                "A WordPiece tokeniser lower-cases and drops spaces, so names cannot "
                "be told from words. Use a byte-level BPE."
            )
        self._tokenizer = tokenizers.Tokenizer.from_str(stored)
        numbers = {name: self._tokenizer.token_to_id(name) for name in _ENDS}
        ends = [number for number in numbers.values() if number is not None]
        if not ends:
            raise ValueError(
                "The tokenizer.json has no end-of-text token; add one of "
                f"{', '.join(_ENDS)} to its special tokens."
            )
        self.end = ends[0]
        self._special = {t["content"] for t in described.get("added_tokens", [])}
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        raw = [self._tokenizer.id_to_token(i) or "" for i in range(size)]
        self._bytes = [self._as_bytes(token) for token in raw]
        self.vocabulary = tuple(
            piece.decode("utf-8", "replace") for piece in self._bytes
        )
        self._byte_level = _is_gpt2(described)

    def _as_bytes(self, token: str) -> bytes:
        if token in self._special or any(c not in _BYTE_OF for c in token):
            return token.encode()
        return bytes(_BYTE_OF[c] for c in token)

    @cached_property
    def _fast(self) -> Any:
        """The same merges in tiktoken; None where it is absent or they would differ."""
        if not self._byte_level:
            return None
        try:
            import tiktoken
        except ImportError:
            return None
        specials = [self._tokenizer.token_to_id(name) for name in self._special]
        ranks = {p: i for i, p in enumerate(self._bytes) if i not in specials}
        return tiktoken.Encoding(
            self.digest, pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={}
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        if self._fast is not None:
            return self._fast.encode_ordinary(text)
        return self.encode_slowly(text)

    def encode_slowly(self, text: str) -> list[int]:
        """The ids by the library that trained the tokeniser."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of ids."""
        if not self._byte_level:
            return self._tokenizer.decode(list(tokens), skip_special_tokens=False)
        return b"".join(self._bytes[token] for token in tokens).decode(
            "utf-8", "replace"
        )


def train_byte_pairs(texts: Iterable[str], vocab_size: int) -> BytePairs:
    """Byte-level BPE on whole documents; equal documents give equal bytes.

    Raises
    ------
    ValueError
        If the texts hold too few different words to fill the vocabulary.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if vocab_size < 300:
        raise ValueError(
            "vocab_size must be at least 300 (256 bytes and some merges); got "
            f"{vocab_size}."
        )
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=True
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PADDING, END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    size = made.get_vocab_size()
    if size < vocab_size:
        raise ValueError(
            f"The training text fills only {size} of the {vocab_size} tokens asked "
            f"for; use vocab_size {size} or less, or more text."
        )
    return BytePairs(made.to_str())


def _byte_table() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in kept}
    moved = [byte for byte in range(256) if byte not in kept]
    return table | {chr(256 + place): byte for place, byte in enumerate(moved)}


_BYTE_OF = _byte_table()


def _is_gpt2(described: dict[str, Any]) -> bool:
    """Whether it is a BPE over bytes, cut by GPT-2's pattern, and nothing else."""
    before, model = described.get("pre_tokenizer") or {}, described["model"]
    return (
        model["type"] == "BPE"
        and not described.get("normalizer")
        and not model.get("ignore_merges")
        and before.get("type") == "ByteLevel"
        and before.get("use_regex", True)
        and not before.get("add_prefix_space")
    )
