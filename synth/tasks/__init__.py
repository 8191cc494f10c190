"""Generators of problems whose answers are known: one task per file, one contract."""

from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.maze import MazeConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.running_text import TextConfig
from synth.tasks.sources import SourcesConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.task import TaskConfig

TASKS: dict[str, type[TaskConfig]] = {
    config.kind: config
    for config in (
        PolynomialConfig,
        ChoicePointsConfig,
        MazeConfig,
        SourcesConfig,
        StoriesConfig,
        RepeatsConfig,
        TextConfig,
    )
}
"""The tasks by their name on the command line."""
