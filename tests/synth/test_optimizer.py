"""Optimisers against torch's own classes, and what a training process imports."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from synth.config import ModelConfig, TrainingConfig
from synth.fast.numerics import numerics
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.optimizer import FusedAdamW, LaneOptimizer, rate_at
from synth.run.execution import Execution
from synth.tasks.stories import StoriesConfig
from tests.conftest import tiny_run, two_steps

HEAVY = (
    *("torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes"),
    *("sympy", "tyro", "optuna", "submitit", "polars", "seaborn", "matplotlib"),
    *("transformers", "datasets", "jupytext", "scipy"),
)
"""Slow to import, and nothing that a run needs."""

SESSION = """
import json, sys
from pathlib import Path
from synth.config import RunConfig
from synth.run.execution import Execution
from synth.training import train

def show(event):
    if event.kind == "begin":
        print(json.dumps(event.step))

config = RunConfig.from_dict(json.loads(sys.argv[1]))
(outcome,) = train([config], Path(sys.argv[2]), Execution(), show)
assert outcome.state == "done", outcome.message
print(json.dumps(sorted(set(json.loads(sys.argv[3])) & set(sys.modules))))
"""


def groups_of(tensors):
    return [
        {"params": [tensor], "weight_decay": decay}
        for tensor, decay in zip(tensors, (0.1, 0.0, 0.3), strict=True)
    ]


def test_the_bits_are_those_of_torchs_class():
    """With rates that change, a lane that dies, and states taken over."""
    stream = torch.Generator().manual_seed(0)
    start = [torch.randn(size, generator=stream) for size in (37, 5, 64)]
    ours, theirs = ([tensor.clone() for tensor in start] for _ in range(2))
    settings = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8}
    mine = FusedAdamW(groups_of(ours), **settings)
    reference = torch.optim.AdamW(groups_of(theirs), fused=True, **settings)
    for step in range(6):
        if step == 4:
            again = FusedAdamW(groups_of(ours), **settings)
            again.state = {key: dict(state) for key, state in mine.state.items()}
            mine = again
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            grad = torch.randn(pair[0].shape, generator=stream)
            for tensor in pair:
                tensor.grad = None if index == 2 and step >= 3 else grad.clone()
        for optimizer in (mine, reference):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * (step + 1)
            optimizer.step()
    for tensor, other in zip(ours, theirs, strict=True):
        assert torch.equal(tensor, other)
        state = reference.state[other]
        assert mine.state[tensor].keys() == state.keys()
        assert all(torch.equal(mine.state[tensor][name], state[name]) for name in state)
    assert [mine.state[tensor]["step"].item() for tensor in ours] == [6, 6, 3]
    assert not any(torch.equal(a, b) for a, b in zip(start, ours, strict=True))


@pytest.mark.parametrize("kind", ["polynomial", "stories"])
def test_a_worker_imports_what_it_needs_alone(tmp_path, kind):
    """From the start to a checkpoint and the last evaluation, and once more, done."""
    config = tiny_run(2)
    if kind == "stories":
        config = two_steps(
            StoriesConfig(),
            ModelConfig(scale="d16-L4-h2"),
            MultiTokenConfig(horizon=2, scored="answer"),
            context=256,
        )
    words = [json.dumps(config.to_dict()), str(tmp_path), json.dumps(HEAVY)]
    done = subprocess.run(
        [sys.executable, "-c", SESSION, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    step, found = done.stdout.splitlines()
    assert json.loads(step) == 0
    assert json.loads(found) == []


def test_the_settings_of_torch_are_put_back():
    before = torch.get_deterministic_debug_mode()
    try:
        for mode in (0, 1, 2):
            torch.set_deterministic_debug_mode(mode)
            with numerics(Execution()):
                assert torch.are_deterministic_algorithms_enabled()
                assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert torch.get_deterministic_debug_mode() == mode
    finally:
        torch.set_deterministic_debug_mode(before)


MUON = TrainingConfig(
    optimizer="muon", steps=8, warmup_steps=2, learning_rate=0.02, clip_norm=0.5
)


def chain_lanes(seeds, mixer="attention"):
    """Weights of a small model with a chain of one module, a lane a seed."""
    config = ModelConfig(scale="d16-L2-h2", mixer=mixer)
    model = PredictionModel(config, ChainConfig(depth=1), 11, len(seeds))
    flat = FlatLanes(model, torch.float32)
    initialise(flat, model.initial_stds(), seeds)
    return flat


def give_gradients(flat, seeds, step):
    for lane, seed in enumerate(seeds):
        stream = torch.Generator().manual_seed(1000 * seed + step)
        flat.grad_KP[lane] = torch.randn(flat.grad_KP.shape[1], generator=stream)


def take_steps(flat, seeds, optimizer, steps, alive=None):
    for step in steps:
        give_gradients(flat, seeds, step)
        optimizer.schedule(step, alive)
        optimizer.update(optimizer.norms())
    return [row.clone() for row in flat.master_KP]


def maps_of(name, weight):
    """The maps that a matrix of this model stacks, by the definition of its layer."""
    stacked = {"qkv_KED": 3, "gate_up_KMD": 2}
    single = ("out_KDD", "down_KDM", "state_KDD", "token_KDD")
    last = name.rpartition(".")[2]
    return (
        weight.chunk(stacked[last]) if last in stacked else [weight] * (last in single)
    )


def test_muon_moves_maps_and_adamw_the_rest():
    """Against torch's two classes on weights copied one by one."""
    flat = chain_lanes([3])
    start = {name: w.clone() for name, w in flat.lane(flat.master_KP, 0).items()}
    parts = {
        name: [part.clone() for part in maps_of(name, weight)]
        for name, weight in start.items()
    }
    maps = [part for name in parts for part in parts[name]]
    assert len(maps) == 2 * (3 + 1 + 2 + 1) + 2  # the trunk, the module, its merge
    rest = {name: w.clone() for name, w in start.items() if not parts[name]}
    decayed = [w for name, w in rest.items() if "gain" not in name]
    gains = [w for name, w in rest.items() if "gain" in name]
    assert [w.shape for w in decayed] == [(11, 16), (11, 16)]
    decay = MUON.weight_decay
    muon = torch.optim.Muon(maps, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    groups = [{"params": decayed}, {"params": gains, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=decay)
    optimizer = LaneOptimizer(flat, [MUON])
    for step in range(6):
        take_steps(flat, [3], optimizer, [step])
        give_gradients(flat, [3], step)
        norm = torch.linalg.vector_norm(flat.grad_KP[0])
        assert norm > MUON.clip_norm
        for name, gradient in flat.lane(flat.grad_KP, 0).items():
            clipped = gradient * MUON.clip_norm / norm
            owners = parts[name] or [rest[name]]
            for owner, part in zip(owners, clipped.chunk(len(owners)), strict=True):
                owner.grad = part
        for reference in (muon, adamw):
            for group in reference.param_groups:
                group["lr"] = rate_at(MUON, step)
            reference.step()
    for name, weight in flat.lane(flat.master_KP, 0).items():
        expected = torch.cat(parts[name]) if parts[name] else rest[name]
        # Newton-Schulz runs in bf16: a bit of the gradient moves a step by 1 %.
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-3)
        assert (weight - start[name]).abs().max() > 0.01


@pytest.mark.parametrize("mixer", ["attention", "mamba2", "rwkv"])
def test_a_lane_under_muon_equals_itself_alone_and_after_a_resume(mixer):
    together = chain_lanes([0, 1, 2], mixer)
    optimizer = LaneOptimizer(together, [MUON] * 3)
    take_steps(together, [0, 1, 2], optimizer, range(3))
    frozen = together.master_KP[0].clone()
    saved = {name: one.clone() for name, one in optimizer.moments(1).items()}
    weights = together.master_KP[1].clone()
    ends = take_steps(together, [0, 1, 2], optimizer, range(3, 6), [False, True, True])
    assert torch.equal(ends[0], frozen)

    alone = chain_lanes([1], mixer)
    (end,) = take_steps(alone, [1], LaneOptimizer(alone, [MUON]), range(6))
    assert torch.equal(end, ends[1])

    again = chain_lanes([1], mixer)
    again.master_KP[0] = weights
    resumed = LaneOptimizer(again, [MUON])
    stored = {name: one.clone() for name, one in saved.items()}
    resumed.restore(0, saved)
    (end,) = take_steps(again, [1], resumed, range(3, 6))
    assert torch.equal(end, ends[1])
    # What was restored from is not trained on.
    assert all(torch.equal(saved[name], one) for name, one in stored.items())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_lanes_have_rates_decays_and_clipping_of_their_own(optimizer):
    configs = [
        replace(
            MUON,
            optimizer=optimizer,
            learning_rate=rate,
            weight_decay=decay,
            clip_norm=clip,
        )
        for rate, decay, clip in ((0.02, 0.1, 0.5), (0.01, 0.3, 0.5), (0.02, 0.0, 2.0))
    ]
    together = chain_lanes([0, 1, 2])
    optimizer = LaneOptimizer(together, configs)
    ends = take_steps(together, [0, 1, 2], optimizer, range(3))
    for lane, config in enumerate(configs):
        alone = chain_lanes([lane])
        (end,) = take_steps(alone, [lane], LaneOptimizer(alone, [config]), range(3))
        assert torch.equal(end, ends[lane])


def test_a_first_step_is_damped_by_the_configured_epsilon():
    """Both moments are those of one gradient: rate x g / (|g| + epsilon)."""
    training = TrainingConfig(
        steps=1,
        warmup_steps=0,
        learning_rate=0.01,
        weight_decay=0.0,
        clip_norm=1e6,
        epsilon=0.5,
    )
    flat = chain_lanes([0])
    before = flat.master_KP[0].clone()
    give_gradients(flat, [0], 0)
    gradient = flat.grad_KP[0].clone()
    (after,) = take_steps(flat, [0], LaneOptimizer(flat, [training]), [0])
    expected = before - 0.01 * gradient / (gradient.abs() + 0.5)
    torch.testing.assert_close(after, expected)


def test_a_warm_up_may_last_to_the_last_step():
    training = TrainingConfig(steps=5, warmup_steps=4, learning_rate=1.0)
    assert [rate_at(training, step) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]


def test_a_map_moves_by_an_orthogonal_matrix():
    """All singular values of its first step are near 0.2 sqrt(16) times the rate."""
    training = TrainingConfig(
        optimizer="muon", steps=2, warmup_steps=0, learning_rate=0.01, weight_decay=0.0
    )
    flat = chain_lanes([5])
    before = flat.lane(flat.master_KP.clone(), 0)
    take_steps(flat, [5], LaneOptimizer(flat, [training]), [0])
    step = (flat.lane(flat.master_KP, 0)["trunk.0.attention.qkv_KED"]).chunk(3)
    for new, old in zip(
        step, before["trunk.0.attention.qkv_KED"].chunk(3), strict=True
    ):
        singular = torch.linalg.svdvals(new - old) / (0.01 * 0.2 * 4)
        assert 0.5 < singular.min() < singular.max() < 1.3
