"""What a recording may not meet, how a GPU is asked for one, and the stand-in itself.

The last tests take a real graph, where there is a GPU.
"""

import contextlib
import dataclasses
import gc
from typing import get_args

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synth.config import ModelConfig
from synth.fast.numerics import numerics
from synth.fast.replay import CudaGraph
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes
from synth.models.pinning import pinned
from synth.objectives.batch.targets import make_targets
from synth.objectives.multi_token import MultiTokenConfig
from synth.pack import Pack
from synth.run.execution import Execution
from synth.shapes.mixer_shapes import Mixer
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.fast.recording import RecordedGraph, Refused, pack_of, walk


class Alike(TorchDispatchMode):
    """Refuses tensors of the host among those of the device (`meta` here)."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor) and tensor.dim():
                assert tensor.device.type == "meta", f"{func}: a tensor of the host"
        return out


@pytest.mark.parametrize("mixer", get_args(Mixer))
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tensor_of_the_host_takes_part(mixer, lanes, dtype):
    """On a device of another name, as on a GPU: constants are there from the first step."""
    with torch.device("meta"):
        config = ModelConfig(scale="d16-L4-h2", mixer=mixer)
        model = PredictionModel(
            config, MultiTokenConfig(horizon=2, layout="causal"), 20, lanes
        )
        flat = FlatLanes(model, dtype)
        tokens = torch.zeros(lanes, 2, 32, dtype=torch.int64)
        rows = (tokens, tokens.int(), tokens.bool())

    def gradients():
        targets = make_targets(*rows, MultiTokenConfig(horizon=2, scored="answer"))
        flat.zero_grad()
        loss_and_backward(model, dataclasses.replace(targets, sparse=False))
        flat.gather_grad()
        flat.refresh()

    gradients()
    with Alike():
        gradients()
        with pytest.raises(AssertionError, match="a tensor of the host"):
            torch.ones(2).to("meta")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: x * float(x[0]), "_local_scalar_dense"),
        (lambda x: x if x[0] > 0 else -x, "_local_scalar_dense"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: x.cpu(), "cpu"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x[x > 0], "index"),
        (lambda x: x.masked_select(x > 0), "masked_select"),
        (lambda x: x.unique(), "_unique2"),
        (lambda x: x + torch.tensor([1.0, 2.0]), "lift_fresh"),
        (lambda x: x + torch.from_dlpack(np.ones(2, np.float32)), "memory of its own"),
    ],
)
def test_the_stand_in_refuses_what_a_gpu_cannot_record(body, words):
    x = torch.tensor([1.0, -1.0])
    with pytest.raises(Refused, match=words):
        RecordedGraph().capture(lambda: body(x))


def test_the_stand_in_is_a_graph():
    """A recording does nothing; replays read and write places and run no Python."""
    x, y = torch.tensor([1.0, 2.0]), torch.zeros(2)
    calls = []

    def body():
        calls.append("python")
        y.add_(x)
        return 2 * y, y.sum()

    graph = RecordedGraph()
    double, total = graph.capture(body)
    assert y.tolist() == [0, 0]
    assert double.isnan().all()
    graph.replay()
    assert (y.tolist(), double.tolist(), float(total)) == ([1, 2], [2, 4], 3)
    x.copy_(torch.tensor([10.0, 20.0]))
    graph.replay()
    assert (y.tolist(), double.tolist(), float(total)) == ([11, 22], [22, 44], 33)
    assert calls == ["python"]


def test_the_choice_of_positions_could_not_be_recorded(graphs, monkeypatch):
    """What the eager form on a CPU does with a large vocabulary; so the guard can fail."""
    monkeypatch.setattr("synth.models.backward.SPARSE_VOCABULARY", 1)
    config = tiny_run()
    answers = dataclasses.replace(config.objective, scored="answer")
    pack = pack_of(dataclasses.replace(config, objective=answers), steps=5)
    assert pack.graph_step.recorded
    batch = pack._batch()
    pack.form = "eager"
    with pytest.raises(Refused, match="nonzero"):
        RecordedGraph().capture(lambda: pack._gradients(*batch))


class FakeCuda:
    """Torch's streams and graphs, of which only the order of calls is real."""

    def __init__(self, monkeypatch):
        self.log, self.now = [], "main"
        for name, value in {
            "Stream": lambda: FakeStream("side", self),
            "CUDAGraph": lambda: "graph",
            "current_stream": lambda: FakeStream(self.now, self),
            "set_stream": lambda stream: setattr(self, "now", stream.name),
            "stream": self.stream,
            "graph": self.graph,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.now = self.now, stream.name
        yield
        self.now = before

    @contextlib.contextmanager
    def graph(self, graph, stream):
        self.log.append(f"record {graph}")
        self.now = stream.name
        try:
            yield
        except RuntimeError as error:
            raise ValueError("a recording that failed cannot be ended") from error
        self.now = "main"


@dataclasses.dataclass
class FakeStream:
    name: str
    cuda: FakeCuda

    def wait_stream(self, other):
        self.cuda.log.append(f"{self.name} waits for {other.name}")


@pytest.mark.parametrize("fails", [False, True])
def test_the_order_in_which_a_gpu_is_asked(monkeypatch, fails):
    """Rehearsals on the recording's stream, fenced; a failure leaves nothing behind."""
    fake = FakeCuda(monkeypatch)
    graph = CudaGraph()

    def body():
        fake.log.append(f"body on {fake.now}, collecting {gc.isenabled()}")
        if fails and not gc.isenabled():
            raise RuntimeError("the reason")
        return "results"

    assert graph.rehearse(body) == "results"
    if fails:
        with pytest.raises(RuntimeError, match="the reason"):
            graph.capture(body)
    else:
        assert graph.capture(body) == "results"
    assert (fake.now, gc.isenabled()) == ("main", True)
    assert fake.log == [
        "side waits for main",
        "body on side, collecting True",
        "main waits for side",
        "record graph",
        "body on side, collecting False",
    ]


def test_what_a_gpu_is_sent_lies_in_fresh_pinned_memory(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    host = torch.zeros(2)
    assert pinned(host, torch.device("cpu")) is host
    first, second = (pinned(host, torch.device("cuda")) for _ in range(2))
    assert first.data_ptr() != second.data_ptr()
    assert first.tolist() == [1, 1]


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("mixer", get_args(Mixer))
@pytest.mark.filterwarnings("ignore")  # torch warns of itself
def test_a_gpu_records_and_agrees(tmp_path, precision, mixer):
    configs = [
        dataclasses.replace(c, model=dataclasses.replace(c.model, mixer=mixer))
        for c in (tiny_run(2, seed, precision=precision, steps=40) for seed in (0, 1))
    ]
    packs, losses = {}, {}
    for compile in ("on", "off"):
        execution = Execution(device="cuda", compile=compile)
        with numerics(execution):
            packs[compile] = pack = Pack(configs, execution, None)
            walk(pack, 40)
            pack.settle([0, 1])
            losses[compile] = pack.recent_losses([0, 1])
    assert packs["on"].graph_step.recorded, packs["on"].graph_step.differences
    assert losses["on"] == pytest.approx(losses["off"], rel=2e-2)
    for pack in packs.values():
        pack.close()


@cuda
@pytest.mark.filterwarnings("ignore")  # torch warns of itself
def test_a_gpu_trains_after_a_failed_recording(tmp_path, monkeypatch):
    plain = Pack.backward

    def waiting(self, *given):
        found = plain(self, *given)
        float(found.sum())
        return found

    monkeypatch.setattr(Pack, "backward", waiting)
    with pytest.warns(UserWarning, match="not replayed as one graph"):
        (outcome,) = train(
            [tiny_run()], tmp_path, Execution(device="cuda", compile="on")
        )
    assert outcome.state == "done", outcome
