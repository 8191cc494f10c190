"""Roles and mentions against a slow reading of the rules, one token at a time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.tasks.text.roles import repeats, roles


def slow(marks, examples):
    """Roles, and (position, distance, names so far, number) of every repeat."""
    role, found = [0] * len(marks), []
    mentioned: dict[tuple[int, int], list[int]] = {}
    for t, (mark, example) in enumerate(zip(marks, examples, strict=True)):
        if mark == 0:
            continue
        name = (example, (mark - 1) // 2)
        if mark % 2 == 1:
            role[t] = 3 if name in mentioned else 1
            continue
        whole = t > 0 and marks[t - 1] == mark - 1 and examples[t - 1] == example
        if whole and name in mentioned:
            role[t] = 4
            before = mentioned[name]
            found.append((t, t - before[-1], len(before) + 1))
        else:
            role[t] = 2
        if whole:
            mentioned.setdefault(name, []).append(t)
    return role, found


@st.composite
def windows(draw):
    """A cut through documents of names and fillers."""
    marks, first = [], []
    for _ in range(draw(st.integers(1, 4))):
        first.append(len(marks))
        for name in draw(st.lists(st.integers(-1, 2), min_size=1, max_size=9)):
            marks += [0] if name < 0 else [2 * name + 1, 2 * name + 2]
    begins = np.zeros(len(marks), bool)
    begins[first] = True
    low = draw(st.integers(0, len(marks) - 1))
    high = draw(st.integers(low + 1, len(marks)))
    begins[low] = True
    return marks[low:high], np.cumsum(begins[low:high]).tolist()


@settings(max_examples=300)
@given(windows(), windows())
def test_agrees_with_the_slow_reading(one, two):
    time = max(len(one[0]), len(two[0]))
    mark_RT = np.zeros((2, time), np.uint8)
    example_RT = np.zeros((2, time), np.int32)
    for row, (marks, examples) in enumerate((one, two)):
        mark_RT[row, : len(marks)], example_RT[row, : len(marks)] = marks, examples
    found = repeats(mark_RT, example_RT)
    rows = list(
        zip(
            found.row_M.tolist(),
            found.at_M.tolist(),
            found.distance_M.tolist(),
            found.number_M.tolist(),
            strict=True,
        )
    )
    expected = []
    for row, (marks, examples) in enumerate((one, two)):
        role, mentions = slow(marks, examples)
        assert roles(mark_RT, example_RT)[row, : len(marks)].tolist() == role
        expected += [(row, *mention) for mention in mentions]
    assert rows == expected


def test_rows_without_names():
    nothing = np.zeros((2, 5), np.uint8)
    assert not roles(nothing, np.ones((2, 5), int)).any()
    assert len(repeats(nothing, np.ones((2, 5), int)).row_M) == 0
