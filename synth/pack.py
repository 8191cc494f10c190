"""A pack: runs of one shape as the lanes of one program, step by step.

Folders, signals and checkpoint schedules are the business of `synth.training`.

Letters in names: K lanes (runs), N terms of the loss, B rows of a batch, T positions, P
weights of a lane, R rows of a stream.
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from synth.config import RunConfig
from synth.evaluation import task_scores
from synth.fast.accelerate import accelerate
from synth.fast.compilation import StepForm, step_form
from synth.fast.replay import TOLERANCE, CudaGraph, ReplayedStep
from synth.metrics import LossSums, Measurement, Score
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.describe import describe_model, unembeddings_per_token
from synth.models.lanes import FlatLanes, initialise
from synth.models.pinning import pinned
from synth.objectives.batch.targets import Targets, make_targets
from synth.optimizer import LaneOptimizer
from synth.run.checkpoint import Checkpoint, Place, fill
from synth.run.environment import capture
from synth.run.execution import Execution
from synth.run.spans import span, step_taken
from synth.tasks.checks import evaluated, require_measured
from synth.tasks.stream import RowStream
from synth.tasks.task import EvaluationSet, ItemCounts

CHECK_EVERY = {"cpu": 1, "cuda": 64}
"""Steps between two readings of the losses; on a GPU each one waits for the device."""
DRAWS_AHEAD = {"cpu": False, "cuda": True}
"""Whether a thread generates the next rows meanwhile; on a CPU it would compete with
training for the core."""
_PRECISION = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Pack:
    """K runs in lock-step: model, optimiser, data, and the sums behind their metrics."""

    recordable: ClassVar[bool] = True
    """Whether a step of this kind of pack may be recorded as a graph."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        execution: Execution,
        restored: Sequence[Checkpoint] | None,
    ) -> None:
        first = configs[0]
        self.configs, self.execution = list(configs), execution
        self.training, self.objective = first.training, first.objective
        self.device = torch.device(execution.device)
        self.task = first.build_task()
        precision = _PRECISION[self.training.precision]
        with self.device:
            self.model = self._new_model()
            self.lanes = FlatLanes(self.model, precision)
            self.scorer = self.model
            if precision != torch.float32:
                self.scorer = self._new_model()
                self.lanes.attach(self.scorer, master=True)
        self.form, self.piece_loss = accelerate(
            self.model, self.scorer, self._form(), execution.device
        )
        if self.form == "graph" and self.scorer is self.model:
            # Compiled layers would be recompiled for every length of a test set.
            with self.device:
                self.scorer = self._new_model()
            self.lanes.attach(self.scorer, master=True)
        self.optimizer = LaneOptimizer(
            self.lanes, [c.training for c in configs], recordable=self.form == "graph"
        )
        self.evaluation_sets: dict[int, list[EvaluationSet]] = {}
        """Test sets made so far, keyed by their number of examples."""
        self.items: list[list[ItemCounts]] = [[] for _ in configs]
        """For each lane, the counts item by item of its last evaluation."""
        self._unsettled: list[tuple[Tensor, Tensor]] = []
        self._ahead: ThreadPoolExecutor | None = None
        if DRAWS_AHEAD[execution.device]:
            self._ahead = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self.step = restored[0].place.step if restored else 0
        self._sums = LossSums(len(configs), self.objective.terms())
        self.seconds_before: list[dict[str, float]] = [{} for _ in configs]
        # Lanes with the same data seed read one stream.
        self._seeds = [config.resolved_data_seed for config in configs]
        cursors = dict(zip(self._seeds, self._cursors(restored or ()), strict=True))
        self._streams = {
            seed: RowStream(
                self.task, seed, first.training.context, *cursor, self._ahead
            )
            for seed, cursor in cursors.items()
        }
        self.graph_step: ReplayedStep | None = None
        if self.form == "graph":
            self.graph_step = self._build_graph_step()

    def _new_model(self) -> PredictionModel:
        return PredictionModel(
            self.configs[0].model,
            self.objective,
            len(self.task.vocabulary),
            len(self.configs),
            self.training.context,
        )

    def _form(self) -> StepForm:
        """The form of the step that suits the runs, by arithmetic on the first one."""
        training = self.training
        cost = describe_model(
            self.configs[0].model,
            self.objective,
            len(self.task.vocabulary),
            training.context,
        )
        tokens = training.steps * training.tokens_per_step
        form = step_form(
            self.execution, tokens, float(cost["training_flops_per_token"])
        )
        fixed = self.recordable and training.optimizer == "adamw"
        return "torch" if form == "graph" and not fixed else form

    def _build_graph_step(self) -> ReplayedStep:
        """The step as one graph, with the buffers that its batches go through."""
        training, device = self.training, self.device
        shape = (len(self.configs), training.batch_rows, training.context)
        types = (torch.int64, torch.int32, torch.bool)
        inputs = [torch.zeros(shape, dtype=kind, device=device) for kind in types]
        if self.objective.scheduled:
            inputs.append(torch.zeros(len(self.objective.terms()), device=device))

        def body() -> tuple[Tensor, Tensor]:
            loss_NK, norm_K = self._gradients(*inputs)
            with span("optimiser"):
                self.optimizer.update(norm_K)
            return loss_NK, norm_K

        tolerance = TOLERANCE[training.precision]
        return ReplayedStep(CudaGraph(), body, inputs, self.optimizer, tolerance)

    def _cursors(self, restored: Sequence[Checkpoint]) -> list[tuple[int, int]]:
        """Set initial or restored weights; returns where the data of each lane goes on."""
        if not restored:
            seeds = [config.seed for config in self.configs]
            initialise(self.lanes, self.model.initial_stds(), seeds)
            return [(0, 0) for _ in self.configs]
        for lane, saved in enumerate(restored):
            self._restore(lane, saved)
        self.lanes.refresh()
        return [saved.place.cursor for saved in restored]

    def _restore(self, lane: int, saved: Checkpoint) -> None:
        weights = self.lanes.lane(self.lanes.master_KP, lane)
        fill(weights, saved, f"The checkpoint of {self.configs[lane].run_id}")
        self.optimizer.restore(lane, saved.moments)
        self._sums.restore(lane, saved.place.sums)
        self.seconds_before[lane] = saved.place.seconds

    @property
    def tokens(self) -> int:
        """Training positions that each lane has seen."""
        return self.step * self.training.tokens_per_step

    def unembeddings_per_token(self) -> float:
        """Unembedding products per training token; on a GPU every position counts, scored
        or not."""
        if self.form == "graph" or self.device.type == "cuda":
            return self.objective.unembeddings()
        context = self.training.context
        return unembeddings_per_token(self.task, self.objective, context)

    def environment(self) -> dict[str, Any]:
        """What this session runs on."""
        return capture(self.configs[0], self.execution, len(self.configs), self.form)

    def train_step(self, clock: dict[str, float]) -> None:
        """One optimiser step of every lane; the time of each part goes to `clock`."""
        began = time.monotonic()
        with span("data"):
            batch = self._batch()
        generated = time.monotonic()
        if self.graph_step is not None:
            self._unsettled.append(self.graph_step(batch, self.step))
        else:
            with span("data"):
                sent = [part.to(self.device, non_blocking=True) for part in batch]
            loss_NK, norm_K = self._gradients(*sent)
            self._unsettled.append((loss_NK, norm_K))
            finite_K = None
            if CHECK_EVERY[self.execution.device] == 1:
                finite_K = (loss_NK.isfinite().all(0) & norm_K.isfinite()).tolist()
            with span("optimiser"):
                self.optimizer.schedule(self.step, finite_K)
                self.optimizer.update(norm_K)
        self.step += 1
        clock["data"] += generated - began
        clock["training"] += time.monotonic() - generated
        lanes = len(self.configs)
        replayed = self.graph_step is not None and self.graph_step.recorded
        step_taken(lanes, lanes * self.training.tokens_per_step, replayed)

    def _batch(self) -> list[Tensor]:
        """The next tokens, examples and answers, each (K, B, T), on the host.

        Where the step is recorded, weights that change are sent along.
        """
        taken = {s: r.take(self.training.batch_rows) for s, r in self._streams.items()}
        rows = [taken[seed] for seed in self._seeds]
        stacked = (
            np.stack([r.tokens_RT for r in rows]).astype(np.int64, copy=False),
            np.stack([r.example_RT for r in rows]).astype(np.int32, copy=False),
            np.stack([r.answer_RT for r in rows]).astype(np.bool_, copy=False),
        )
        sent = [torch.from_numpy(part) for part in stacked]
        if self.form == "graph" and self.objective.scheduled:
            sent.append(torch.tensor(self._term_weights()))
        return [pinned(part, self.device) for part in sent]

    def _term_weights(self) -> tuple[float, ...]:
        """The weight of each term of the loss in the step at hand."""
        return self.objective.term_weights(self.step, self.training.steps)

    def _gradients(
        self,
        tokens_KBT: Tensor,
        example_KBT: Tensor,
        answer_KBT: Tensor,
        weights_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Losses of the terms (N, K), gradient norms (K,); the gradients stay."""
        targets = make_targets(
            tokens_KBT,
            example_KBT,
            answer_KBT,
            self.objective,
            self._term_weights() if weights_N is None else weights_N.unbind(),
        )
        if self.form == "graph":
            # Selecting positions would force a device sync: their count varies.
            targets = replace(targets, sparse=False)
        with span("optimiser"):
            self.lanes.zero_grad()
        with span("forward"):
            loss_NK = self.backward(targets)
        with span("optimiser"):
            return loss_NK, self.optimizer.norms()

    def backward(self, targets: Targets) -> Tensor:
        """Losses (N, K); adds to the gradients. Data-parallel packs share this work."""
        return loss_and_backward(self.model, targets, self.piece_loss)

    def must_check(self) -> bool:
        """Whether it is time to read the losses."""
        return len(self._unsettled) >= CHECK_EVERY[self.execution.device]

    def settle(self, alive: Sequence[int]) -> list[tuple[int, int, list[float], float]]:
        """Add the steps since the last call to the sums.

        Returns (lane, step, losses by term, gradient norm) for each living lane whose
        loss or norm is NaN or infinite, at the first such step.
        """
        lost: dict[int, tuple[int, int, list[float], float]] = {}
        first = self.step - len(self._unsettled)
        for offset, (loss_NK, norm_K) in enumerate(self._read_losses()):
            losses, norms = loss_NK.T.tolist(), norm_K.tolist()
            for lane in alive:
                norm = norms[lane]
                if lane in lost:
                    continue
                if not all(map(math.isfinite, (*losses[lane], norm))):
                    lost[lane] = (lane, first + offset + 1, losses[lane], norm)
                    continue
                self._sums.add(lane, losses[lane], norm)
        self._unsettled.clear()
        return list(lost.values())

    def has_losses(self) -> bool:
        """Whether any loss was summed since the last row of metrics."""
        return self._sums.any()

    def recent_losses(self, lanes: Sequence[int]) -> list[float]:
        """Mean loss of each term since the last row of metrics, over lanes."""
        return self._sums.mean_losses(lanes)

    def training_rows(self) -> list[list[Measurement]]:
        """Means since the last call, per lane, and start new sums."""
        lanes = range(len(self.configs))
        return [self._measured(lane, self._sums.close(lane)) for lane in lanes]

    def evaluate(self, examples: int) -> list[list[Measurement]]:
        """Measurements of every lane on the task's fixed sets, in fp32."""
        if examples not in self.evaluation_sets:
            self.evaluation_sets[examples] = evaluated(self.task, examples)
        found: list[list[Score]] = [[] for _ in self.configs]
        self.items = [[] for _ in self.configs]
        for chosen in self.evaluation_sets[examples]:
            by_lane = task_scores(self.scorer, self.task, chosen, self.device)
            for lane, (tokens, scores) in enumerate(by_lane):
                found[lane] += scores
                self.items[lane] += self.task.count_items(chosen, tokens)
        for scores in found:
            require_measured(self.task, self.configs[0].task.metrics, scores)
        return [self._measured(lane, scores) for lane, scores in enumerate(found)]

    def checkpoint(
        self, lane: int, metrics_bytes: int, seconds: dict[str, float]
    ) -> Checkpoint:
        """One lane's state, on the CPU."""
        sums = self._sums.saved(lane)
        cursor = self._streams[self._seeds[lane]].cursor
        place = Place(self.step, self.tokens, metrics_bytes, cursor, sums, seconds)
        weights = self.lanes.lane(self.lanes.master_KP, lane)
        moments = self.optimizer.moments(lane)
        return Checkpoint(
            place,
            {name: weight.detach().cpu() for name, weight in weights.items()},
            {name: moment.cpu() for name, moment in moments.items()},
        )

    def close(self) -> None:
        """Stop the data thread and free the memory of a recorded step."""
        if self._ahead is not None:
            self._ahead.shutdown(cancel_futures=True)
        if self.graph_step is not None:
            self.graph_step.close()
            self.graph_step = None

    def _measured(self, lane: int, scores: Sequence[Score]) -> list[Measurement]:
        run_id = self.configs[lane].run_id
        return [Measurement.of(s, run_id, self.step, self.tokens) for s in scores]

    def _read_losses(self) -> list[tuple[Tensor, Tensor]]:
        """Losses and norms of the unsettled steps, copied from a GPU all at once."""
        if self.device.type == "cpu" or not self._unsettled:
            return self._unsettled
        losses, norms = zip(*self._unsettled, strict=True)
        copies = torch.stack(losses).cpu(), torch.stack(norms).cpu()
        return list(zip(*copies, strict=True))
