"""Generators of problems whose answers are known: one task per file, one contract."""

from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.task import TaskConfig

TASKS: dict[str, type[TaskConfig]] = {
    config.kind: config for config in (PolynomialConfig,)
}
"""The tasks by their name on the command line."""
