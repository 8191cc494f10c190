"""The optimiser against torch's own class, and what a training process imports."""

import json
import os
import subprocess
import sys

import pytest
import torch

from synth.config import ModelConfig, RunConfig
from synth.fast.numerics import numerics
from synth.objectives.multi_token import MultiTokenConfig
from synth.optimizer import FusedAdamW
from synth.run.execution import Execution
from synth.tasks.stories import StoriesConfig
from tests.conftest import tiny_run
from tests.synth.test_combinations import TWO_STEPS

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
        config = RunConfig(
            task=StoriesConfig(),
            model=ModelConfig(scale="d16-L4-h2"),
            objective=MultiTokenConfig(horizon=2, scored="answer"),
            training=TWO_STEPS,
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
