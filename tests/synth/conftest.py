"""Packs that record a graph."""

import pytest
import torch

from tests.synth.fast.recording import RecordedGraph, trained


@pytest.fixture
def graphs(monkeypatch):
    """Packs take the graph's form here; the graphs that they made."""
    made = []

    def new():
        made.append(RecordedGraph())
        return made[-1]

    monkeypatch.setattr("synth.pack.step_form", lambda *_: "graph")
    monkeypatch.setattr("synth.pack.CudaGraph", new)
    monkeypatch.setattr("synth.fast.native.prepare_torch_compile", lambda _: (True, ""))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _: None)
    return made


@pytest.fixture
def eager(monkeypatch, tmp_path, graphs):
    """What the same runs leave without any recording."""

    def run(configs, **how):
        with monkeypatch.context() as patch:
            patch.setattr("synth.fast.replay.WARM_UP", 10**9)
            found = trained(tmp_path / "eager", configs, **how)
        assert graphs.pop().replays == 0
        return found

    return run
