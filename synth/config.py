"""`RunConfig`: one run, everything that can change its result, and its identity.

Defaults are the values of table S13 (arithmetic, 30M) of arXiv 2404.19737. What cannot
change a result (device, threads, compilation, log interval) is in `synth.execution`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from synth.identity import Part, canonical_json, digest, identity, nearest
from synth.mixers import Mixer
from synth.scales import SCALES, Scale, resolve
from synth.tasks import TASKS
from synth.tasks.task import TaskConfig

HeadLayout = Literal["parallel", "causal", "anticausal", "linear"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Part):
    """The shape of the model: a decoder, and how its prediction heads are arranged."""

    version: ClassVar[int] = 1

    scale: str = identity("30M")
    """A rung of the ladder ("1M"), or a shape ("d64-L6-h4")."""
    layout: HeadLayout = identity("parallel")
    """What head i stands on: the trunk, the head before it, or the head after it."""
    budget: Literal["moved", "added"] = identity("moved")
    """Head layers are taken from the trunk (equal size, as the paper), or added."""
    mixer: Mixer = identity("attention", implied="attention")
    """What mixes positions in each layer; every mixer has about 4 d^2 weights."""

    def validate(self) -> None:
        """Give the scale its canonical name, or refuse it."""
        object.__setattr__(self, "scale", resolve(self.scale)[0])

    @property
    def shape(self) -> Scale:
        """Width, layers and attention heads."""
        return resolve(self.scale)[1]

    def trunk_layers(self, horizon: int) -> int:
        """Layers left to the trunk (section 3.1: L counts trunk and heads).

        A head of the linear layout is one d x d map, a twelfth of a layer; head 1 reads
        the trunk itself, so that n = 1 is plain next-token prediction there too.
        """
        layers = self.shape.layers
        if self.layout == "linear":
            return layers - (round((horizon - 1) / 12) if self.budget == "moved" else 0)
        return layers - (horizon if self.budget == "moved" else 1)

    def head_parents(self, horizon: int) -> list[int | None]:
        """For heads 1..n, the head that each stands on (`None` is the trunk).

        >>> ModelConfig(layout="causal").head_parents(3)
        [None, 1, 2]
        >>> ModelConfig(layout="anticausal").head_parents(3)
        [2, 3, None]
        """
        if self.layout == "causal":
            return [None, *range(1, horizon)]
        if self.layout == "anticausal":
            return [*range(2, horizon + 1), None]
        return [None] * horizon


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Part):
    """What the model is trained towards: the sum of one loss per horizon (section 2).

    Head i predicts token t+i. Each loss is the mean over the positions t whose target
    t+i lies in the same example; targets across a border are dropped. The heads weigh
    the same. A horizon of 1 is next-token prediction.
    """

    version: ClassVar[int] = 1

    horizon: int = identity(1)
    """Tokens predicted at each position, the next one included (n)."""
    scored: Literal["all", "answer"] = identity("all")
    """Targets that count: every token, or tokens of the answer (chosen by target)."""

    def validate(self) -> None:
        """Refuse horizons that no model has."""
        self.check(
            1 <= self.horizon <= MAX_HORIZON, "horizon", f"from 1 to {MAX_HORIZON}"
        )


MAX_HORIZON = 1024
MAX_EXAMPLES = 1 << 20
MAX_TOKENS_PER_STEP = 1 << 26
"""Sixteen batches of four million; more is a slip of the hand, which the machine's memory
would find out minutes later."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Part):
    """How it is trained: data per step, schedule, AdamW, precision, evaluation."""

    version: ClassVar[int] = 1

    steps: int = identity(100_000)
    """Optimiser steps."""
    batch_rows: int = identity(256)
    """Rows in a batch."""
    context: int = identity(1024)
    """Tokens in a row."""
    learning_rate: float = identity(1e-4)
    """Peak learning rate."""
    warmup_steps: int = identity(2000)
    """Steps of linear warm-up from 0."""
    decay_ratio: float = identity(0.03)
    """The cosine ends at this share of the peak."""
    weight_decay: float = identity(0.1)
    """Decoupled decay of matrices and embeddings; gains of norms are exempt."""
    beta1: float = identity(0.9)
    """Decay of the first moment."""
    beta2: float = identity(0.95)
    """Decay of the second moment."""
    epsilon: float = identity(1e-8)
    """Added to the root of the second moment."""
    clip_norm: float = identity(1.0)
    """Largest norm of a run's gradient."""
    precision: Literal["fp32", "bf16"] = identity("fp32")
    """Of weights and activations in training; master weights and evaluation are fp32."""
    evaluate_every_steps: int = identity(5000)
    """Steps between two evaluations (and between two rows of training losses)."""
    evaluation_examples: int = identity(256)
    """Examples in each slice of an evaluation during training."""
    final_examples: int = identity(2000)
    """Examples in each slice of the last evaluation."""

    def validate(self) -> None:
        """Refuse values outside their range."""
        for name in ("steps", "batch_rows", "evaluate_every_steps", "final_examples"):
            self.check(getattr(self, name) >= 1, name, "at least 1")
        self.check(
            2 <= self.context <= MAX_TOKENS_PER_STEP,
            "context",
            f"from 2 to {MAX_TOKENS_PER_STEP}",
        )
        self.check(
            self.tokens_per_step <= MAX_TOKENS_PER_STEP,
            "batch_rows",
            f"at most {MAX_TOKENS_PER_STEP // self.context} rows of {self.context} tokens",
        )
        for name, least in (("evaluation_examples", 0), ("final_examples", 1)):
            allowed = f"from {least} to {MAX_EXAMPLES}"
            self.check(least <= getattr(self, name) <= MAX_EXAMPLES, name, allowed)
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

    version: ClassVar[int] = 1

    task: TaskConfig = identity()
    """What the data are."""
    model: ModelConfig = identity(ModelConfig())
    """What is trained."""
    objective: ObjectiveConfig = identity(ObjectiveConfig())
    """Towards what."""
    training: TrainingConfig = identity(TrainingConfig())
    """How."""
    seed: int = identity(0)
    """Of the initial weights, and of the data unless `data_seed` says otherwise."""
    data_seed: int | None = identity(None)
    """Of the training data; runs that share it see the same bytes."""

    def validate(self) -> None:
        """Refuse combinations that no model can have."""
        self.check(self.seed >= 0, "seed", "at least 0")
        if self.data_seed is not None:
            self.check(self.data_seed >= 0, "data_seed", "at least 0")
        if self.data_seed == self.seed:  # one setting, one identity
            object.__setattr__(self, "data_seed", None)
        if self.model.trunk_layers(self.objective.horizon) < 1:
            raise ValueError(self._no_trunk())

    def _no_trunk(self) -> str:
        model, horizon = self.model, self.objective.horizon
        layers = model.shape.layers
        if layers < 2:
            return (
                f"ModelConfig.scale {model.scale!r} has {layers} layer, which leaves no "
                "trunk under a head. Use at least 2 layers."
            )
        deeper = [name for name, scale in SCALES.items() if scale.layers > horizon]
        longest = max(n for n in range(1, horizon) if model.trunk_layers(n) >= 1)
        ways = [f"horizon {longest}"]
        if deeper:
            order = list(SCALES)
            here = order.index(model.scale) if model.scale in order else 0
            ways.append(
                f"scale {min(deeper, key=lambda s: abs(order.index(s) - here))!r}"
            )
        ways.append("budget 'added'")
        return (
            f"ObjectiveConfig.horizon must be at most {longest} for scale "
            f"{model.scale!r} ({layers} layers): a horizon of {horizon} moves {horizon} "
            f"layers to the heads and leaves no trunk. Use {', '.join(ways[:-1])} or "
            f"{ways[-1]}."
        )

    @property
    def resolved_data_seed(self) -> int:
        """The seed of the training data."""
        return self.seed if self.data_seed is None else self.data_seed

    @cached_property
    def run_id(self) -> str:
        """Readable prefix and 8 hex digits of the identity's sha256."""
        words = (
            self.task.kind,
            f"n{self.objective.horizon}",
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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from `to_dict` or JSON; the task is found by its kind."""
        given = dict(values)
        if not isinstance(given.get("task"), Mapping):
            raise ValueError(
                "RunConfig.task must be an object with a 'kind'; it is missing."
            )
        task = dict(given["task"])
        kind = task.pop("kind", None)
        if kind not in TASKS:
            raise ValueError(f"No task is called {kind!r}. {nearest(str(kind), TASKS)}")
        given["task"] = TASKS[kind].from_dict(task)
        return super().from_dict(given)
