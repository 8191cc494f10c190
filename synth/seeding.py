"""Named random streams: no global seed, and no two uses share a stream.

A stream is a `numpy.random.SeedSequence` whose spawn key is derived from its name, so a
stream is a function of (seed, name, indices) alone and never of what was drawn before.
"""

import hashlib

import numpy as np


def stream(seed: int, *name: str | int) -> np.random.SeedSequence:
    """The stream of `seed` called `name`, for instance `stream(0, "train", 17)`.

    >>> state = stream(0, "train", 1).generate_state(1)
    >>> state == stream(0, "train", 1).generate_state(1)
    array([ True])
    >>> state == stream(0, "train", 2).generate_state(1)
    array([False])
    """
    if seed < 0:
        raise ValueError(f"A seed must be a non-negative integer; got {seed!r}.")
    return np.random.SeedSequence(seed, spawn_key=tuple(_key(part) for part in name))


def generator(seed: int, *name: str | int) -> np.random.Generator:
    """A numpy generator on the named stream."""
    return np.random.Generator(np.random.PCG64(stream(seed, *name)))


def torch_seed(seed: int, *name: str | int) -> int:
    """A 63-bit seed for a torch generator on the named stream."""
    return int(stream(seed, *name).generate_state(1, np.uint64)[0] >> 1)


def splitmix64(word_N: np.ndarray) -> np.ndarray:
    """Mixed 64-bit words: the output function of splitmix64 (Steele et al. 2014)."""
    word_N = (word_N ^ word_N >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    word_N = (word_N ^ word_N >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return word_N ^ word_N >> np.uint64(31)


def _key(part: str | int) -> int:
    """A word of a name as an integer; an index is kept as it is."""
    if isinstance(part, int):
        return part
    # The high bit keeps words and small indices from ever coinciding.
    word = int.from_bytes(hashlib.sha256(part.encode()).digest()[:4], "big")
    return word | 1 << 32
