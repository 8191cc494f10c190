"""What every objective owes, whatever its kind: lanes, resume, native passes, floors."""

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch

from synth.evaluation import score_tokens
from synth.families.family import members
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.lanes import initialise
from synth.objectives.bag_of_words import BagOfWordsConfig
from synth.objectives.batch.targets import make_targets
from synth.objectives.chain import ChainConfig
from synth.objectives.declarations import Prediction
from synth.objectives.joint import JointConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.myopic import MyopicConfig
from synth.objectives.next_latent import NextLatentConfig
from synth.objectives.objective import NEXT_TOKEN
from synth.objectives.registers import RegistersConfig
from synth.objectives.teacherless import TeacherlessConfig
from synth.objectives.token_order import TokenOrderConfig
from synth.objectives.transfer import TransferConfig
from synth.pack import Pack
from synth.run.execution import Execution
from synth.run.store import RunFolder
from synth.tasks.choice_points import ChoicePointsConfig
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.fast.recording import RecordedGraph
from tests.synth.fast.test_native import needs_compiler
from tests.synth.objectives.conftest import VOCAB, build
from tests.synth.test_training import metrics, trained

ARMS = [
    MultiTokenConfig(horizon=2, layout="anticausal", schedule="to-zero"),
    ChainConfig(depth=2, schedule="forward"),
    ChainConfig(depth=2, modules="shared", budget="added"),
    TokenOrderConfig(window=6),
    TransferConfig(depth=0, injection=True),
    JointConfig(depth=2),
    NextLatentConfig(depth=2),
    TeacherlessConfig(),
    MyopicConfig(horizon=2),
    BagOfWordsConfig(window=4),
    RegistersConfig(furthest=3),
]


class StopsAtSix(Pack):
    """Asks its own process to stop, as a scheduler would."""

    def train_step(self, clock):
        super().train_step(clock)
        if self.step == 6:
            os.kill(os.getpid(), signal.SIGUSR2)


def run_of(objective, **changes):
    return dataclasses.replace(
        tiny_run(scale="d16-L6-h2", **changes), objective=objective
    )


def arms_and_forms():
    """The first arms in both forms of the step, later ones in one, in turn."""
    for index, objective in enumerate(ARMS):
        forms = ("on", "off") if index < 4 else ("on", "off")[index % 2 :][:1]
        for form in forms:
            marks = [needs_compiler] if form == "on" else []
            name = f"{form}-{objective.arm}"
            yield pytest.param(objective, form, marks=marks, id=name)


@pytest.mark.parametrize(("objective", "form"), list(arms_and_forms()))
def test_a_stopped_lane_of_a_pack_ends_as_an_undisturbed_run(tmp_path, objective, form):
    execution = Execution(compile=form)
    pair = [run_of(objective, seed=seed) for seed in (0, 1)]
    stopped = train(pair, tmp_path / "pack", execution, build=StopsAtSix)
    assert {outcome.state for outcome in stopped} == {"stopped"}
    together = trained(tmp_path / "pack", *pair, execution=execution)
    alone = [trained(tmp_path / "alone", one, execution=execution)[0] for one in pair]
    assert together == alone
    result = RunFolder(tmp_path / "pack", pair[0].run_id).read_json("result.json")
    assert result["vocabulary"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("objective", ARMS, ids=lambda objective: objective.arm)
def test_a_lane_equals_itself_alone_bit_for_bit(objective, dtype):
    stream = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, VOCAB, (3, 3, 12), generator=stream)
    example, answer = torch.ones_like(tokens), torch.zeros_like(tokens).bool()
    example[..., 7:], example[..., -1:], answer[..., 3:7] = 2, 0, True

    def gradients(lanes, rows):
        model, flat = build(objective, len(lanes), dtype, scale="d16-L6-h2")
        initialise(flat, model.initial_stds(), lanes)
        flat.zero_grad()
        losses = loss_and_backward(model, make_targets(*rows, objective))
        return losses, flat.gather_grad()

    losses, grads = gradients([0, 1, 2], (tokens, example, answer))
    for lane in range(3):
        own = [values[lane : lane + 1] for values in (tokens, example, answer)]
        alone_losses, alone_grads = gradients([lane], own)
        assert torch.equal(alone_losses[:, 0], losses[:, lane])
        assert torch.equal(alone_grads[0], grads[lane])


@pytest.mark.parametrize("objective", ARMS, ids=lambda objective: objective.arm)
def test_a_loss_on_answers_unembeds_answers_alone(monkeypatch, objective):
    """Where the vocabulary is large; readouts need whole rows, and unembed them."""
    monkeypatch.setattr("synth.models.backward.SPARSE_VOCABULARY", VOCAB)
    objective = dataclasses.replace(objective, scored="answer")
    model, _ = build(objective, scale="d16-L6-h2")
    tokens = torch.randint(1, VOCAB, (1, 3, 12), generator=torch.Generator())
    example, answer = torch.ones_like(tokens), torch.zeros_like(tokens).bool()
    answer[..., 7:] = True
    targets = make_targets(tokens, example, answer, objective)
    unembedded, rows, whole = [], model.unembed_rows, model.unembed

    def of_rows(states):
        unembedded.extend(map(len, states))
        return rows(states)

    def of_readouts(states, frozen=False):
        assert frozen, "a head unembeds every position"
        return whole(states, frozen)

    monkeypatch.setattr(model, "unembed_rows", of_rows)
    monkeypatch.setattr(model, "unembed", of_readouts)
    loss_and_backward(model, targets)
    scored = (targets.weights_NKBT > 0).sum()
    if targets.registers is not None:
        scored += (targets.registers.weights_KBT > 0).sum()
    assert sum(unembedded) == scored


@pytest.mark.parametrize("objective", ARMS, ids=lambda objective: objective.arm)
def test_a_gpu_could_record_its_step(objective):
    """No part of it asks the device for a value or takes a tensor of the host along."""
    pack = Pack([run_of(objective)], Execution(compile="off"), None)
    batch = pack._batch()
    pack._gradients(*batch)  # tables of positions are made in the first step
    RecordedGraph().capture(lambda: pack._gradients(*batch))


@pytest.mark.parametrize("objective", ARMS, ids=lambda objective: objective.arm)
def test_processes_that_share_the_rows_of_a_batch_add_up_to_one(objective):
    pack = Pack([run_of(objective)], Execution(compile="off"), None)
    targets = make_targets(*pack._batch(), objective)

    def gradients(parts):
        pack.lanes.zero_grad()
        losses = sum(loss_and_backward(pack.model, part) for part in parts)
        return losses, pack.lanes.gather_grad().clone()

    whole = gradients([targets])
    shares = gradients([targets.rows(slice(0, 1)), targets.rows(slice(1, None))])
    for one, other in zip(whole, shares, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("objective", ARMS, ids=lambda objective: objective.arm)
def test_each_term_of_the_loss_is_measured_under_its_name(tmp_path, objective):
    config = run_of(objective)
    trained(tmp_path, config)
    rows = metrics(tmp_path, config)
    found = {r.slice for r in rows if (r.suite, r.metric) == ("train", "loss")}
    assert found == set(objective.terms())


@pytest.mark.parametrize("kind", members("objective"))
def test_the_contract_of_an_objective(kind):
    objective = members("objective")[kind]()
    heads = objective.heads()
    assert heads[0].prediction == Prediction(1)
    assert objective.arm.replace("_", "").replace(".", "").isalnum()
    assert all(heads[head - 1].given == 0 for head in objective.path(1))
    for number, head in enumerate(heads, 1):
        assert head.given < head.offset
        assert head.parent is None or 1 <= head.parent <= len(heads)
        assert number in objective.path(number)
    assert all(1 <= readout.head <= len(heads) for readout in objective.readouts())


def test_one_head_is_next_token_prediction_whatever_its_layout():
    plain = MultiTokenConfig()
    assert plain.arm == NEXT_TOKEN
    for layout in ("causal", "anticausal", "linear"):
        assert MultiTokenConfig(layout=layout, budget="added") == plain


def test_the_floor_of_a_prediction_that_is_given_tokens_is_that_of_a_nearer_one():
    """Given t+1, token t+2 is as hard as the next token is one place later."""
    task = ChoicePointsConfig().build()
    (chosen,) = task.evaluation_sets(4)
    model = PredictionModel(
        run_of(ARMS[1]).model, ChainConfig(depth=1), len(task.vocabulary), 1
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    (scores,) = score_tokens(model, chosen, torch.device("cpu"))
    rows = {(s.metric, s.slice): s.value for s in task.score(chosen, scores)}
    near = task.distributions_of(chosen.rows, Prediction(1))
    given = task.distributions_of(chosen.rows, Prediction(2, given=1))
    assert np.array_equal(given[:, :-1], near[:, 1:], equal_nan=True)
    for slice_ in ("horizon=1,role=forced", "horizon=2,given=1,role=forced"):
        assert rows["floor", slice_] == pytest.approx(0, abs=1e-9)
