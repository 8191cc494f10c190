"""Text to tokens and back for tasks whose tokens are symbols, not pieces of a text."""

import re
from collections.abc import Iterable, Sequence


class Symbols:
    """The printed forms of a task's tokens, one a token id.

    >>> words = Symbols(["<pad>", "(", ")", "+", "1", "2", "x1", "x12"])
    >>> [words.vocabulary[i] for i in words.encode("(1 2+x12)")]
    ['(', '1', '2', '+', 'x12', ')']
    """

    def __init__(self, vocabulary: Sequence[str], end: int | None = None) -> None:
        self.vocabulary = tuple(vocabulary)
        self.end = end
        """The id that ends an answer, where answers differ in length."""
        self._number = {word: number for number, word in enumerate(self.vocabulary)}
        longest_first = sorted(self.vocabulary, key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest_first))
        if any(re.search(r"\d\d", word) for word in self.vocabulary):
            # 57 is no 5 and 7 where numbers have several digits.
            pattern = rf"(?:{pattern})(?:(?<!\d)|(?!\d))"
        self.pattern = pattern
        """A regular expression for one symbol."""
        self._symbol = re.compile(pattern)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """The ids of a text; spaces divide symbols, and are needed only where two
        would read as one.

        Raises `ValueError`, naming the first place where no symbol begins.
        """
        tokens: list[int] = []
        for word in text.split():
            at = 0
            while at < len(word):
                found = self._symbol.match(word, at)
                if found is None:
                    raise ValueError(
                        f"No symbol of the task begins at {word[at:]!r} in "
                        f"{_shortened(text)!r}. Its symbols: {self._shown()}."
                    )
                tokens.append(self._number[found[0]])
                at = found.end()
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The symbols of ids, a space between two."""
        return " ".join(self.vocabulary[token] for token in tokens)

    def _shown(self) -> str:
        more = ", ..." if len(self) > 40 else ""
        return " ".join(self.vocabulary[:40]) + more


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."
