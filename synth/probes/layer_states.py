"""States of every layer of a model over a set of sequences, batch by batch.

Letters: B batch, T time, D width, V vocabulary, K lanes (always 1 here).

The rule of the reference implementation of arXiv 2408.13442: every state but the last
goes through a freshly initialised norm of the model's own kind (gain 1, no bias); the
last one carries the model's trained norm. `Norm` and `Last` offer the alternatives, so
that the asymmetry can be seen and removed.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from synth.command_words import as_typed
from synth.models.decoder import PredictionModel
from synth.tasks.checks import evaluated
from synth.tasks.task import Rows, Task
from synth.trained.loading import Run, load

Norm = Literal["fresh", "standardised", "none"]
"""Of every state but the last: a fresh norm of the model's kind, zero mean and unit
variance per token, or the state as it is."""
Last = Literal["trained", "same"]
"""Of the last state: the model's trained norm, or the same as the others."""
BATCH_TOKENS = 8192


@dataclass(frozen=True)
class StateBatch:
    """Tokens, the example each belongs to (0 for padding), and the states by layer."""

    tokens_BT: Tensor
    example_BT: Tensor
    states: dict[str, Tensor]
    """Normalised by the rule, (B, T, D)."""
    logits: Callable[[str], Tensor]
    """Logit lens: a layer's raw state, trained norm, unembedding, (B, T, V)."""


class StateSource(Protocol):
    """Something whose layers can be probed."""

    paths: dict[str, list[str]]
    """For each path through the model, its layers, the embedding first."""
    width: int
    token_counts: np.ndarray
    """How often each token id occurs in the sequences, (V,)."""

    def batches(self) -> Iterator[StateBatch]:
        """All sequences, in a fixed order."""
        ...


def load_readable(
    name: str | os.PathLike[str],
    step: int | None = None,
    device: str = "cpu",
    moved: Mapping[str, str] = {},
) -> Run:
    """A run, named as for `load`, whose model may read the answers.

    Raises `ValueError` when it was trained without reading them.
    """
    run = load(name, step=step, device=device, moved=moved)
    if run.config.objective.decodes_at_once:
        raise ValueError(
            f"{run.path} was trained without reading answers "
            f"({run.config.objective.kind}); probes let a model read them. "
            f"`{as_typed('synth evaluate')}` scores it."
        )
    return run


def fresh_norm(x_BTD: Tensor, kind: Literal["rms", "layer"], epsilon: float) -> Tensor:
    """A norm as it is before training: gain 1, no bias."""
    if kind == "rms":
        return torch.nn.functional.rms_norm(x_BTD, x_BTD.shape[-1:], eps=epsilon)
    return torch.nn.functional.layer_norm(x_BTD, x_BTD.shape[-1:], eps=epsilon)


def normalised(
    x_BTD: Tensor, norm: Norm, kind: Literal["rms", "layer"], epsilon: float
) -> Tensor:
    """A state, normalised as `norm` says."""
    if norm == "fresh":
        return fresh_norm(x_BTD, kind, epsilon)
    return x_BTD if norm == "none" else fresh_norm(x_BTD, "layer", 0.0)


class RunStates:
    """States of a run's model, along the trunk and then each head.

    Path "head k" is embedding, trunk layers, then the layers of the heads between the
    trunk and head k: for k = 1 the counterpart of a next-token model's stack. A head
    without parts of its own, as head 1 of a chain, is the state that it stands on and adds
    no layer. A merge or a map counts as one layer, with the layer that follows it.
    """

    def __init__(
        self,
        model: PredictionModel,
        rows: Sequence[Rows],
        norm: Norm = "fresh",
        last: Last = "trained",
    ) -> None:
        self.model, self.rows, self.norm, self.last = model, list(rows), norm, last
        self.width = int(model.embedding_KVD.shape[-1])
        self.token_counts = np.sum(
            [
                np.bincount(r.tokens_RT[r.example_RT > 0], minlength=model.vocab_size)
                for r in self.rows
            ],
            axis=0,
        )
        self.paths = {
            f"head {head}": self._path(head) for head in range(1, model.num_heads + 1)
        }

    def batches(self) -> Iterator[StateBatch]:
        """All rows, in order."""
        device = self.model.embedding_KVD.device
        for rows in self.rows:
            size = max(1, BATCH_TOKENS // rows.tokens_RT.shape[1])
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                tokens_BT = torch.from_numpy(part.tokens_RT.astype(np.int64))
                example_BT = torch.from_numpy(part.example_RT.astype(np.int64))
                yield self._batch(tokens_BT.to(device), example_BT.to(device))

    def _path(self, head: int) -> list[str]:
        names = ["embedding", *(f"trunk {i + 1}" for i in range(len(self.model.trunk)))]
        for passed in self.model.objective.path(head):
            names += self.model.layer_names(passed)
        return [*names[:-1], f"head {head} (last)"]

    @torch.no_grad()
    def _batch(self, tokens_BT: Tensor, example_BT: Tensor) -> StateBatch:
        model = self.model
        trunk = model.trunk_states(tokens_BT[None])
        raw = {"embedding": trunk[0][0]}
        raw |= {f"trunk {i}": state[0] for i, state in enumerate(trunk[1:], 1)}
        states_of: dict[int | None, Tensor] = {None: trunk[-1]}
        path = model.objective.path
        for head in sorted(
            range(1, model.num_heads + 1), key=lambda one: len(path(one))
        ):
            state = states_of[model.plan[head - 1].parent]
            found = model.layer_states(head, state, tokens_BT[None])
            raw |= {name: state[0] for name, state in found.items()}
            states_of[head] = [state, *found.values()][-1]
            raw[f"head {head} (last)"] = states_of[head][0]
        needed = {name for names in self.paths.values() for name in names}
        states = {}
        for name in sorted(needed):
            if name.endswith("(last)") and self.last == "trained":
                states[name] = model.norm(raw[name][None])[0]
            else:
                states[name] = normalised(raw[name], self.norm, "rms", 1e-6)

        def logits(name: str) -> Tensor:
            return model.unembed(raw[name][None])[0]

        return StateBatch(tokens_BT, example_BT, states, logits)


def task_rows(
    task: Task, split: Literal["test", "train"], examples: int, context: int
) -> list[Rows]:
    """Rows to probe on: the fixed test sets, or rows of a training stream.

    The training stream is that of a data seed of its own (2^31), which no run uses.
    """
    if split == "test":
        return [chosen.rows for chosen in evaluated(task, examples)]
    rows, count = list[Rows](), 0
    blocks = task.filled_blocks(1 << 31, context)
    while count < examples:
        rows.append(next(blocks)[: examples - count])
        count += len(rows[-1])
    return rows
