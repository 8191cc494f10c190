"""The training step recorded once and replayed: one launch a step on a GPU.

A step of a small model is hundreds of kernels of a few microseconds, which the device
finishes faster than the host can launch them. A CUDA graph holds them all:

```
step 1 .. 3   eager, on the stream that will record: libraries, compilers, allocations
step 4        eager on its batch, then undone; recorded with blank buffers; replayed on
              the batch; losses, norms and weights of the two are compared
step 5 ..     batch and rates into their buffers, replay
```

The recording fixes the kernels, their order and every address. So the batch and the rates
lie in buffers that the host fills; weights, moments and gradients never move; and a step
returns copies, since the next one overwrites its results. No Python runs in a replay.

If a step cannot be recorded, or its replay does not agree, it is repeated eagerly from the
state before it, and all later steps are eager; a warning says why. Letters: N horizons, K
lanes, P parameters.
"""

import gc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from synth.optimizer import LaneOptimizer
from synth.run.spans import span

Losses = tuple[Tensor, Tensor]
"""Losses (N, K) and gradient norms (K,)."""
Body = Callable[[], Losses]
"""A whole step on the contents of its buffers: targets, gradients, norms, update."""

WARM_UP = 3
"""Eager steps before the one that is recorded; torch advises three."""


@dataclass(frozen=True)
class Tolerance:
    """How far a replay may lie from the eager step, relative, in each lane."""

    loss: float
    norm: float
    update: float
    """Of the change of the weights: the norm of the difference over that of the change.
    Adam divides by the size of the gradient, which magnifies the rounding of small
    gradients; with a wrong learning rate the difference is of order one."""


TOLERANCE = {
    "fp32": Tolerance(loss=1e-5, norm=1e-4, update=1e-2),
    "bf16": Tolerance(loss=5e-3, norm=2e-2, update=1e-1),
}
"""The kernels are the same, but some of them (attention's and the embedding's backward)
add in an order that is not fixed. For comparison, two sets of kernels on a CPU (eager and
native, fourth step, d64 and d128) differ by 1e-7, 1e-7 and 5e-7 in fp32, and by 1e-4,
4e-4 and 3e-3 in bf16."""


class Graph(Protocol):
    """Records the work that a body launches on the device."""

    def rehearse(self, body: Body) -> Losses:
        """Run the body on the stream that will record it."""
        ...

    def capture(self, body: Body) -> Losses:
        """Record the body without running it; returns the tensors that replays will fill.

        Called once. Raises whatever prevents a recording.
        """
        ...

    def replay(self) -> None:
        """Run what was recorded, on the same memory."""
        ...


class CudaGraph:
    """Torch's CUDA graph, with a stream of its own for rehearsals and recording."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()

    def rehearse(self, body: Body) -> Losses:
        """On the recording stream, ordered with the current one."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            losses = body()
        current.wait_stream(self._stream)
        return losses

    def capture(self, body: Body) -> Losses:
        """Into memory that belongs to the graph."""
        current, collecting = torch.cuda.current_stream(), gc.isenabled()
        reason: Exception | None = None
        # Memory or graphs of the past must not be freed in the middle of a recording.
        gc.collect()
        gc.disable()
        try:
            with torch.cuda.graph(self._graph, stream=self._stream):
                try:
                    return body()
                except Exception as error:
                    reason = error
                    raise
        except Exception as error:
            # Ending a failed recording may fail too: the first error is the reason.
            raise (reason or error) from None
        finally:
            # Where a recording fails, torch may leave its stream in place.
            torch.cuda.set_stream(current)
            if collecting:
                gc.enable()

    def replay(self) -> None:
        """On the current stream."""
        self._graph.replay()


class ReplayedStep:
    """A training step that is recorded after a few eager ones, and replayed from then on.

    `body` reads its batch from `inputs` and its rates from the optimiser.
    """

    def __init__(
        self,
        graph: Graph,
        body: Body,
        inputs: Sequence[Tensor],
        optimizer: LaneOptimizer,
        tolerance: Tolerance,
    ) -> None:
        self.graph: Graph | None = graph
        self.warm_up = WARM_UP
        self.differences: dict[str, float] = {}
        """Of the comparison: the largest relative difference of any lane, by kind."""
        self._body, self._inputs = body, inputs
        self._optimizer, self._tolerance = optimizer, tolerance
        self._steps = 0
        self._results: Losses | None = None

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed by now."""
        return self._results is not None

    def __call__(self, batch: Sequence[Tensor], step: int) -> Losses:
        """Train on a batch of the host (pinned, for a GPU) with the rates of `step`.

        Returns copies, which the next step does not overwrite.
        """
        self._steps += 1
        if self._results is not None and self.graph is not None:
            self._fill(batch, step)
            with span("forward"):
                self.graph.replay()
            return _copies(self._results)
        if self.graph is None or self._steps <= self.warm_up:
            self._fill(batch, step)
            return self._eager()
        with span("start-up", whole=True):
            return self.record(self.graph, batch, step)

    def record(self, graph: Graph, batch: Sequence[Tensor], step: int) -> Losses:
        """Take a step both ways; replay from now on if they agree."""
        before: list[Tensor] = []
        try:
            before += [tensor.clone() for tensor in self._optimizer.state()]
            results, replayed = self._compare(graph, batch, step, before)
            problem = _problem(self.differences, self._tolerance)
        except Exception as error:
            first_line = str(error).partition("\n")[0]
            problem = f"{type(error).__name__}: {first_line}"
        if not problem:
            self._results = results
            return replayed
        self.close()
        if before:
            self._optimizer.put_back(before)
            before.clear()
        warnings.warn(
            f"The step is not replayed as one graph: {problem}. Step {step + 1} was "
            "taken again from the state before it, and training goes on with a launch "
            "for every kernel; Execution.compile='auto' does not try.",
            stacklevel=3,
        )
        self._fill(batch, step)
        return self._eager()

    def _compare(
        self, graph: Graph, batch: Sequence[Tensor], step: int, before: list[Tensor]
    ) -> tuple[Losses, Losses]:
        """The tensors that replays fill, and copies of the first replay's results."""
        weights_KP = self._optimizer.state()[0]
        self._fill(batch, step)
        eager = _copies(graph.rehearse(self._body))
        eager_KP = weights_KP.clone()
        self._optimizer.put_back(before)
        # Blank the buffers: a recording that kept a value instead of its address shows.
        self._blank()
        results = graph.capture(self._body)
        self._fill(batch, step)
        graph.replay()
        replayed = _copies(results)
        self.differences = {
            "losses": _relative(eager[0], replayed[0]),
            "gradient norms": _relative(eager[1], replayed[1]),
            "updates": _relative_update(before[0], eager_KP, weights_KP),
        }
        return results, replayed

    def close(self) -> None:
        """Free the graph and its memory; later steps are eager."""
        self.graph = self._results = None

    def _eager(self) -> Losses:
        losses = self.graph.rehearse(self._body) if self.graph else self._body()
        return _copies(losses)

    def _fill(self, batch: Sequence[Tensor], step: int) -> None:
        with span("data"):
            for host, buffer in zip(batch, self._inputs, strict=True):
                buffer.copy_(host, non_blocking=True)
        with span("optimiser"):
            self._optimizer.schedule(step)

    def _blank(self) -> None:
        for buffer in self._inputs:
            buffer.zero_()
        assert self._optimizer.rates_K is not None, "the optimiser is not recordable"
        self._optimizer.rates_K.zero_()


def _copies(losses: Losses) -> Losses:
    return losses[0].clone(), losses[1].clone()


def _relative(expected: Tensor, actual: Tensor, gap: Tensor | None = None) -> float:
    """The largest relative difference; entries that are finite in neither are equal."""
    gap = (actual - expected).abs() if gap is None else gap
    lost = ~expected.isfinite() & ~actual.isfinite()
    share = gap / expected.abs().clamp(min=torch.finfo(expected.dtype).tiny)
    return float(share.masked_fill(lost, 0.0).max())


def _relative_update(
    before_KP: Tensor, expected_KP: Tensor, actual_KP: Tensor
) -> float:
    """The distance of two updates over the length of the expected one, lane by lane."""
    expected_K, actual_K, gap_K = (
        torch.stack([torch.dist(a, b) for a, b in zip(one, other, strict=True)])
        for one, other in (
            (expected_KP, before_KP),
            (actual_KP, before_KP),
            (actual_KP, expected_KP),
        )
    )
    return _relative(expected_K, actual_K, gap_K)


def _problem(differences: dict[str, float], tolerance: Tolerance) -> str:
    """Which difference is too large, in words; empty if none is."""
    limits = (tolerance.loss, tolerance.norm, tolerance.update)
    for (name, difference), allowed in zip(differences.items(), limits, strict=True):
        if not difference <= allowed:  # true for NaN too
            return (
                f"{name} differ from those of an eager step by {difference:.1e}, relative, "
                f"where {allowed:.1e} is allowed"
            )
    return ""
