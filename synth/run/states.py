"""The states of a run: one list for folders, outcomes, queues and all tables."""

from collections.abc import Mapping
from typing import Literal, get_args

State = Literal[
    "new",  # never begun
    "queued",  # a job waits; the reason is the scheduler's
    "held",  # a job waits for a person (scontrol release, or cancel)
    "running",  # a process holds the run, or a running job has it
    "stopped",  # begun, and nobody has it: launch again to go on
    "cancelled",  # by `cancel`, or by scancel as far as anyone remembers
    "timed out",  # its job hit its limit without requeueing itself
    "lost",  # its job is gone and nobody knows why: launch again to go on
    "unknown",  # its job may live or not: the controller does not answer
    "done",  # result.json, and the files that it counts are as training wrote them
    "unreadable",  # its folder or a file in it cannot be used; the error says which
    "failed",  # failure.json
]
STATES: tuple[State, ...] = get_args(State)
LIVE: tuple[State, ...] = ("queued", "held", "running")
"""Somebody trains the run, or will."""
TROUBLED: tuple[State, ...] = ("unreadable", "failed")
"""`run` leaves these alone; `retry` takes them up."""
NOT_DONE: tuple[State, ...] = tuple(state for state in STATES if state != "done")
UNTRIED: tuple[State, ...] = tuple(s for s in NOT_DONE if s not in TROUBLED)
"""What a launch trains unless told otherwise: failed runs wait for a person."""
STOPPED_STATUS = 75
"""Exit status of a command that a signal stopped: call again to go on (EX_TEMPFAIL)."""


def format_counts(counts: Mapping[State, int]) -> str:
    """Numbers of runs by state, for people: `3 done, 1 failed`."""
    return ", ".join(f"{counts[s]} {s}" for s in STATES if counts.get(s))
