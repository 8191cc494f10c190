"""Split packs into job arrays within the limits of the cluster and the profile."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from synth.config import RunConfig

JobRuns = Sequence[RunConfig]
"""Runs that train as lanes of one program, in one job."""


@dataclass(frozen=True)
class Limits:
    """Limits of the cluster's controller, from `scontrol show config`."""

    max_array_size: int = 1001
    """At most this many elements in an array; the largest index is one less."""
    max_job_count: int = 10_000
    """Jobs that the controller holds for all users together."""

    @classmethod
    def parse(cls, text: str) -> "Limits":
        """Parse the output of `scontrol show config`."""
        numbers = dict(re.findall(r"^(\w+)\s*=\s*(\d+)", text, flags=re.MULTILINE))
        return cls(
            int(numbers.get("MaxArraySize", cls.max_array_size)),
            int(numbers.get("MaxJobCount", cls.max_job_count)),
        )


@dataclass(frozen=True)
class ArrayPlan:
    """One array: its packs, how many elements run at a time, the array it waits for."""

    packs: list[JobRuns]
    parallelism: int
    after: int | None = None
    """Index, in the same plan, of the array that must end before this one starts."""


@dataclass(frozen=True)
class SubmissionPlan:
    """The arrays of a submission, and the packs that must wait for a later one."""

    arrays: list[ArrayPlan]
    held_back: list[JobRuns]


def plan_arrays(
    packs: Sequence[JobRuns],
    limits: Limits,
    max_running: int | None = None,
    room: int | None = None,
) -> SubmissionPlan:
    """Split packs into arrays that the cluster accepts, in order.

    `max_running` bounds the jobs that run at a time over all arrays. The arrays share
    it; if there are more arrays than that, later ones wait for earlier ones. `room` is
    the number of jobs that the queue can still take; packs beyond it are held back.
    """
    room = limits.max_job_count if room is None else min(room, limits.max_job_count)
    fitting, held_back = list(packs[: max(0, room)]), list(packs[max(0, room) :])
    size = max(1, limits.max_array_size)
    chunks = [fitting[i : i + size] for i in range(0, len(fitting), size)]
    if max_running is None:
        return SubmissionPlan(
            [ArrayPlan(chunk, len(chunk)) for chunk in chunks], held_back
        )
    concurrent = max(1, min(len(chunks), max_running))
    arrays = []
    for index, chunk in enumerate(chunks):
        share, rest = divmod(max_running, concurrent)
        share += index % concurrent < rest
        after = index - concurrent if index >= concurrent else None
        arrays.append(ArrayPlan(chunk, min(share, len(chunk)), after))
    return SubmissionPlan(arrays, held_back)
