"""Packs to job arrays: how many, how long, and how many elements run at a time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from synth.config import RunConfig

JobRuns = Sequence[RunConfig]
"""Runs that train as lanes of one program, in one job."""


@dataclass(frozen=True)
class Limits:
    """What the cluster's controller allows, from `scontrol show config`."""

    max_array_size: int = 1001
    """Elements of one array: the largest index is one less."""
    max_job_count: int = 10_000
    """Jobs that the controller keeps, of all users."""

    @classmethod
    def parse(cls, text: str) -> "Limits":
        """Read the output of `scontrol show config`."""
        numbers = dict(re.findall(r"^(\w+)\s*=\s*(\d+)", text, flags=re.MULTILINE))
        return cls(
            int(numbers.get("MaxArraySize", cls.max_array_size)),
            int(numbers.get("MaxJobCount", cls.max_job_count)),
        )


@dataclass(frozen=True)
class ArrayPlan:
    """One array: its packs, the elements that may run at a time, what it waits for."""

    packs: list[JobRuns]
    parallelism: int
    after: int | None = None
    """Index, in the same plan, of the array that must end before this one starts."""


@dataclass(frozen=True)
class SubmissionPlan:
    """What a submission would send, and what must wait for a later one."""

    arrays: list[ArrayPlan]
    held_back: list[JobRuns]


def plan_arrays(
    packs: Sequence[JobRuns],
    limits: Limits,
    max_running: int | None = None,
    room: int | None = None,
) -> SubmissionPlan:
    """Cut packs into arrays that the cluster accepts, in order.

    `max_running` bounds the jobs of the whole submission: arrays share it; where there
    are more arrays than that, the later ones wait for earlier ones. `room` is how many
    more jobs the queue takes; packs beyond it are held back.
    """
    room = limits.max_job_count if room is None else min(room, limits.max_job_count)
    sent, held_back = list(packs[: max(0, room)]), list(packs[max(0, room) :])
    size = max(1, limits.max_array_size)
    chunks = [sent[i : i + size] for i in range(0, len(sent), size)]
    if max_running is None:
        return SubmissionPlan(
            [ArrayPlan(chunk, len(chunk)) for chunk in chunks], held_back
        )
    abreast = max(1, min(len(chunks), max_running))
    arrays = []
    for index, chunk in enumerate(chunks):
        share, rest = divmod(max_running, abreast)
        share += index % abreast < rest
        after = index - abreast if index >= abreast else None
        arrays.append(ArrayPlan(chunk, min(share, len(chunk)), after))
    return SubmissionPlan(arrays, held_back)
