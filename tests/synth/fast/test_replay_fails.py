"""Graphs that cannot be recorded, or are wrong: one warning, and an eager step instead."""

import pytest
import torch
from torch.utils._pytree import tree_leaves

from synth.pack import Pack
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.fast.recording import SHORT, RecordedGraph, pack_of, trained


class Refusing(RecordedGraph):
    def capture(self, body):
        body()  # and the state is another
        raise RuntimeError("operation not permitted\nwhen stream is capturing")


class OutOfMemory(RecordedGraph):
    def replay(self):
        super().replay()
        raise torch.OutOfMemoryError("CUDA out of memory")


class Idle(RecordedGraph):
    """Its replays do nothing: results are what memory happened to hold."""

    def replay(self):
        self.replays += 1


class Keeping(RecordedGraph):
    """Has a value where it should have a place: the rates, or the batch, as recorded."""

    kept = ""

    def places(self):
        made = {
            t.untyped_storage().data_ptr()
            for *_, new in self.calls
            for t in new
            if t is not None
        }
        for func, args, kwargs, _ in self.calls:
            name = func._schema.name
            if self.kept == "rates" and "fused_adamw" in name:
                yield kwargs["lr"]
            elif self.kept == "batch":
                yield from (
                    t
                    for t in tree_leaves(args)
                    if isinstance(t, torch.Tensor)
                    and t.dtype == torch.int64
                    and t.untyped_storage().data_ptr() not in made
                )

    def replay(self):
        now = [(place, place.clone()) for place in self.places()]
        assert now
        for place, _ in now:
            place.zero_()
        super().replay()
        for place, value in now:
            place.copy_(value)


class Rateless(Keeping):
    kept = "rates"


class Stale(Keeping):
    kept = "batch"


class Shifted(RecordedGraph):
    """Off by so much, relative, in its losses or norms."""

    loss = norm = 1.0

    def capture(self, body):
        self.found = super().capture(body)
        return self.found

    def replay(self):
        super().replay()
        self.found[0].mul_(self.loss)
        self.found[1].mul_(self.norm)


class WrongLoss(Shifted):
    loss = 1.001


class WrongNorm(Shifted):
    norm = 0.99


class NearEnough(Shifted):
    loss, norm = 1.000002, 0.99998


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Refusing, "RuntimeError: operation not permitted. Step 4 was taken again"),
        (OutOfMemory, "OutOfMemoryError: CUDA out of memory. Step 4"),
        (Idle, "losses differ from those of an eager step by nan"),
        (Stale, "losses differ from those of an eager step by"),
        (Rateless, "updates differ from those of an eager step by 1.0e+00, relative"),
        (WrongLoss, "losses differ from those of an eager step by 1.0e-03, relative"),
        (WrongNorm, "gradient norms differ from those of an eager step by 1.0e-02"),
    ],
)
def test_a_graph_that_fails_costs_a_warning_alone(
    tmp_path, graphs, eager, monkeypatch, kind, words
):
    """The step is taken again from the state before it, and all later ones eagerly."""
    configs = [tiny_run(2, seed, **SHORT) for seed in range(2)]
    expected = eager(configs)
    made = []
    monkeypatch.setattr("synth.pack.CudaGraph", lambda: made.append(kind()) or made[-1])
    with pytest.warns(UserWarning, match="not replayed as one graph") as seen:
        assert trained(tmp_path / "graph", configs) == expected
    (warning,) = seen
    assert words in str(warning.message)
    assert made[0].replays <= 1


def test_rounding_is_no_reason_to_give_up(graphs, monkeypatch):
    monkeypatch.setattr("synth.pack.CudaGraph", NearEnough)
    pack = pack_of(tiny_run(), steps=5)
    assert pack.graph_step.recorded
    found = pack.graph_step.differences
    assert found["losses"] == pytest.approx(2e-6, rel=0.1)
    assert found["gradient norms"] == pytest.approx(2e-5, rel=0.1)
    assert found["updates"] == 0.0


def test_an_error_of_the_step_itself_is_not_hidden(tmp_path, graphs, monkeypatch):
    def broken(*_):
        raise RuntimeError("no more of this")

    plain, calls = Pack.backward, []

    def backward(self, *given):
        calls.append(given)
        return plain(self, *given) if len(calls) <= 3 else broken()

    monkeypatch.setattr(Pack, "backward", backward)
    with pytest.warns(UserWarning, match="no more of this"):
        (outcome,) = train([tiny_run()], tmp_path)
    assert outcome.state == "failed"
    assert "no more of this" in outcome.message
