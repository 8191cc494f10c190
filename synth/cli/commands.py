"""The commands of `python -m synth`, each a dataclass whose fields are its options."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import tyro

from synth.cli.drawing import draw_targets
from synth.cli.moved import MovedFiles
from synth.cli.run_names import OneRun
from synth.cli.words import ALIASES
from synth.config import ModelConfig, RunConfig, TrainingConfig, check_examples
from synth.families.family import member, members
from synth.identity import require
from synth.models.describe import as_text, describe_model, describe_run
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.objective import ObjectiveConfig
from synth.run.execution import Execution
from synth.run.states import STOPPED_STATUS
from synth.run.store import RunFolder
from synth.tasks.export import ExportSplit, held_out_samples
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.task import Split, TaskConfig, build_task
from synth.tasks.text.story_draws import StoryConfig
from synth.tasks.text.vocabularies import TokenizerConfig

# `--profile` is that of a cluster, so this field has another flag. It is set here, not at
# the field: workers read configurations from JSON without importing tyro, which is slow.
StoryConfig.__annotations__["profile"] = Annotated[
    Literal["story", "book"], tyro.conf.arg(name="story-style")
]
TokenizerConfig.__annotations__["tokenizer_file"] = Annotated[
    str, tyro.conf.arg(aliases=("--tokenizer",))
]

if TYPE_CHECKING:
    AnyTask = TaskConfig
else:
    AnyTask = Union[  # noqa: UP007 - built at run time
        tuple(
            Annotated[config, tyro.conf.subcommand(kind, aliases=ALIASES.get(kind, ()))]
            for kind, config in members("task").items()
        )
    ]


def aimed_at(command: type, kind: str) -> type:
    """`command` with the options of another objective in place of the default's.

    Raises
    ------
    ValueError
        When no objective is of that kind.
    """
    config = type(member("objective", {"kind": kind}, "--objective"))
    aimed = dataclasses.make_dataclass(
        command.__name__,
        [("objective", config, field(default_factory=config))],
        bases=(command,),
        frozen=True,
        kw_only=True,
    )
    aimed.__doc__ = command.__doc__
    return aimed


@dataclass(frozen=True, kw_only=True)
class Aimed:
    """Commands with an objective."""

    kind: Annotated[str, tyro.conf.arg(name="objective", metavar="OBJECTIVE")] = (
        MultiTokenConfig.kind
    )
    """The objective; another one brings options of its own: --objective chain --help."""


@dataclass(frozen=True, kw_only=True)
class SampleExamples(Aimed):
    """Print examples of a task."""

    task: AnyTask
    """The task to draw from."""
    count: int = 5
    """Examples to print."""
    seed: int = 0
    """Random seed of training examples; the other splits are fixed."""
    split: ExportSplit = "train"
    """Examples of a held-out split are spread evenly over its sets."""
    operations: int | None = None
    """Number of operations of each expression (polynomial only)."""
    objective: ObjectiveConfig = field(
        default_factory=lambda: MultiTokenConfig(horizon=4)
    )
    """The objective whose targets are drawn."""
    report: bool = False
    """Print sizes, shares, leakage and pools of names instead of examples."""
    json: bool = False
    """One JSON object a line instead of a drawing."""

    def run(self) -> int:
        """Draw and print."""
        check_examples("--count", self.count)
        task = self.task
        if self.operations is not None:
            if not isinstance(task, PolynomialConfig):
                raise ValueError(f"--operations has no meaning for task {task.kind!r}.")
            exact = self.operations
            task = dataclasses.replace(task, min_operations=exact, max_operations=exact)
        built = build_task(task)
        if self.report:
            report = built.report()
            print(json.dumps(report) if self.json else "\n".join(_lines(report)))
            return 0
        if self.split == "train":
            samples = built.samples(self.seed, self.count)
        else:
            samples = held_out_samples(built, self.split, self.count)
        for sample in samples:
            if self.json:
                print(json.dumps(sample.record))
            elif sample.text:
                print(sample.text, end="\n\n")
            else:
                title = ", ".join(
                    f"{name} {value}"
                    for name, value in sample.record.items()
                    if name != "tokens" and len(str(value)) <= 60
                )
                print(title, draw_targets(sample, self.objective), "", sep="\n")
        return 0


def _lines(report: dict[str, Any], indent: str = "") -> Iterator[str]:
    """A nested report, one line for each entry."""
    for name, value in report.items():
        title = f"{indent}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            yield title
            yield from _lines(value, indent + "  ")
        else:
            shown = f"{value:,}" if isinstance(value, int) else f"{value}"
            shown = f"{value:.4g}" if isinstance(value, float) else shown
            yield f"{title:<32}{shown:>16}"


@dataclass(frozen=True, kw_only=True)
class Train(Aimed):
    """Train one run, or go on with it; a run that is done is left alone."""

    task: AnyTask
    """What the data are."""
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=MultiTokenConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    execution: Execution = field(default_factory=Execution)
    seed: int = 0
    """Seed of the initial weights, and of the data unless --data-seed is given."""
    data_seed: int | None = None
    """Seed of the training data."""
    split: Split = "test"
    """What is held out and evaluated; "validation" to choose something by the numbers."""
    runs: Path = Path("runs")
    """Folder for the folders of runs."""
    timing: bool = False
    """Also print where the time went: data, forward, backward, optimiser, evaluation."""
    json: bool = False
    """Print the outcome (and the timing) as JSON, and no progress."""

    def run(self) -> int:
        """Train and say how it ended: 0 done, 1 failed or busy, 75 stopped by a signal."""
        config = RunConfig(
            task=self.task,
            model=self.model,
            objective=self.objective,
            training=self.training,
            seed=self.seed,
            data_seed=self.data_seed,
            split=self.split,
        )
        folder = RunFolder(self.runs, config.run_id)
        if folder.state() != "done":
            config.require_data()
            folder.require_writable()
        began = time.monotonic()
        from synth.run.progress import Screen, shown_on
        from synth.run.spans import Profiler
        from synth.training import train

        progress = None if self.json else shown_on(Screen(), ending=False)
        timing = Profiler(began) if self.timing else None
        with timing or contextlib.nullcontext():
            (outcome,) = train([config], self.runs, self.execution, progress)
        measured = timing.breakdown() if timing and timing.steps else None
        if self.json:
            more = {"timing": measured and measured.to_dict()} if timing else {}
            print(json.dumps(vars(outcome) | more))
        else:
            words = dict.fromkeys((outcome.state, outcome.message))  # not "done, done"
            print(f"{outcome.run_id}: {', '.join(words)}")
            print(f"folder: {self.runs / outcome.run_id}")
        if timing and not self.json:
            nothing = "no step was trained: there is nothing to time"
            print(measured.as_text() if measured else nothing)
        return {"done": 0, "stopped": STOPPED_STATUS}.get(outcome.state, 1)


@dataclass(frozen=True, kw_only=True)
class Evaluate(OneRun, MovedFiles):
    """Evaluate the last checkpoint of a run on its task's fixed test sets."""

    examples: int = 2000
    """Examples of each test group (such as each number of operations)."""
    step: int | None = None
    """Checkpoint step; the newest one if not given."""
    free_running: bool = False
    """Decode greedily, feeding mistakes back, instead of the teacher-forced pass."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to evaluate."""
    json: bool = False
    """One JSON object a line instead of a table."""

    def run(self) -> int:
        """Evaluate and print."""
        from synth.run.environment import require_device
        from synth.trained.scoring import evaluate_folder

        require_device(self.device)
        scores = evaluate_folder(
            self.find(),
            self.examples,
            self.step,
            self.free_running,
            self.device,
            self.moved(),
        )
        for score in scores:
            if self.json:
                print(json.dumps(score.to_dict()))
            else:
                print(
                    f"{score.suite:<14}{score.metric:<22}{score.slice:<24}"
                    f"{score.value:>9.4f}  n={score.count}"
                )
        return 0


@dataclass(frozen=True, kw_only=True)
class Describe(Aimed):
    """Print the layers, the parameters and the cost of a model."""

    model: ModelConfig = field(default_factory=lambda: ModelConfig(scale="1M"))
    objective: ObjectiveConfig = field(default_factory=MultiTokenConfig)
    """What it is trained towards, which decides on its heads."""
    context: int = 1024
    """Tokens in a row."""
    vocabulary: int | None = None
    """Size of the vocabulary; that of the polynomial task if not given."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print, or refuse a model without a trunk."""
        training = TrainingConfig(context=self.context, batch_rows=1)
        task = PolynomialConfig()
        config = RunConfig(
            task=task, model=self.model, objective=self.objective, training=training
        )
        described: dict[str, Any] = describe_run(config)
        if self.vocabulary is not None:
            require(self.vocabulary >= 1, "--vocabulary", "at least 1", self.vocabulary)
            shape = (self.vocabulary, self.context)
            described = describe_model(self.model, self.objective, *shape)
        print(json.dumps(described) if self.json else as_text(described))
        return 0


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """One line for each member of a family."""

    family: ClassVar[str]

    json: bool = False
    """One JSON object a line."""

    def run(self) -> int:
        """Print kind and purpose of each."""
        for kind, config in members(self.family).items():
            purpose = config.purpose()
            if self.json:
                row = {"kind": kind, "purpose": purpose, "config": config.__qualname__}
                print(json.dumps(row | {"module": config.__module__}))
            else:
                print(f"{kind:<16}{purpose}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Tasks(_Listing):
    """List the tasks."""

    family: ClassVar[str] = "task"


@dataclass(frozen=True, kw_only=True)
class Objectives(_Listing):
    """List the objectives."""

    family: ClassVar[str] = "objective"
