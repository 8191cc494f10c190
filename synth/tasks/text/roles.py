"""The role of each token of a row: none, or part of a first or a repeated mention.

Letters in names: R rows, T positions in a row, M mentions.
"""

from dataclasses import dataclass

import numpy as np

OTHER, FIRST_1, FIRST_2, REPEAT_1, REPEAT_2 = range(5)
"""Roles: the two tokens of a name's first mention, and those of a repeated one."""


@dataclass(frozen=True)
class Mentions:
    """All repeated mentions whose second token lies in some row.

    `row_M`, `at_M`: where the second token stands. `distance_M`: tokens back to the
    second token of the mention before. `number_M`: 2 for the second mention of a name,
    and so on.
    """

    row_M: np.ndarray
    at_M: np.ndarray
    distance_M: np.ndarray
    number_M: np.ndarray


def roles(mark_RT: np.ndarray, example_RT: np.ndarray) -> np.ndarray:
    """Roles from marks (2c+1 and 2c+2 on the tokens of name c), within each example.

    A mention counts only if the row holds both of its tokens: a row that begins with a
    second token has not shown that name yet. Roles are recomputed for every cut.

    marks  0 1 2 0 3 4 0 1 2 0      roles  0 1 2 0 1 2 0 3 4 0
    """
    role_RT = np.zeros(mark_RT.shape, np.uint8)
    row, at = np.nonzero(mark_RT)
    if len(row) == 0:
        return role_RT
    mark = mark_RT[row, at].astype(np.int64)
    name, second = (mark - 1) // 2, mark % 2 == 0
    whole = _whole(mark_RT, example_RT, row, at, second)
    key = _key(mark_RT, example_RT, row, at, name)
    # np.nonzero goes along rows, so the first index of a key is its first mention.
    keys, first = np.unique(key[whole], return_index=True)
    since = np.full(len(row), mark_RT.size, np.int64)
    place = row * mark_RT.shape[1] + at
    index = np.searchsorted(keys, key)
    index[index == len(keys)] = 0
    if len(keys):
        shown = keys[index] == key
        since[shown] = place[whole][first][index[shown]]
    repeat = place > since
    role_RT[row, at] = np.where(second, 2, 1) + 2 * (repeat & (whole | ~second))
    return role_RT


def repeats(mark_RT: np.ndarray, example_RT: np.ndarray) -> Mentions:
    """The repeated mentions, in the order of rows."""
    row, at = np.nonzero((mark_RT > 0) & (mark_RT % 2 == 0))
    name = (mark_RT[row, at].astype(np.int64) - 1) // 2
    whole = _whole(mark_RT, example_RT, row, at, np.ones(len(row), bool))
    row, at, name = row[whole], at[whole], name[whole]
    key = _key(mark_RT, example_RT, row, at, name)
    order = np.argsort(key, kind="stable")
    same = np.concatenate([[False], key[order][1:] == key[order][:-1]])
    distance, number = np.zeros(len(key), np.int64), np.ones(len(key), np.int64)
    distance[order[1:]] = np.where(same[1:], np.diff(at[order]), 0)
    start = np.flatnonzero(~same)
    run = np.repeat(start, np.diff([*start, len(key)]))
    number[order] = np.arange(len(key)) - run + 1
    again = number > 1
    return Mentions(row[again], at[again], distance[again], number[again])


def _whole(
    mark_RT: np.ndarray,
    example_RT: np.ndarray,
    row: np.ndarray,
    at: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """Whether each is a second token directly after its first, in the same example."""
    before = np.maximum(at - 1, 0)
    return (
        second
        & (at > 0)
        & (mark_RT[row, before] + 1 == mark_RT[row, at])
        & (example_RT[row, before] == example_RT[row, at])
    )


def _key(
    mark_RT: np.ndarray,
    example_RT: np.ndarray,
    row: np.ndarray,
    at: np.ndarray,
    name: np.ndarray,
) -> np.ndarray:
    """One number for each name of each example of each row."""
    names = int(mark_RT.max(initial=0)) // 2 + 1
    examples = int(example_RT.max(initial=0)) + 1
    return (row * examples + example_RT[row, at]) * names + name
