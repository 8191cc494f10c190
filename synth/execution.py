"""How a run is carried out: everything that cannot change its result."""

from dataclasses import dataclass
from typing import Literal


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
    """Compile the step: auto does for fp32 CPU runs of about a minute and more
    (`synth.compilation`)."""
    checkpoint_every_seconds: float = 60.0
    """Longest work that a kill can lose."""
    log_every_seconds: float = 10.0
    """Pause between two lines (or refreshes) of progress."""
    keep_checkpoints_every_steps: int = 0
    """Keep the weights of every such step for the probes; 0 keeps the last alone."""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(
                f"Execution.threads must be at least 1; got {self.threads!r}."
            )
        if self.compile not in ("auto", "on", "off"):
            raise ValueError(
                "Execution.compile must be 'auto', 'on' or 'off'; got "
                f"{self.compile!r}."
            )
        if self.keep_checkpoints_every_steps < 0:
            raise ValueError(
                "Execution.keep_checkpoints_every_steps must be at least 0; got "
                f"{self.keep_checkpoints_every_steps!r}."
            )
