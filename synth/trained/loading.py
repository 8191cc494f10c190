"""A run in Python: trained, or read from its folder.

`train` and `load` are what `import synth` offers; evaluation and probes load runs in the
same way. Letters: B batch, T time, D width, V vocabulary, H attention heads.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synth.config import RunConfig, check_examples
from synth.identity import require
from synth.models.decoder import PredictionModel
from synth.models.heads import HeadStack
from synth.models.layer import Layer
from synth.models.mixers.attention import Attention
from synth.run import vocabulary_file
from synth.run.environment import require_device
from synth.run.execution import Execution
from synth.run.finding import find_run
from synth.run.progress import Progress, Screen, shown_on
from synth.run.store import RunFolder
from synth.tasks.stream import RowStream
from synth.tasks.symbols import Symbols
from synth.tasks.task import EvaluationSet, Rows, Task
from synth.tasks.text.tokenizer import Tokenizer
from synth.trained.generation import Sampling, Written, answers, questions, write
from synth.trained.restoring import read_metrics, restore, with_files_at

if TYPE_CHECKING:
    import polars as pl


def load(
    name: str | os.PathLike[str],
    *,
    step: int | None = None,
    device: str = "cpu",
    moved: Mapping[str, str] = {},
    runs: str | os.PathLike[str] = "runs",
) -> "Run":
    """A run by its id, the beginning of one, its folder, or a pattern that fits it alone.

    Folders are looked for here, then ids below `runs`, two levels deep. `step` is that of
    the checkpoint, by default the newest whole one. `moved` says where files of the task
    lie now, by field (`corpus`, `books`, `tokenizer_file`); only evaluation and new
    samples of text read them.

    Raises `ValueError` when no run or several fit, the folder cannot be used, or there is
    no such device; says why.
    """
    return Run(find_run(name, Path(runs)), step, device, moved)


def train(
    config: RunConfig,
    *,
    runs: str | os.PathLike[str] = "runs",
    execution: Execution | None = None,
    progress: Progress | bool = True,
) -> "Run":
    """Train a run, or go on with it, and read it; a run that is done is left alone.

    Its folder is `runs/config.run_id`. `execution` sets device, threads and compilation,
    which cannot change the result. `progress` receives the news; `True` shows them here,
    in a notebook or on a terminal.

    Raises `ValueError` when the task has no data for the run, such as a corpus that cannot
    be read, or when `config` is no `RunConfig`; nothing is written then. Raises
    `RuntimeError` when the run failed, was interrupted, or is trained by another process;
    says which. After an interruption the same call goes on.
    """
    from synth.training import train as train_pack  # not needed to read a run

    require(isinstance(config, RunConfig), "config", "a RunConfig", config)
    if isinstance(progress, bool):
        shown = shown_on(Screen()) if progress else None
    else:
        shown = progress
    if RunFolder(Path(runs), config.run_id).state() != "done":
        config.require_data()
    (outcome,) = train_pack([config], Path(runs), execution, shown)
    if outcome.state != "done":
        raise RuntimeError(f"{outcome.run_id} is {outcome.state}: {outcome.message}")
    return Run(Path(runs) / outcome.run_id)


class Run:
    """A run and all that can be read of it; each part is read when it is first used."""

    def __init__(
        self,
        path: Path,
        step: int | None = None,
        device: str = "cpu",
        moved: Mapping[str, str] = {},
    ) -> None:
        self.path = path.resolve()
        self.folder = RunFolder(self.path.parent, self.path.name)
        self.config = with_files_at(self.folder.config(), moved)
        require_device(device.partition(":")[0])
        self.device = torch.device(device)
        self._wanted_step = step

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def run_id(self) -> str:
        """The name of the folder."""
        return self.folder.run_id

    @cached_property
    def task(self) -> Task:
        """The task, ready to draw from; on text it needs its corpus."""
        return self.config.build_task()

    @cached_property
    def tokenizer(self) -> Tokenizer | Symbols:
        """Text to tokens and back.

        Raises `ValueError` when the folder, of older code, holds no vocabulary and its
        corpus is gone.
        """
        stored = vocabulary_file.read(self.folder)
        if stored is not None:
            return stored
        try:
            return vocabulary_file.tokenizer_of(self.task)
        except ValueError as error:
            raise ValueError(
                f"{self.path} was made by older code, which kept no vocabulary, so its "
                f"task has to be built again: {error}"
            ) from None

    @cached_property
    def metrics(self) -> "pl.DataFrame":
        """All measured numbers, in the long form of `synth.metrics.SCHEMA`.

        Damage to the folder (`RunFolder.damage`) is named on standard error.

        Raises `ValueError`, naming a file that cannot be read or holds other lines.
        """
        return read_metrics(self.folder)

    @property
    def model(self) -> PredictionModel:
        """The fp32 model, a single lane, without gradients.

        Checkpoints that cannot be used are passed over and named on standard error.

        Raises `ValueError` when there is no such checkpoint, with the steps there are,
        or none that can be used, with the reason.
        """
        return self._restored[0]

    @property
    def step(self) -> int:
        """The optimiser step of the model's checkpoint."""
        return self._restored[1]

    def batch(self, step: int) -> Rows:
        """The rows that a step of training was made on, counted from 1.

        They are drawn again from the beginning, so late steps take as long as all data
        before them. Under other package versions a task may draw other rows.

        Raises `ValueError` for a step that the run does not have.
        """
        training = self.config.training
        require(0 < step <= training.steps, "step", f"1 to {training.steps}", step)
        seed = self.config.resolved_data_seed
        stream = RowStream(self.task, seed, training.context)
        for _ in range(step - 1):
            stream.take(training.batch_rows)
        return stream.take(training.batch_rows)

    def tokens(self, text: str) -> Tensor:
        """A text as one row of token ids, (1, T).

        Raises `ValueError` for a text without any token.
        """
        ids = self.tokenizer.encode(text)
        require(bool(ids), "text", "of one token or more", text)
        return torch.tensor([ids], device=self.device)

    def text(self, tokens: Tensor | Sequence[int]) -> str:
        """The text of token ids, (T,) or (1, T).

        Raises `ValueError` for an id that the vocabulary does not have.
        """
        ids = torch.as_tensor(tokens)
        _require_ids(ids, len(self.tokenizer))
        return self.tokenizer.decode(ids.reshape(-1).tolist())

    @torch.no_grad()
    def logits(self, tokens_BT: Tensor, head: int = 1) -> Tensor:
        """Logits of a head at every position, (B, T, V); head 1 says the next token."""
        *_, (_, state_BTD) = self._states(tokens_BT, head)
        return self.model.unembed(state_BTD[None])[0]

    @torch.no_grad()
    def hidden(self, tokens_BT: Tensor, head: int = 1) -> dict[str, Tensor]:
        """States on the way to a head, by layer, each (B, T, D) and not normed.

        The first is "embedding", the last is what the head's logits are read from.
        """
        return dict(self._states(tokens_BT, head))

    @torch.no_grad()
    def attention(self, tokens_BT: Tensor, head: int = 1) -> dict[str, Tensor]:
        """Attention weights on the way to a head, by layer, each (B, H, T, T).

        Raises `ValueError` when the layers mix positions by something other than
        attention.
        """
        mixer = self.config.model.mixer
        if mixer != "attention":
            raise ValueError(
                f"Layers of ModelConfig.mixer {mixer!r} have no attention weights; a run "
                "with mixer 'attention' has them."
            )
        weights: dict[str, Tensor] = {}
        hooks = []
        for name, layer in self.layers(head):
            assert isinstance(layer.mixer, Attention)

            def note(mixer: Any, given: tuple[Tensor, ...], name: str = name) -> None:
                weights[name] = mixer.weights(given[0])[0]

            hooks.append(layer.mixer.register_forward_pre_hook(note))
        try:
            for _ in self._states(tokens_BT, head):
                pass
        finally:
            for hook in hooks:
                hook.remove()
        return weights

    def generate(
        self,
        prompt: str | None = None,
        *,
        most: int = 100,
        temperature: float = 0.0,
        top_k: int | None = None,
        seed: int = 0,
        count: int = 1,
    ) -> list[Written]:
        """What the model writes after a prompt; of a task, answers, judged.

        `prompt` is a text or a question of the task, by default the first `count`
        questions of its test set; of a prompt, `count` samples are drawn. `most` bounds the
        tokens where the task does not say how long an answer is; learned positions, which
        end with the context, bound them too. At `temperature` 0 the likeliest token is
        taken; with `top_k` alone, the number of likeliest tokens to draw from, it is 1.
        Sample i of a `seed` is the same whatever `count` is.

        Raises `ValueError` when the prompt cannot be read, a text has none, or several
        greedy answers to one prompt are asked for, which would all be the same.
        """
        for name, value in (("most", most), ("count", count)):
            check_examples(name, value)
        sampling = None
        if temperature or top_k is not None:
            sampling = Sampling(temperature or 1.0, top_k, seed)
        tokenizer = self.tokenizer
        ids = None if prompt is None else tokenizer.encode(prompt)
        sets: list[EvaluationSet | None]
        if isinstance(tokenizer, Symbols):
            task = self.task
            sets = (
                [*questions(task, count)] if ids is None else [task.read_question(ids)]
            )
        elif ids is None:
            raise ValueError(f"{self.run_id} is on text: give it a prompt.")
        else:
            sets = [None]
        if sampling is None and prompt is not None and count > 1:
            raise ValueError(
                f"count is {count}, but at temperature 0 a prompt has one continuation, "
                "the greedy one. Give a temperature (0.8, say) or top_k to draw several."
            )
        written: list[Written] = []
        for chosen in sets:
            samples = 1 if ids is None else count
            if chosen is None:
                assert ids is not None
                most = self._room_after(ids, most)
                found = write(self.model, ids, most, tokenizer.end, sampling, samples)
            else:
                found = answers(self.model, self.task, chosen, sampling, samples)
            written += [replace(one, text=self.text(one.tokens)) for one in found]
        return written

    def _room_after(self, ids: Sequence[int], most: int) -> int:
        """How many of `most` tokens have a position after a prompt; one at least."""
        context = self.config.training.context
        self.config.model.require_positions(len(ids) + 1, context)
        learned = self.config.model.positions == "learned"
        return min(most, context - len(ids)) if learned else most

    def _states(self, tokens_BT: Tensor, head: int) -> Iterator[tuple[str, Tensor]]:
        """What each part on the way to a head puts out, with its name."""
        model = self.model
        if not 1 <= head <= model.num_heads:
            raise ValueError(f"head must be from 1 to {model.num_heads}; got {head}.")
        is_batch = isinstance(tokens_BT, Tensor) and tokens_BT.ndim == 2
        shape = "token ids of shape (B, T), as run.tokens(text) gives"
        require(is_batch, "tokens_BT", shape, tokens_BT)
        _require_ids(tokens_BT, model.vocab_size)
        tokens_KBT = tokens_BT.to(self.device)[None]
        x_KBTD = model.embed(tokens_KBT)
        yield "embedding", x_KBTD[0]
        for number, layer in enumerate(model.trunk, 1):
            x_KBTD = layer(x_KBTD)
            yield f"trunk {number}", x_KBTD[0]
        for passed in model.objective.path(head):
            found = model.layer_states(passed, x_KBTD, tokens_KBT)
            for name, state_KBTD in found.items():
                x_KBTD = state_KBTD
                yield name, x_KBTD[0]

    def layers(self, head: int = 1) -> Iterator[tuple[str, Layer]]:
        """The decoder layers on the way to a head, under the names of their states."""
        for number, layer in enumerate(self.model.trunk, 1):
            yield f"trunk {number}", layer  # type: ignore[misc]
        for passed in self.config.objective.path(head):
            module = self.model.heads[passed - 1]
            if isinstance(module, Layer):
                yield f"head {passed}", module
            elif isinstance(module, HeadStack):
                several = len(module.layers) > 1
                for number, layer in enumerate(module.layers, 1):
                    more = f", layer {number}" if several else ""
                    yield f"head {passed}{more}", layer  # type: ignore[misc]

    @cached_property
    def _restored(self) -> tuple[PredictionModel, int]:
        """The model and the step of its checkpoint."""
        size = len(self.tokenizer)
        return restore(self.folder, self.config, size, self.device, self._wanted_step)


def _require_ids(tokens: Tensor, count: int) -> None:
    """Refuse ids outside a vocabulary of `count` tokens."""
    inside = not tokens.numel() or (tokens.min() >= 0 and tokens.max() < count)
    require(bool(inside), "token ids", f"from 0 to {count - 1}", tokens.tolist())
