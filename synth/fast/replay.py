"""The training step recorded once and replayed: one launch a step on a GPU.

A step of a small model is hundreds of kernels of a few microseconds, which the host
cannot start as fast as the device is done with them. A CUDA graph holds them all:

```
step 1 .. 3   eager, on the stream that will record: libraries, compilers, allocations
step 4        eager on its batch, then put back; recorded with blank buffers; replayed
              on the batch; losses, norms and weights of the two compared
step 5 ..     batch and rates into their buffers, replay
```

What a replay does was fixed when it was recorded: the kernels, their order and every
address. So the batch and the rates lie in buffers that the host fills, weights, moments
and gradients never move, and what a step returns is a copy, for the next one overwrites
the original. Python runs in no replay.

A step that cannot be recorded, or does not agree, is taken again from the state before
it, eagerly, as are all later ones; a warning says why. Letters: N horizons, K lanes, P
parameters.
"""

import gc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from synth.optimizer import LaneAdamW
from synth.run.spans import span

Losses = tuple[Tensor, Tensor]
"""Losses (N, K) and gradient norms (K,)."""
Body = Callable[[], Losses]
"""A whole step on what its buffers hold: targets, gradients, norms, update."""

WARM_UP = 3
"""Eager steps before the one that is recorded; torch advises three."""


@dataclass(frozen=True)
class Tolerance:
    """How far a replay may lie from the eager step, relative, in each lane."""

    loss: float
    norm: float
    update: float
    """Of the change of the weights: the norm of the difference over that of the change.
    Adam divides by the size of the gradient, so small gradients bring their rounding
    along; a rate that did not arrive is off by a whole."""


TOLERANCE = {
    "fp32": Tolerance(loss=1e-5, norm=1e-4, update=1e-2),
    "bf16": Tolerance(loss=5e-3, norm=2e-2, update=1e-1),
}
"""The kernels are the same, but some of them (attention's and the embedding's backward)
add in an order that is not fixed. For comparison, two sets of kernels on a CPU (eager and
native, fourth step, d64 and d128) differ by 1e-7, 1e-7 and 5e-7 in fp32, and by 1e-4,
4e-4 and 3e-3 in bf16."""


class Graph(Protocol):
    """A recorder of what a body asks of the device."""

    def rehearse(self, body: Body) -> Losses:
        """Run the body as it will be recorded, but for good."""
        ...

    def capture(self, body: Body) -> Losses:
        """Record the body without carrying it out; where replays will leave its results.

        Called once. Raises whatever stands in the way.
        """
        ...

    def replay(self) -> None:
        """Carry out what was recorded, on the same memory."""
        ...


class CudaGraph:
    """Torch's CUDA graph, with a stream of its own for rehearsals and recording."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()

    def rehearse(self, body: Body) -> Losses:
        """On the recording stream, in order with what the current one does."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            found = body()
        current.wait_stream(self._stream)
        return found

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
            # To end a recording that failed may fail too: the first error is the reason.
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
    """A training step that is recorded as soon as it may be, and replayed from then on.

    `body` reads its batch from `inputs` and its rates from the optimiser.
    """

    def __init__(
        self,
        graph: Graph,
        body: Body,
        inputs: Sequence[Tensor],
        optimizer: LaneAdamW,
        tolerance: Tolerance,
    ) -> None:
        self.graph: Graph | None = graph
        self.warm_up = WARM_UP
        self.differences: dict[str, float] = {}
        """What the comparison found: the largest of any lane, relative, by kind."""
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

        Returns copies: they stay what they are when the next step is taken.
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
        """Take a step in both ways; replay from now on if they agree."""
        before: list[Tensor] = []
        try:
            before += [tensor.clone() for tensor in self._optimizer.state()]
            results, replayed = self._compared(graph, batch, step, before)
            problem = _judged(self.differences, self._tolerance)
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

    def _compared(
        self, graph: Graph, batch: Sequence[Tensor], step: int, before: list[Tensor]
    ) -> tuple[Losses, Losses]:
        """Where replays leave their results, and those of the first one."""
        weights_KP = self._optimizer.state()[0]
        self._fill(batch, step)
        eager = _copies(graph.rehearse(self._body))
        eager_KP = weights_KP.clone()
        self._optimizer.put_back(before)
        # Blank buffers: a value that the recording keeps, not its place, will show.
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
        """Let the graph and its memory go; later steps are eager."""
        self.graph = self._results = None

    def _eager(self) -> Losses:
        found = self.graph.rehearse(self._body) if self.graph else self._body()
        return _copies(found)

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


def _copies(found: Losses) -> Losses:
    return found[0].clone(), found[1].clone()


def _relative(wanted: Tensor, found: Tensor, apart: Tensor | None = None) -> float:
    """The largest relative difference; what is finite in neither does not differ."""
    apart = (found - wanted).abs() if apart is None else apart
    lost = ~wanted.isfinite() & ~found.isfinite()
    share = apart / wanted.abs().clamp(min=torch.finfo(wanted.dtype).tiny)
    return float(share.masked_fill(lost, 0.0).max())


def _relative_update(before_KP: Tensor, wanted_KP: Tensor, found_KP: Tensor) -> float:
    """The distance of two updates over the length of the wanted one, lane by lane."""
    wanted_K, found_K, apart_K = (
        torch.stack([torch.dist(a, b) for a, b in zip(one, other, strict=True)])
        for one, other in (
            (wanted_KP, before_KP),
            (found_KP, before_KP),
            (found_KP, wanted_KP),
        )
    )
    return _relative(wanted_K, found_K, apart_K)


def _judged(differences: dict[str, float], tolerance: Tolerance) -> str:
    """What is too far apart, in words; nothing if all is well."""
    limits = (tolerance.loss, tolerance.norm, tolerance.update)
    for (name, found), allowed in zip(differences.items(), limits, strict=True):
        if not found <= allowed:  # nor is NaN
            return (
                f"{name} differ from those of an eager step by {found:.1e}, relative, "
                f"where {allowed:.1e} is allowed"
            )
    return ""
