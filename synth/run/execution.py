"""How a run is carried out: everything that cannot change its result."""

from dataclasses import dataclass
from typing import Literal

from synth.identity import coerce_fields, require
from synth.run.trackers import TrackerName


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Settings outside the identity of a run.

    Results are bit for bit the same on CPU at one thread and equal `compile`; other
    settings change them by rounding alone.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    threads: int = 1
    """Threads of one process on CPU; one is best for small models."""
    compile: Literal["auto", "on", "off"] = "auto"
    """auto: compile on a CPU if the run is expected to take over ten seconds. On a GPU,
    on also replays the step as one CUDA graph."""
    checkpoint_every_seconds: float = 60.0
    """Seconds between checkpoints: what a kill can lose."""
    log_every_seconds: float = 10.0
    """Seconds between progress lines."""
    keep_checkpoints_every_steps: int = 0
    """Steps between checkpoints that are kept for probes; 0 keeps only the last one."""
    track: TrackerName = "none"
    """Also send the curves to this tool, offline unless its own settings differ."""
    accept_code_change: bool = False
    """Continue runs that were started with other code."""

    def __post_init__(self) -> None:
        coerce_fields(self)
        require(self.threads <= 1024, "Execution.threads", "at most 1024", self.threads)
        for name, least in (
            ("threads", 1),
            ("checkpoint_every_seconds", 0),
            ("log_every_seconds", 0),
            ("keep_checkpoints_every_steps", 0),
        ):
            value = getattr(self, name)
            require(value >= least, f"Execution.{name}", f"at least {least}", value)
