"""Which names a run trains on, and which it is tested on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from synth.tasks.text.cleaning import TextSplit
from synth.tasks.text.names import (
    NameConfig,
    NamePairs,
    NameSource,
    candidates,
    of_split,
)
from synth.tasks.text.tokenizer import Tokenizer

PIECES = (256, 1024)
"""Number of first and second pieces of the names in tests and in books."""


@dataclass(frozen=True)
class NamePools:
    """All pools of one task; `known` are the words that no name may be.

    Training, validation and test never share a name (`synth.tasks.text.names.split_of`).
    """

    config: NameConfig
    tokenizer: Tokenizer
    known: frozenset[str]

    @cached_property
    def training(self) -> NameSource:
        """Closed list and open pool, cut from the training pairs without overlap."""
        names = self.config
        pairs = of_split(self._own, "train")
        most = names.closed_names if names.p_open < 1 else 0
        if len(pairs) <= most:
            raise ValueError(
                f"NameConfig.closed_names must be below {len(pairs)}, the names of "
                f"this tokeniser; got {names.closed_names}. Use more pieces."
            )
        closed = pairs.take(range(most))
        stop = most + names.open_names if names.open_names else len(pairs)
        open_ = pairs.take(range(most, min(stop, len(pairs))))
        ranks = np.arange(1, most + 1, dtype=float)
        return NameSource(
            [closed, open_],
            [1 - names.p_open, names.p_open],
            [ranks**-names.zipf, np.ones(len(open_))],
        )

    @cached_property
    def books(self) -> NameSource:
        """The open names of generated books: any training pair."""
        return NameSource([of_split(self._all, "train")], [1.0])

    def any(self, split: TextSplit) -> NameSource:
        """Names of the split, made of any pieces."""
        return NameSource([of_split(self._all, split)], [1.0])

    def seen(
        self, split: TextSplit, seen_V: np.ndarray, own_pieces: bool
    ) -> NameSource | None:
        """Names of the split whose tokens are seen; None if there are too few.

        With `own_pieces`, only of the pieces of which the training names are made.
        """
        pairs = of_split(self._own if own_pieces else self._all, split)
        kept = pairs.take(np.flatnonzero(seen_V[pairs.tokens_P2].all(axis=1)))
        if len(kept) < 8 or len(np.unique(kept.tokens_P2[:, 0])) < 4:
            return None
        return NameSource([kept], [1.0])

    @property
    def _own(self) -> NamePairs:
        pieces = (self.config.first_pieces, self.config.second_pieces)
        return candidates(self.tokenizer, *pieces, self.known)

    @property
    def _all(self) -> NamePairs:
        return candidates(self.tokenizer, *PIECES, self.known)
