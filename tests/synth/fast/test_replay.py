"""The step as one graph: the same bytes as eager steps, through all that a run meets.

The graph is a stand-in with a graph's semantics (`tests.synth.fast.recording`).
"""

import dataclasses
import weakref

import pytest
import torch

from synth.metrics import from_line
from synth.pack import Pack
from synth.run.execution import Execution
from synth.run.spans import Profiler
from synth.training import train
from tests.conftest import tiny_run, with_training
from tests.synth.fast.recording import SHORT, pack_of, trained, walk
from tests.synth.test_training import content


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
    ("mixer", "layout", "schedule"),
    [
        ("attention", "linear", "constant"),
        ("mamba2", "causal", "forward"),
        ("rwkv", "anticausal", "to-zero"),
        ("attention", "parallel", "reverse"),
    ],
)
def test_every_step_can_be_recorded(
    tmp_path, graphs, eager, mixer, layout, schedule, scored
):
    """Scored answers too: all logits are made, for a choice would be waited for.

    And weights that change: each replay has those of its own step.
    """
    config = tiny_run(2, layout=layout, **SHORT)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, mixer=mixer),
        objective=dataclasses.replace(
            config.objective, scored=scored, schedule=schedule
        ),
    )
    expected = eager([config])
    assert trained(tmp_path / "graph", [config]) == expected
    assert graphs[0].replays == 3


def test_large_vocabularies_go_in_chunks(tmp_path, graphs, eager, monkeypatch):
    monkeypatch.setattr("synth.models.backward.CHUNK_LOGITS", 1)
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
        pack.graph_step(batch, 5)
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


@pytest.mark.filterwarnings("ignore:TrainingConfig.precision")
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
    assert torn.graph_step.recorded
    torn.lanes.master_KP[0].fill_(torch.nan)
    walk(torn, 3)
    assert torch.equal(torn.lanes.master_KP[1], whole.lanes.master_KP[1])
    (lost,) = torn.settle([0, 1])
    assert lost[:2] == (0, 7)


def test_packs_that_share_work_between_processes_record_nothing(graphs):
    from slurm.data_parallel import ShardedPack

    class Unable(Pack):
        recordable = ShardedPack.recordable

    pack = Unable([tiny_run()], Execution(), None)
    walk(pack, 5)
    assert (pack.form, pack.graph_step, graphs) == ("torch", None, [])
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


def test_a_closed_pack_lets_the_graph_go(graphs):
    pack = pack_of(tiny_run(), steps=5)
    graph = weakref.ref(graphs.pop())
    pack.close()
    assert graph() is None
    walk(pack, 1)  # eagerly


def test_a_profile_counts_replays_as_forward(tmp_path, graphs):
    with Profiler() as profiler:
        trained(tmp_path, [tiny_run(2)])
    found = profiler.breakdown()
    assert sum(part.seconds for part in found.parts) == pytest.approx(found.seconds)
    assert all(part.seconds > 0 for part in found.parts), found
    assert found.notes == (
        "9 of 12 steps were replayed as one graph: all of a replay is counted as forward",
    )


def test_a_recorded_step_unembeds_every_position(monkeypatch, request):
    monkeypatch.setattr("synth.models.describe.SPARSE_VOCABULARY", 1)
    config = tiny_run(2)
    scored = dataclasses.replace(config.objective, scored="answer")
    config = dataclasses.replace(config, objective=scored)
    execution = Execution(compile="off")
    assert Pack([config], execution, None).unembeddings_per_token() < 1
    request.getfixturevalue("graphs")
    assert Pack([config], execution, None).unembeddings_per_token() == 2
