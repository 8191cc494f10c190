"""`RunConfig`: one run, everything that can change its result, and its identity.

Defaults are the values of table S13 (arithmetic, 30M) of arXiv 2404.19737. What cannot
change a result (device, threads, compilation, log interval) is in `synth.run.execution`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from synth.families import plugins
from synth.families.family import member
from synth.identity import Part, canonical_json, digest, identity, require
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.objective import ObjectiveConfig
from synth.scales import Scale, resolve
from synth.shapes.embedding_shape import EmbeddingConfig
from synth.shapes.mixer_shapes import MixerConfig
from synth.tasks.checks import (
    evaluated,
    require_answers,
    require_dummy,
    require_metrics,
)
from synth.tasks.task import EvaluationSet, Split, Task, TaskConfig, build_task


@dataclass(frozen=True, kw_only=True)
class ModelConfig(EmbeddingConfig, MixerConfig):
    """The shape of the model: a decoder, trunk and heads together."""

    # Settings of the parts are declared beside them in `synth.models`.

    scale: str = identity("30M")
    """A named size ("1M"), or a shape: width, layers, heads ("d64-L6-h4")."""

    def validate(self) -> None:
        """Give the scale its canonical name, or refuse it."""
        object.__setattr__(self, "scale", resolve(self.scale)[0])

    @property
    def shape(self) -> Scale:
        """Width, layers and attention heads."""
        return resolve(self.scale)[1]

    @property
    def positions_used(self) -> Literal["rotary", "learned", "none"]:
        """Where positions come from; only attention has queries and keys to rotate."""
        unused = self.positions == "rotary" and self.mixer != "attention"
        return "none" if unused else self.positions


MAX_EXAMPLES = 1 << 20
MAX_TOKENS_PER_STEP = 1 << 26
"""Sixteen batches of four million; more is almost surely a typo, and would run out of
memory minutes later."""


def check_examples(name: str, count: int) -> None:
    """Refuse a number of examples that no command can hold (`ValueError`)."""
    require(count >= 1, name, "at least 1", count)
    require(count <= MAX_EXAMPLES, name, f"at most {MAX_EXAMPLES}", count)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Part):
    """How it is trained: data per step, schedule, optimiser, precision, evaluation."""

    steps: int = identity(100_000)
    """Optimiser steps."""
    batch_rows: int = identity(256)
    """Rows in a batch."""
    context: int = identity(1024)
    """Tokens in a row."""
    optimizer: Literal["adamw", "muon"] = identity("adamw", implied="adamw")
    """AdamW for all weights, or Muon for the maps between hidden states and AdamW for
    the rest (`synth.optimizer`)."""
    learning_rate: float = identity(1e-4)
    """Peak learning rate."""
    warmup_steps: int = identity(2000)
    """Steps of linear warm-up from 0."""
    decay_ratio: float = identity(0.03)
    """The cosine ends at this share of the peak."""
    weight_decay: float = identity(0.1)
    """Decoupled decay of matrices and embeddings; gains of norms are exempt."""
    beta1: float = identity(0.9)
    """Decay of AdamW's first moment."""
    beta2: float = identity(0.95)
    """Decay of AdamW's second moment."""
    epsilon: float = identity(1e-8)
    """Added to the root of the second moment."""
    clip_norm: float = identity(1.0)
    """Largest norm of a run's gradient."""
    precision: Literal["fp32", "bf16"] = identity("fp32")
    """Precision of weights and activations in training; master weights and evaluation are
    fp32."""
    evaluate_every_steps: int = identity(5000)
    """Steps between two evaluations (and between two rows of training losses)."""
    evaluation_examples: int = identity(256)
    """Examples of each test group (such as each number of operations) while training."""
    final_examples: int = identity(2000)
    """Examples of each test group in the last evaluation."""

    def validate(self) -> None:
        for name in ("steps", "batch_rows", "evaluate_every_steps"):
            self.check(getattr(self, name) >= 1, name, "at least 1")
        self.check_ranges(
            context=(2, MAX_TOKENS_PER_STEP),
            evaluation_examples=(0, MAX_EXAMPLES),
            final_examples=(1, MAX_EXAMPLES),
        )
        self.check(
            self.tokens_per_step <= MAX_TOKENS_PER_STEP,
            "batch_rows",
            f"at most {MAX_TOKENS_PER_STEP // self.context} rows of {self.context} tokens",
        )
        self.check(self.learning_rate > 0, "learning_rate", "above 0")
        self.check(
            0 <= self.warmup_steps < self.steps,
            "warmup_steps",
            f"from 0 to steps - 1 = {self.steps - 1}",
        )
        self.check(0 <= self.decay_ratio <= 1, "decay_ratio", "between 0 and 1")
        self.check(self.weight_decay >= 0, "weight_decay", "at least 0")
        for name in ("beta1", "beta2"):
            self.check(0 <= getattr(self, name) < 1, name, "in [0, 1)")
        self.check(self.epsilon > 0, "epsilon", "above 0")
        self.check(self.clip_norm > 0, "clip_norm", "above 0")

    @property
    def tokens_per_step(self) -> int:
        """Positions in a batch."""
        return self.batch_rows * self.context


PER_LANE = ("seed", "data_seed", "training.learning_rate", "training.weight_decay")
"""Fields in which the lanes of one pack may differ."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(Part):
    """Everything that can change the result of a run."""

    task: TaskConfig = identity()
    """What the data are."""
    model: ModelConfig = identity(ModelConfig())
    """What is trained."""
    objective: ObjectiveConfig = identity(MultiTokenConfig())
    """What it is trained towards."""
    training: TrainingConfig = identity(TrainingConfig())
    """How."""
    seed: int = identity(0)
    """Seed of the initial weights, and of the data unless `data_seed` is given."""
    data_seed: int | None = identity(None)
    """Seed of the training data; runs that share it see the same bytes."""
    split: Split = identity("test", implied="test")
    """What is held out from training and evaluated; "validation" where numbers choose
    something, as in `sweeps tune`."""

    def validate(self) -> None:
        self.check(self.seed >= 0, "seed", "at least 0")
        if self.data_seed is not None:
            self.check(self.data_seed >= 0, "data_seed", "at least 0")
        if self.data_seed == self.seed:  # one setting, one identity
            object.__setattr__(self, "data_seed", None)
        require_metrics(type(self.task))
        if self.split not in self.task.splits:
            raise ValueError(
                f"The task {self.task.kind!r} has no {self.split} split, so nothing can "
                "be chosen by its numbers. Let its generator go by `Task.trained_on` and "
                "`Task.held_out`, and its configuration class say "
                'splits = ("test", "validation").'
            )
        self.objective.require_heads()
        self.objective.require_trunk(self.model.scale, self.model.shape.layers)
        self.objective.require_parts(self.model.mixer, self.model.positions)

    def require_data(self) -> None:
        """Check that the task has data for the run, before anything is written.

        Raises `ValueError` when the files of a text cannot be used, or there are no rows
        of the context, none to evaluate on, none with an answer where answers alone are
        scored, or rows with a token outside the vocabulary, or with id 0 where that
        stands for answers; an `OSError` when files cannot be read.
        """
        task, training = self.build_task(), self.training
        rows = task.require_rows(training.context)
        if self.objective.scored == "answer":
            require_answers(task, rows)
        if self.objective.decodes_at_once:
            require_dummy(task, rows)
        sets = self.require_evaluation()
        for examples in {training.evaluation_examples, training.final_examples}:
            if examples and examples not in sets:
                evaluated(task, examples)

    def require_evaluation(self) -> dict[int, list[EvaluationSet]]:
        """Refuse learned positions that are fewer than evaluation needs (`ValueError`).

        Where positions are learned, the largest sets are generated for this, and returned
        by their number of examples.
        """
        if self.model.positions != "learned":
            return {}
        training = self.training
        most = max(training.evaluation_examples, training.final_examples)
        sets = evaluated(self.build_task(), most)
        for chosen in sets:
            longest = int((chosen.rows.example_RT > 0).sum(1).max())
            self.model.require_positions(longest, training.context)
        return {most: sets}

    @property
    def resolved_data_seed(self) -> int:
        """The seed of the training data."""
        return self.seed if self.data_seed is None else self.data_seed

    def build_task(self) -> Task:
        """The task, with the split that the run holds out; built once."""
        return self._task

    @cached_property
    def _task(self) -> Task:
        return build_task(self.task).judged_on(self.split)

    @cached_property
    def run_id(self) -> str:
        """Readable prefix and 8 hex digits of the identity's sha256."""
        words = (
            self.task.kind,
            self.objective.arm,
            self.model.scale,
            f"s{self.seed}",
            digest(self.canonical())[:8],
        )
        return "-".join(words)

    @cached_property
    def pack_key(self) -> str:
        """Equal for runs that can train as lanes of one program."""
        shared = self.canonical()
        for path in PER_LANE:
            *parents, name = path.split(".")
            owner = shared
            for parent in parents:
                owner = owner[parent]
            owner.pop(name, None)
        return canonical_json(shared)

    def to_dict(self) -> dict[str, Any]:
        """All fields, and the files that define a task or objective of one's own."""
        files = plugins.recorded(self)
        return super().to_dict() | ({plugins.FOLDER: files} if files else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], record: Path | None = None) -> Self:
        """Build from `to_dict` or JSON; task and objective are found by their kind.

        Files that define them are imported first, if that is safe; `record` is the file
        that `values` come from, see `synth.families.plugins.prepare`.
        """
        plugins.prepare(values, record)
        given = {name: one for name, one in values.items() if name != plugins.FOLDER}
        if "task" not in given:
            raise ValueError(
                "RunConfig.task must be an object with a 'kind'; it is missing."
            )
        for name in ("task", "objective"):
            if name in given:
                given[name] = member(name, given[name], f"RunConfig.{name}")
        return super().from_dict(given)


def require_one_pack(configs: Sequence[RunConfig]) -> None:
    """Raise `ValueError` unless the runs differ and can train as lanes of one program."""
    if not configs:
        raise ValueError("A pack needs at least one run; got none.")
    ids = [config.run_id for config in configs]
    if len(set(ids)) < len(ids):
        twice = sorted({run_id for run_id in ids if ids.count(run_id) > 1})
        raise ValueError(f"A run can be in a pack once; given twice: {twice}.")
    other = [c.run_id for c in configs if c.pack_key != configs[0].pack_key]
    if other:
        raise ValueError(
            f"{other[0]} cannot train beside {ids[0]}: the runs of a pack may differ in "
            "seed, data seed, learning rate and weight decay alone."
        )
