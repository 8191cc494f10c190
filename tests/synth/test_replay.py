"""The step as one graph: what a recording needs, what it gives, and when it is given up.

The graph is a stand-in with a graph's semantics (`tests.synth.recording`); the last tests
take the real one where there is a GPU.
"""

import contextlib
import dataclasses
import gc
import weakref
from typing import get_args

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synth.config import ModelConfig, ObjectiveConfig
from synth.execution import Execution
from synth.metrics import from_line
from synth.mixers import Mixer
from synth.models.heads import MultiTokenModel
from synth.models.lanes import FlatLanes
from synth.objectives import horizon_targets, loss_and_backward
from synth.pack import Pack
from synth.profile import Profile
from synth.replay import CudaGraph
from synth.training import numerics, train
from synth.transfer import pinned
from tests.conftest import tiny_run, with_training
from tests.synth.recording import RecordedGraph, Refused
from tests.synth.test_training import content

SHORT = {"steps": 6, "evaluation_examples": 0, "final_examples": 4}


@pytest.fixture
def graphs(monkeypatch):
    """Packs take the graph's form here; the graphs that they made."""
    made = []

    def new():
        made.append(RecordedGraph())
        return made[-1]

    monkeypatch.setattr("synth.pack.step_form", lambda *_: "graph")
    monkeypatch.setattr("synth.pack.CudaGraph", new)
    monkeypatch.setattr("synth.pack.prepare_torch_compile", lambda _: (True, ""))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _: None)
    return made


def trained(root, configs, **how):
    outcomes = train(configs, root, **how)
    assert [outcome.state for outcome in outcomes] == ["done"] * len(configs), outcomes
    return [content(root, config) for config in configs]


@pytest.fixture
def eager(monkeypatch, tmp_path, graphs):
    """What the same runs leave without any recording."""

    def run(configs, **how):
        with monkeypatch.context() as patch:
            patch.setattr("synth.replay.WARM_UP", 10**9)
            found = trained(tmp_path / "eager", configs, **how)
        assert graphs.pop().replays == 0
        return found

    return run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.filterwarnings("ignore:TrainingConfig.precision")
def test_replays_leave_the_same_bytes(tmp_path, graphs, eager, precision):
    configs = [tiny_run(2, seed, precision=precision) for seed in range(3)]
    configs[1] = with_training(configs[1], learning_rate=1e-3, weight_decay=0.5)
    expected = eager(configs)
    assert trained(tmp_path / "graph", configs) == expected
    (graph,) = graphs
    assert (graph.rehearsals, graph.replays) == (4, 12 - 3)


@pytest.mark.parametrize("scored", ["all", "answer"])
@pytest.mark.parametrize(
    ("mixer", "layout"),
    [
        ("attention", "linear"),
        ("mamba2", "causal"),
        ("rwkv", "anticausal"),
        ("attention", "parallel"),
    ],
)
def test_every_step_can_be_recorded(tmp_path, graphs, eager, mixer, layout, scored):
    """Scored answers too: all logits are made, for a choice would be waited for."""
    config = tiny_run(2, layout=layout, **SHORT)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, mixer=mixer),
        objective=dataclasses.replace(config.objective, scored=scored),
    )
    expected = eager([config])
    assert trained(tmp_path / "graph", [config]) == expected
    assert graphs[0].replays == 3


def test_large_vocabularies_go_in_chunks(tmp_path, graphs, eager, monkeypatch):
    monkeypatch.setattr("synth.objectives.MAX_LOGITS", 1)
    config = tiny_run(2, batch_rows=16, **SHORT)
    assert 16 * 48 > 256, "one chunk"
    expected = eager([config])
    assert trained(tmp_path / "graph", [config]) == expected


def test_the_form_changes_rounding_alone(tmp_path, graphs, monkeypatch):
    """Against the eager form, whose rates are numbers of the host."""
    config = tiny_run(2, steps=40)
    ((replayed, _),) = trained(tmp_path / "graph", [config])
    assert graphs[0].replays == 37
    monkeypatch.setattr("synth.pack.step_form", lambda *_: "eager")
    ((plain, _),) = trained(tmp_path / "plain", [config])
    pairs = zip(replayed.splitlines(), plain.splitlines(), strict=True)
    for one, other in pairs:
        found, wanted = from_line(one.decode()), from_line(other.decode())
        if found.metric == "loss":
            assert found.value == pytest.approx(wanted.value, rel=1e-5)


def pack_of(*configs, steps=0, restored=None):
    pack = Pack(configs, Execution(), restored)
    walk(pack, steps)
    return pack


def walk(pack, steps):
    for _ in range(steps):
        pack.train_step({"data": 0.0, "training": 0.0})


def test_the_rate_of_a_step_reaches_its_replay(graphs, monkeypatch):
    """Each lane's own; what moves the weights is the rate that the host filled in."""
    pack = pack_of(tiny_run(seed=0), tiny_run(seed=1), steps=5)
    assert graphs[0].replays == 2
    state = [tensor.clone() for tensor in pack.optimizer.state()]
    batch = pack._batch()

    def moved(rates):
        found = iter(rates)
        monkeypatch.setattr("synth.optimizer.rate_at", lambda *_: next(found))
        pack.optimizer.put_back(state)
        pack.replayed(batch, 5)
        return (pack.lanes.master_KP - state[0]).norm(dim=1).tolist()

    still, first = moved([0.0, 2**-8])
    assert still == 0.0
    twice, half = moved([2**-7, 2**-9])
    assert first == pytest.approx(2 * half, rel=1e-3)
    assert twice > 0
    assert graphs[0].replays == 4


def test_results_outlive_the_next_step(graphs):
    pack = pack_of(tiny_run(2), steps=8)
    kept = pack._unsettled
    assert len({float(norm_K) for _, norm_K in kept}) == 8
    places = {tensor.data_ptr() for pair in kept for tensor in pair}
    assert len(places) == 16


def test_nothing_moves_once_recorded(graphs, tmp_path):
    """Evaluations, checkpoints and looks at the losses leave the addresses alone."""
    pack = pack_of(tiny_run(precision="bf16"), tiny_run(seed=1, precision="bf16"))
    walk(pack, 4)
    before = [tensor.data_ptr() for tensor in pack.optimizer.state()]
    assert len(before) == 1 + 2 * 2 * 3
    pack.evaluate(4)
    pack.checkpoint(0, 0, {})
    pack.settle([0, 1])
    walk(pack, 3)
    assert [tensor.data_ptr() for tensor in pack.optimizer.state()] == before
    assert graphs[0].replays == 4


@pytest.mark.parametrize("stop", [2, 4, 7])
def test_a_resumed_pack_goes_on_bit_for_bit(graphs, stop):
    """Before and after the recording; the new pack records once more."""
    configs = [tiny_run(2, seed) for seed in range(2)]
    whole = pack_of(*configs, steps=12)
    first = pack_of(*configs, steps=stop)
    first.settle([0, 1])
    saved = [first.checkpoint(lane, 0, {}) for lane in (0, 1)]
    rest = pack_of(*configs, steps=12 - stop, restored=saved)
    assert graphs[-1].replays == 12 - stop - 3
    assert torch.equal(rest.lanes.master_KP, whole.lanes.master_KP)
    whole.settle([0, 1])
    rest.settle([0, 1])
    assert rest.training_rows() == whole.training_rows()


def test_a_lane_that_dies_early_leaves_its_neighbour_alone(tmp_path, graphs, eager):
    """Dead before the recording: both ways must agree that it is."""
    good, bad = tiny_run(seed=0), with_training(tiny_run(seed=1), learning_rate=1e30)
    (expected,) = eager([good])
    outcomes = train([bad, good], tmp_path / "pack")
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert "not finite at step 2" in outcomes[0].message
    assert content(tmp_path / "pack", good) == expected
    assert graphs[0].replays == 9


def test_a_lane_that_dies_late_leaves_its_neighbour_alone(graphs):
    whole = pack_of(tiny_run(seed=0), tiny_run(seed=1), steps=9)
    torn = pack_of(tiny_run(seed=0), tiny_run(seed=1), steps=6)
    assert torn.replayed.recorded
    torn.lanes.master_KP[0].fill_(torch.nan)
    walk(torn, 3)
    assert torch.equal(torn.lanes.master_KP[1], whole.lanes.master_KP[1])
    (lost,) = torn.settle([0, 1])
    assert lost[:2] == (0, 7)


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
    assert pack.replayed.recorded
    found = pack.replayed.differences
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


def test_packs_that_share_work_between_processes_record_nothing(graphs):
    from slurm.data_parallel import ShardedPack

    class Unable(Pack):
        replays = ShardedPack.replays

    pack = Unable([tiny_run()], Execution(), None)
    walk(pack, 5)
    assert (pack.form, pack.replayed, graphs) == ("torch", None, [])
    assert pack.optimizer.rates_K is None


def test_a_gpu_s_losses_are_looked_at_all_at_once(graphs):
    """The way they take from a GPU gives what the way on a CPU gives."""
    rows = []
    for kind in ("cpu", "cuda"):
        pack = pack_of(tiny_run(2), tiny_run(2, seed=1), steps=7)
        pack.device = torch.device(kind)
        assert pack.settle([0, 1]) == pack.settle([0, 1]) == []
        rows.append(pack.training_rows())
    assert rows[0] == rows[1]
    assert rows[0][0][0].count == 7


def test_measuring_waits_for_the_recording(graphs):
    from sweeps.measuring import _warm_pack

    pack = _warm_pack(tiny_run(), 2, Execution())
    assert (pack.step, graphs[0].replays) == (4, 1)
    assert pack.steady


def test_a_closed_pack_lets_the_graph_go(graphs):
    pack = pack_of(tiny_run(), steps=5)
    graph = weakref.ref(graphs.pop())
    pack.close()
    assert graph() is None
    walk(pack, 1)  # eagerly


def test_a_profile_counts_replays_as_forward(tmp_path, graphs):
    profile = Profile()
    trained(tmp_path, [tiny_run(2)], build=profile.build)
    found = profile.breakdown()
    assert sum(part.seconds for part in found.parts) == pytest.approx(found.seconds)
    assert all(part.seconds > 0 for part in found.parts), found
    assert found.notes == (
        "9 of 12 steps were replayed as one graph: all of a replay is counted as forward",
    )


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
        config = ModelConfig(scale="d16-L4-h2", mixer=mixer, layout="causal")
        model = MultiTokenModel(config, 2, 20, lanes)
        flat = FlatLanes(model, dtype)
        tokens = torch.zeros(lanes, 2, 32, dtype=torch.int64)
        rows = (tokens, tokens.int(), tokens.bool())

    def gradients():
        targets = horizon_targets(*rows, ObjectiveConfig(horizon=2, scored="answer"))
        flat.zero_grad()
        loss_and_backward(model, tokens, dataclasses.replace(targets, sparse=False))
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
    monkeypatch.setattr("synth.objectives.SPARSE_VOCABULARY", 1)
    config = tiny_run()
    answers = dataclasses.replace(config.objective, scored="answer")
    pack = pack_of(dataclasses.replace(config, objective=answers), steps=5)
    assert pack.replayed.recorded
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
    assert packs["on"].replayed.recorded, packs["on"].replayed.differences
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
