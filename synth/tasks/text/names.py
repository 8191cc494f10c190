"""Names of exactly two tokens: candidates, splits, pools, and drawing them for a story.

A name is a capitalised first piece and a lower-case second piece, ` Zor` + `bel`, that
the tokeniser splits in exactly this way after a space. Text after a word never changes
its tokens but text before it can, so a name always stands after a space.

Letters in names: P pairs of a pool, C characters, D documents.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from synth.identity import Part, identity
from synth.tasks.text.cleaning import TextSplit
from synth.tasks.text.tokenizer import Tokenizer

_FIRST = re.compile(r" [A-Z][a-z]{1,5}")
_SECOND = re.compile(r"[a-z]{2,4}")
MOST_NAMES = 1 << 17
"""Upper limit of the fields; there are fewer pairs of tokens that read like names."""
LEAST_CHANCE = 1e-4
"""Of four drawn names to have different first tokens; below it drawing takes minutes."""


@dataclass(frozen=True, kw_only=True)
class NameConfig(Part):
    """Which names the characters of the training stories have."""

    p_open: float = identity(1.0)
    """Share of stories with names of the open pool; the others use the closed list."""
    closed_names: int = identity(64)
    """Length of the closed list."""
    zipf: float = identity(0.0)
    """Names of the closed list are drawn with weight rank**-zipf; 0 is uniform."""
    first_pieces: int = identity(64)
    """Different first tokens of training names."""
    second_pieces: int = identity(512)
    """Different second tokens of training names."""
    open_names: int = identity(0)
    """Length of the open pool; 0 takes every training pair of the pieces."""

    def validate(self) -> None:
        self.check(0 <= self.p_open <= 1, "p_open", "between 0 and 1")
        self.check(self.zipf >= 0, "zipf", "at least 0")
        pieces = ("first_pieces", "second_pieces", "closed_names")
        self.check_ranges(**dict.fromkeys(pieces, (4, MOST_NAMES)))
        self.check(
            self.open_names == 0 or 4 <= self.open_names <= MOST_NAMES,
            "open_names",
            f"0, or from 4 to {MOST_NAMES}",
        )


@dataclass(frozen=True)
class NamePairs:
    """Names as token pairs, and as text without the space."""

    tokens_P2: np.ndarray
    text: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.text)

    def take(self, chosen: Iterable[int]) -> "NamePairs":
        """Some of the pairs, in the order given."""
        index = np.fromiter(chosen, np.int64)
        return NamePairs(self.tokens_P2[index], tuple(self.text[i] for i in index))


def hash_order(text: str) -> int:
    """A hash by which strings are sorted, whatever the tokeniser."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def split_of(name: str) -> TextSplit:
    """The split of a name, by its hash: one in ten for validation, one for test."""
    place = hash_order("split:" + name) % 10
    return "test" if place == 0 else "validation" if place == 1 else "train"


@cache
def candidates(
    tokenizer: Tokenizer, first_pieces: int, second_pieces: int, known: frozenset[str]
) -> NamePairs:
    """All two-token names of the chosen pieces, in order of their hash.

    Pieces are taken in order of their hash too, so a larger number adds to the smaller
    set. First pieces and names that are words of `known` (lower case) are left out.

    Raises `ValueError` if the tokeniser yields fewer than 16 names: characters, for
    instance.
    """
    pieces = list(tokenizer.vocabulary)
    firsts = [i for i, p in enumerate(pieces) if _FIRST.fullmatch(p)]
    firsts = [i for i in firsts if pieces[i][1:].lower() not in known]
    seconds = [i for i, p in enumerate(pieces) if _SECOND.fullmatch(p)]
    firsts = sorted(firsts, key=lambda i: hash_order(pieces[i]))[:first_pieces]
    seconds = sorted(seconds, key=lambda i: hash_order(pieces[i]))[:second_pieces]
    names: list[tuple[str, int, int]] = []
    for first in firsts:
        for second in seconds:
            text = pieces[first] + pieces[second]
            if text[1:].lower() in known:
                continue
            if tokenizer.encode(text) == [first, second]:
                names.append((text[1:], first, second))
    names.sort(key=lambda entry: hash_order(entry[0]))
    if len(names) < 16:
        raise ValueError(
            f"The tokeniser yields {len(names)} names of exactly two tokens; at least "
            "16 are needed. Use byte-level BPE with a vocabulary of 2048 or more."
        )
    tokens = np.array([(a, b) for _, a, b in names], np.int64)
    return NamePairs(tokens, tuple(name for name, _, _ in names))


def of_split(pairs: NamePairs, split: TextSplit) -> NamePairs:
    """The pairs of one split."""
    return pairs.take(i for i, name in enumerate(pairs.text) if split_of(name) == split)


class NameSource:
    """Draws the names of a story: distinct first tokens, known probabilities.

    One or more pools with weights; a story takes all its names from one pool. Within
    a pool of pairs with weights w, the ordered tuple (n_1 .. n_C) with distinct first
    tokens has probability w_1 .. w_C / Z, where Z sums over all such tuples.
    """

    def __init__(
        self,
        pools: Sequence[NamePairs],
        shares: Sequence[float],
        weights: Sequence[np.ndarray] | None = None,
    ) -> None:
        kept = [i for i, share in enumerate(shares) if share > 0]
        self.pools = [pools[i] for i in kept]
        self.shares = np.array([shares[i] for i in kept]) / sum(shares)
        given = weights or [np.ones(len(pool)) for pool in pools]
        self.weights = [given[i] / given[i].sum() for i in kept]
        self.first = np.cumsum([0, *[len(pool) for pool in self.pools]])
        self.tokens_P2 = np.concatenate([pool.tokens_P2 for pool in self.pools])
        self.text = tuple(name for pool in self.pools for name in pool.text)
        self._mass = [
            np.bincount(pool.tokens_P2[:, 0], weight)
            for pool, weight in zip(self.pools, self.weights, strict=True)
        ]
        for pool, mass in zip(self.pools, self._mass, strict=True):
            if (mass > 0).sum() < 4:
                raise ValueError(
                    f"A pool of {len(pool)} names has {(mass > 0).sum()} first tokens; "
                    "a story needs up to 4 different ones. Use more names or pieces."
                )
            chance = distinct_sums(mass[mass > 0], 4)[-1]
            if chance < LEAST_CHANCE:
                raise ValueError(
                    f"Four names from a pool of {len(pool)} have different first tokens "
                    f"with probability {chance:.1g}, too rarely to draw stories: at least "
                    f"{LEAST_CHANCE:g} is needed. Use a smaller zipf, or more names."
                )

    @property
    def num_names(self) -> int:
        """Names over all pools."""
        return len(self.text)

    def draw(
        self, rng: np.random.Generator, cast_D: np.ndarray, characters: int
    ) -> np.ndarray:
        """Indices into `tokens_P2`, (D, characters).

        The first tokens of the first `cast_D` names of a row differ; the rest of a row
        is spare.
        """
        count = len(cast_D)
        spare_C = np.arange(characters)
        pool_D = rng.choice(len(self.pools), count, p=self.shares)
        names_DC = np.zeros((count, characters), np.int64)
        missing = np.arange(count)
        while len(missing):
            for pool, weight in enumerate(self.weights):
                here = missing[pool_D[missing] == pool]
                uniform = rng.random((len(here), characters))
                drawn = np.searchsorted(np.cumsum(weight)[:-1], uniform, side="right")
                names_DC[here] = self.first[pool] + drawn
            first = self.tokens_P2[names_DC[missing], 0]
            used = spare_C < cast_D[missing, None]
            first = np.sort(np.where(used, first, -1 - spare_C), axis=1)
            missing = missing[(first[:, 1:] == first[:, :-1]).any(axis=1)]
        return names_DC

    def nats(self, names_DC: np.ndarray, used_D: np.ndarray) -> np.ndarray:
        """-log p of the first `used_D` names of a row, by token: (D, C, 2).

        The second entry is -log p of the second token given the first. The terms that a
        story's names share (pool, normaliser) are split evenly among their first tokens,
        so that sums over a story are exact.
        """
        pool_D = np.searchsorted(self.first, names_DC[:, 0], side="right") - 1
        result = np.zeros((*names_DC.shape, 2))
        for pool, (weight, mass) in enumerate(
            zip(self.weights, self._mass, strict=True)
        ):
            rows = np.flatnonzero(pool_D == pool)
            names = names_DC[rows]
            first_mass = mass[self.tokens_P2[names, 0]]
            own = weight[np.clip(names - self.first[pool], 0, len(weight) - 1)]
            z = distinct_sums(mass[mass > 0], names_DC.shape[1])
            used = np.maximum(used_D[rows], 1)
            shared = (np.log(z)[used] - np.log(self.shares[pool])) / used
            result[rows, :, 0] = -np.log(first_mass) + shared[:, None]
            result[rows, :, 1] = np.log(first_mass) - np.log(own)
        return result


def distinct_sums(mass: np.ndarray, most: int) -> np.ndarray:
    """Sum over ordered tuples of 0..most distinct entries of the product of masses.

    This is c! e_c(mass) for c = 0..most, e_c the elementary symmetric polynomial.
    """
    sums = np.zeros(most + 1)
    sums[0] = 1.0
    for value in mass:
        sums[1:] = sums[1:] + value * sums[:-1]
    return sums * np.cumprod([1, *range(1, most + 1)])
