"""The commands of `python -m synth probe`, each a dataclass whose fields are options.

python -m synth probe law runs/ID [runs/ID ...] [--json]
python -m synth probe law --model NAME_OR_PATH --corpus FILE
python -m synth probe choice-points runs/ID [runs/ID ...] --every-step
python -m synth probe information runs/ID [runs/ID ...]
python -m synth probe induction runs/ID [runs/ID ...] --every-step
python -m synth probe speculation runs/ID [runs/ID ...] --every-step
python -m synth probe future runs/ID [runs/ID ...] --every-step
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import tyro

from synth.cli.run_names import SomeRuns
from synth.disk.places import expand
from synth.identity import location, require
from synth.metrics import Measurement, Score, to_lines
from synth.probes.options import Options

if TYPE_CHECKING:
    from synth.probes.law import LawOptions, LawReport
    from synth.trained.loading import Run


@dataclass(frozen=True, kw_only=True)
class Law(Options, SomeRuns):
    """The law of next-token prediction: a residual for each layer, and their line."""

    counts: ClassVar[tuple[str, ...]] = ("examples",)

    model: str | None = None
    """Instead of runs: a causal language model of transformers, by name or path."""
    corpus: str = location()
    """Where the run's corpus lies now, if it moved. With --model: the texts, as rows of a
    JSONL or parquet file, or as a .txt file cut at blank lines."""
    data: Literal["test", "train"] = "test"
    """Measure a run on its task's test sets, or on rows like those of training."""
    examples: int = 1000
    """Examples of each test group, or with --data train rows, or with --model texts."""
    offsets: tuple[int, ...] = (1,)
    """Targets: 1 next token, 2 the one after, 0 current, -1 previous."""
    permutations: int = 10
    """Random renumberings of the tokens."""
    folds: int = 4
    """Folds for held-out residuals; below 2 for none."""
    classes: int = 1024
    """Number of one-hot targets; 0 for none."""
    lens: bool = True
    """Measure the cross-entropy of the logit lens."""
    norm: Literal["fresh", "standardised", "none"] = "fresh"
    """Norm of every state but the last; "fresh" is the reference."""
    last: Literal["trained", "same"] = "trained"
    """Norm of the last state; "trained" is the reference."""
    context: int = 512
    """Tokens at which the texts of --corpus are cut."""
    text_seed: int = 666
    """Seed of the choice of texts; 666 is the reference."""
    json: bool = False
    """One JSON object a checkpoint instead of tables."""

    def run_command(self) -> int:
        """Measure and print."""
        from synth.probes.law import LawOptions, measure_law

        self.check()
        if bool(self.names) == bool(self.model):
            raise ValueError("probe law needs either runs or --model.")
        if self.save and self.model:
            raise ValueError("--save writes into a run's folder: it needs a run.")
        options = LawOptions(
            offsets=self.offsets,
            permutations=self.permutations,
            folds=self.folds,
            classes=self.classes,
            lens=self.lens,
        )
        if self.model is not None:
            report = measure_law(self._language_model(), options)
            self._print({"model": self.model}, report)
            return 0

        def measure(folder: Path, step: int | None) -> list[Measurement]:
            return self._measure_run(folder, step, options)

        return self.measure_each("law", self.find(), measure)

    def _measure_run(
        self, folder: Path, step: int | None, options: "LawOptions"
    ) -> list[Measurement]:
        """Measure a checkpoint of a run and print its report; returns the numbers."""
        from synth.probes.law import measure_law, residual_floor
        from synth.probes.layer_states import RunStates, load_readable, task_rows
        from synth.probes.probe_files import ProbedStep
        from synth.tasks.exact import ExactTask

        run = load_readable(folder, step, self.device, self.moved())
        context = run.config.training.context
        rows = task_rows(run.task, self.data, self.examples, context)
        states = RunStates(run.model, rows, self.norm, self.last)
        floor = None
        if isinstance(run.task, ExactTask) and self.data == "test":
            floor = residual_floor(run.task, rows)
        report = measure_law(states, options, floor)
        if not self.quiet:
            self._print({"run_id": run.run_id, "step": run.step}, report)
        return ProbedStep(run.path, run.config, run.step).rows(report.scores())

    def _print(self, label: dict[str, Any], report: "LawReport") -> None:
        from synth.probes.law_table import law_table

        if self.json:
            print(json.dumps(label | report.to_dict(), allow_nan=False))
        else:
            print(law_table(label, report))

    def _language_model(self) -> Any:
        from synth.probes.language_models import (
            LanguageModelStates,
            load_language_model,
            read_corpus,
            sample_texts,
        )

        assert self.model is not None
        if not self.corpus:
            raise ValueError("probe law --model needs --corpus FILE.")
        texts = sample_texts(
            read_corpus(Path(expand(self.corpus))), self.examples, self.text_seed
        )
        model, tokenizer = load_language_model(self.model, self.device)
        ids = [tokenizer(text)["input_ids"] for text in texts]
        return LanguageModelStates(
            model, ids, self.norm, self.last, self.context, self.lens
        )


@dataclass(frozen=True, kw_only=True)
class RunProbe(Options, SomeRuns):
    """A probe that measures runs only; its numbers are printed in the long form."""

    name: ClassVar[str]

    json: bool = False
    """One JSON object a number, in the long form of metrics.jsonl."""

    def run_command(self) -> int:
        """Measure at each checkpoint and print."""
        self.check()
        return self.measure_each(self.name, self.find(), self._measure_run)

    def _measure_run(self, folder: Path, step: int | None) -> list[Measurement]:
        """Measure a checkpoint of a run and print its numbers; returns them."""
        from synth.probes.layer_states import load_readable
        from synth.probes.probe_files import ProbedStep, as_text

        run = load_readable(folder, step, self.device, self.moved())
        rows = ProbedStep(run.path, run.config, run.step).rows(self.scores(run))
        if not self.quiet:
            text = to_lines(rows).rstrip() if self.json else None
            print(text or as_text(rows))
        return rows

    def scores(self, run: "Run") -> list[Score]:
        """The numbers of one checkpoint."""
        raise NotImplementedError

    def refuse(self, run: "Run", wanted: str) -> ValueError:
        """The error for a run on a task that the probe cannot measure."""
        return ValueError(
            f"probe {self.name} needs a run on {wanted}; {run.path} is on "
            f"{run.config.task.kind}."
        )


@dataclass(frozen=True, kw_only=True)
class ChoicePointsProbe(RunProbe):
    """Choice points: shares of loss and gradient, calibration, forced against free."""

    name: ClassVar[str] = "choice-points"
    counts: ClassVar[tuple[str, ...]] = ("examples", "gradient_examples")

    examples: int = 500
    """Test examples."""
    gradient_examples: int = 128
    """Test examples behind the shares of loss and gradient."""

    def scores(self, run: "Run") -> list[Score]:
        """For a run on choice points or a maze."""
        from synth.probes.calibration import against_exact
        from synth.probes.choice_weights import (
            measure_shares,
            running_scores,
            share_scores,
        )
        from synth.tasks.choice_points import ChoicePoints
        from synth.tasks.maze import Maze

        task, model = run.task, run.model
        if not isinstance(task, ChoicePoints | Maze):
            raise self.refuse(run, "choice-points or maze")
        (chosen,) = task.evaluation_sets(self.examples)
        (fewer,) = task.evaluation_sets(self.gradient_examples)
        shares = measure_shares(model, task, fewer, run.config.objective)
        scores = share_scores(shares, chosen.suite)
        scores += against_exact(model, task, chosen)
        scores += running_scores(model, task, chosen, greedy=False)
        if isinstance(task, Maze):  # without a question all greedy runs are equal
            scores += running_scores(model, task, chosen, greedy=True)
        return scores


@dataclass(frozen=True, kw_only=True)
class InformationProbe(RunProbe):
    """Information: exact entropies of a source, a model's, and the decomposition."""

    name: ClassVar[str] = "information"
    counts: ClassVar[tuple[str, ...]] = ("examples", "prefixes")

    examples: int = 500
    """Test sequences."""
    prefixes: int = 64
    """Prefixes of each kind after which every next token is tried."""

    def scores(self, run: "Run") -> list[Score]:
        """For a run on sources."""
        from synth.probes.information import information_scores
        from synth.tasks.sources import Sources

        task = run.task
        if not isinstance(task, Sources):
            raise self.refuse(run, "sources")
        (chosen,) = task.evaluation_sets(self.examples)
        return information_scores(run.model, task, chosen, self.prefixes)


@dataclass(frozen=True, kw_only=True)
class InductionProbe(RunProbe):
    """Induction: the prefix-matching score of every attention head."""

    name: ClassVar[str] = "induction"

    def scores(self, run: "Run") -> list[Score]:
        """For a run on any task."""
        from synth.probes.prefix_matching import prefix_scores

        return prefix_scores(run.model)


@dataclass(frozen=True, kw_only=True)
class SpeculationProbe(RunProbe):
    """Speculation: acceptance by depth of drafts by a run's own heads."""

    name: ClassVar[str] = "speculation"
    counts: ClassVar[tuple[str, ...]] = ("examples",)

    examples: int = 200
    """Examples of each test group (such as each number of operations)."""

    def scores(self, run: "Run") -> list[Score]:
        """For a run on any task; an arm without drafts gives one token a pass."""
        from synth.decoding import why_no_drafts
        from synth.probes.speculation import speculation_scores
        from synth.tasks.checks import evaluated

        objective = run.config.objective
        if objective.decodes_at_once:
            raise ValueError(f"{run.path}: {why_no_drafts(objective)}.")
        if reason := why_no_drafts(objective):
            print(f"{run.path.name}: {reason}", file=sys.stderr)
        scores: list[Score] = []
        for chosen in evaluated(run.task, self.examples):
            scores += speculation_scores(run.model, run.task, chosen)
        return scores


@dataclass(frozen=True, kw_only=True)
class SharedFutureProbe(RunProbe):
    """Future: whether states that lead to the same later token look alike."""

    name: ClassVar[str] = "future"
    counts: ClassVar[tuple[str, ...]] = ("examples",)

    examples: int = 1000
    """Examples of each test group."""
    offsets: tuple[int, ...] = (2, 3)
    """How many tokens on the later token is; at least 2."""

    def check(self) -> None:
        super().check()
        later = bool(self.offsets) and min(self.offsets) > 1
        require(later, "--offsets", "numbers from 2 on", self.offsets)

    def scores(self, run: "Run") -> list[Score]:
        """For a run on any task."""
        from synth.probes.shared_future import shared_future_scores
        from synth.tasks.checks import evaluated

        end_token = run.task.end_token if run.task.verifies else None
        return [
            score
            for chosen in evaluated(run.task, self.examples)
            for score in shared_future_scores(
                run.model, chosen, self.offsets, end_token
            )
        ]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Measure the papers' explanations and the layer law on a trained model."""

    what: Union[  # noqa: UP007 - read by tyro at run time
        Annotated[Law, tyro.conf.subcommand("law")],
        Annotated[ChoicePointsProbe, tyro.conf.subcommand("choice-points")],
        Annotated[InformationProbe, tyro.conf.subcommand("information")],
        Annotated[InductionProbe, tyro.conf.subcommand("induction")],
        Annotated[SpeculationProbe, tyro.conf.subcommand("speculation")],
        Annotated[SharedFutureProbe, tyro.conf.subcommand("future")],
    ]
    """Which measurement."""

    def run(self) -> int:
        """Measure and print."""
        return self.what.run_command()
