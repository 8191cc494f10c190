"""Native passes against autograd on the eager forms, and runs that train with them."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import torch

from synth.config import ModelConfig
from synth.fast import native
from synth.fast.compilation import nominal_seconds, step_form
from synth.fast.fused import fuse
from synth.fast.precision import advice, bf16_units
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.models.products import bf16_products_are_loops
from synth.objectives.batch.targets import Targets, make_targets
from synth.objectives.multi_token import MultiTokenConfig
from synth.pack import Pack
from synth.run.execution import Execution
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.test_training import content, metrics, trained

VOCAB = 11
NATIVE = Execution(compile="on")
needs_compiler = pytest.mark.skipif(
    native.find_compiler() is None, reason="NO C++ COMPILER: native passes not tested"
)


def built(
    scale,
    layout="parallel",
    horizon=2,
    lanes=2,
    mixer="attention",
    dtype=torch.float32,
):
    """A model with gains that differ from 1, on flat lanes."""
    config = ModelConfig(scale=scale, mixer=mixer)
    model = PredictionModel(
        config, MultiTokenConfig(horizon=horizon, layout=layout), VOCAB, lanes
    )
    flat = FlatLanes(model, dtype)
    initialise(flat, model.initial_stds(), list(range(lanes)))
    with torch.no_grad():
        for name, view in zip(flat.names, flat.views(flat.master_KP), strict=True):
            if name.endswith("gain_KD"):
                view.add_(torch.linspace(-0.3, 0.4, view.shape[1]))
    flat.refresh()
    return model, flat


def batch(lanes, rows, time, horizon, scored="all"):
    stream = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, VOCAB, (lanes, rows, time), generator=stream)
    example = torch.ones_like(tokens)
    example[:, :, time // 2 :] = 2
    answer = torch.rand(tokens.shape, generator=stream) < 0.4
    objective = MultiTokenConfig(horizon=horizon, scored=scored)
    return tokens, make_targets(tokens, example, answer, objective)


@needs_compiler
@pytest.mark.parametrize(
    ("scale", "time", "narrow"),
    [
        ("d12-L3-h2", 7, 128),
        ("d12-L3-h2", 70, 128),
        ("d40-L3-h2", 33, 128),
        ("d96-L3-h2", 64, 128),
        ("d12-L3-h2", 7, 0),
        ("d40-L3-h2", 70, 0),
    ],
)
@pytest.mark.parametrize("layout", ["parallel", "causal", "anticausal", "linear"])
def test_losses_and_gradients_equal_those_of_eager_mode(
    monkeypatch, scale, time, narrow, layout
):
    """Whole layers natively, and those whose products are torch's (`narrow` 0)."""
    monkeypatch.setattr(native.load(), "widest", narrow)
    model, flat = built(scale, layout)
    _, targets = batch(2, 3, time, 2, scored="answer")
    flat.zero_grad()
    expected = loss_and_backward(model, targets)
    gradients = {n: g.clone() for n, g in flat.lane(flat.grad_KP, 1).items()}
    head_loss = fuse(model, native.load())
    flat.zero_grad()
    losses = loss_and_backward(model, targets, head_loss)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in flat.lane(flat.grad_KP, 1).items():
        scale_ = gradients[name].abs().max().item()
        assert scale_ > 0, name
        torch.testing.assert_close(
            gradient, gradients[name], rtol=1e-3, atol=3e-6 * scale_, msg=name
        )


def far(value, from_):
    """Distance in units of the length of what is meant."""
    return ((value - from_).norm() / from_.norm()).item()


@needs_compiler
@pytest.mark.parametrize(
    ("scale", "time"),
    [("d12-L3-h2", 7), ("d12-L3-h2", 70), ("d40-L3-h2", 33), ("d96-L3-h2", 64)],
)
@pytest.mark.parametrize("layout", ["parallel", "linear"])
def test_in_bf16_they_are_as_near_to_fp32_as_eager_mode_is(scale, time, layout):
    """Both round to bf16 between passes; native ones less often."""
    _, targets = batch(2, 3, time, 2, scored="answer")
    found = {}
    for name, dtype in (
        ("reference", torch.float32),
        ("eager", torch.bfloat16),
        ("native", torch.bfloat16),
    ):
        model, flat = built(scale, layout, dtype=dtype)
        loss = fuse(model, native.load(dtype)) if name == "native" else None
        flat.zero_grad()
        losses = loss_and_backward(model, targets, loss)
        flat.gather_grad()
        found[name] = losses, flat.lane(flat.grad_KP, 1)
    losses, gradients = found["reference"]
    assert losses.dtype == found["native"][0].dtype == torch.float32
    torch.testing.assert_close(found["native"][0], losses, rtol=0, atol=5e-3)
    for name, expected in gradients.items():
        eager, mine = (far(found[f][1][name], expected) for f in ("eager", "native"))
        assert 0 < mine < 1.5 * eager + 0.01, name
    eager, mine = (
        far(
            *(torch.cat([g.flatten() for g in of.values()]) for of in (mine, gradients))
        )
        for mine in (found["eager"][1], found["native"][1])
    )
    assert mine < 1.1 * eager


@needs_compiler
def test_bf16_is_rounded_to_the_nearest_and_keeps_what_is_no_number():
    """The gate at large inputs is the identity, so products show the rounding alone."""
    ups = torch.randn(4000, generator=torch.Generator().manual_seed(0)).exp()
    ups[:4] = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38])
    gates = torch.full_like(ups, 64.0)
    both = torch.cat((gates, ups.bfloat16().float() * 1.00390625)).bfloat16()
    out = torch.empty(4000, dtype=torch.bfloat16)
    native.load(torch.bfloat16)("gated", both, out, 1, 4000)
    expected = (64.0 * both[4000:].float()).bfloat16()
    assert out[0].isnan()
    assert torch.equal(out[1:], expected[1:])
    thirds = both[4000:].clone().fill_(1.0)
    odd = torch.cat((torch.linspace(20.0, 90.0, 4000).bfloat16(), thirds))
    native.load(torch.bfloat16)("gated", odd, out, 1, 4000)
    assert torch.equal(out, odd[:4000])


@needs_compiler
@pytest.mark.parametrize("mixer", ["mamba2", "rwkv"])
def test_recurrent_layers_share_the_native_mlp(mixer):
    model, flat = built("d24-L3-h2", mixer=mixer)
    _, targets = batch(2, 2, 40, 2)
    flat.zero_grad()
    expected = loss_and_backward(model, targets)
    gradient = flat.grad_KP.clone()
    head_loss = fuse(model, native.load())
    flat.zero_grad()
    losses = loss_and_backward(model, targets, head_loss)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
    largest = gradient.abs().max().item()
    torch.testing.assert_close(flat.grad_KP, gradient, rtol=1e-3, atol=3e-6 * largest)


@needs_compiler
def test_no_state_sees_what_comes_after_it():
    """The gradient of position t's loss is exactly zero in all later embeddings."""
    model, flat = built("d12-L3-h2", horizon=1, lanes=1)
    head_loss = fuse(model, native.load())
    tokens, _ = batch(1, 1, 70, 1)
    weights = torch.zeros(1, 1, 1, 70)
    weights[..., 40] = 1.0
    target = torch.zeros_like(weights, dtype=torch.int64)
    rows = torch.arange(70).view(1, 1, 70) % VOCAB
    rows[..., 41:] = 10  # a token that stands nowhere before
    rows[..., :41] = rows[..., :41] % 10
    flat.zero_grad()
    loss_and_backward(model, Targets({"tokens": rows}, target, weights), head_loss)
    table = dict(model.named_parameters())["embedding_KVD"].grad[0]
    assert (table[10] == 0).all()
    assert (table[:10].abs().sum(1) > 0).all()
    states = model.run_trunk(tokens)
    changed = tokens.clone()
    changed[..., 50] = (changed[..., 50] + 1) % VOCAB
    moved = (model.run_trunk(changed) != states).any(-1).flatten()
    assert not moved[:50].any()
    assert moved[50:].all()


@needs_compiler
def test_scores_far_apart_and_lost_lanes():
    """Large logits overflow nothing; a NaN stays in its lane."""
    library = native.load()
    logits = torch.tensor([[300.0, -300.0, 0.0], [5.0, 5.0, 5.0]])
    loss = torch.empty(2)
    target, weight = torch.tensor([1, 2]), torch.ones(2)
    library("cross_entropy", logits, target, weight, loss, 2, 3)
    torch.testing.assert_close(loss, torch.tensor([600.0, 1.0986123]))
    torch.testing.assert_close(logits[0], torch.tensor([1.0, -1.0, 0.0]))
    model, flat = built("d12-L3-h2", horizon=1)
    head_loss = fuse(model, library)
    _, targets = batch(2, 2, 30, 1)
    flat.zero_grad()
    calm = loss_and_backward(model, targets, head_loss)[0, 1]
    gradient = flat.grad_KP[1].clone()
    flat.master_KP[0].fill_(float("nan"))
    flat.zero_grad()
    losses = loss_and_backward(model, targets, head_loss)
    assert losses[0, 0].isnan()
    assert losses[0, 1] == calm
    assert torch.equal(flat.grad_KP[1], gradient)


@needs_compiler
@pytest.mark.filterwarnings("ignore:TrainingConfig.precision is 'bf16'")
@pytest.mark.filterwarnings("ignore:A step in bf16 runs at")
@pytest.mark.parametrize(
    ("horizon", "precision", "scale"),
    [
        (1, "fp32", "d16-L4-h2"),
        (2, "fp32", "d16-L4-h2"),
        (2, "bf16", "d16-L4-h2"),
        (2, "bf16", "d40-L4-h2"),
        (1, "fp32", "d144-L2-h4"),
        (1, "bf16", "d144-L2-h4"),
    ],
)
def test_a_native_run_in_a_pack_equals_itself_alone_bit_for_bit(
    tmp_path, horizon, precision, scale
):
    runs = [
        tiny_run(horizon, seed=seed, precision=precision, scale=scale)
        for seed in (0, 1, 2)
    ]
    together = trained(tmp_path / "pack", *runs, execution=NATIVE)
    alone = [trained(tmp_path / "alone", r, execution=NATIVE)[0] for r in runs]
    assert together == alone
    (eager,) = trained(tmp_path / "eager", runs[0], execution=Execution(compile="off"))
    assert eager != alone[0]  # else nothing native has run
    for one, other in zip(
        metrics(tmp_path / "eager", runs[0]),
        metrics(tmp_path / "alone", runs[0]),
        strict=True,
    ):
        if one.metric == "loss":
            tolerance = {"fp32": 1e-4, "bf16": 3e-2}[precision]
            assert other.value == pytest.approx(one.value, rel=tolerance)


@needs_compiler
@pytest.mark.filterwarnings("ignore:TrainingConfig.precision is 'bf16'")
@pytest.mark.parametrize(
    ("precision", "scale"), [("fp32", "d16-L4-h2"), ("bf16", "d40-L4-h2")]
)
def test_a_native_run_cut_and_resumed_ends_with_the_same_bits(
    tmp_path, monkeypatch, precision, scale
):
    config = tiny_run(2, precision=precision, scale=scale)
    (expected,) = trained(tmp_path / "whole", config, execution=NATIVE)
    often = dataclasses.replace(NATIVE, checkpoint_every_seconds=0.0)
    step = Pack.train_step

    def fails(self, clock):
        if self.step == 7:
            raise OSError("cut")
        step(self, clock)

    monkeypatch.setattr(Pack, "train_step", fails)
    (outcome,) = train([config], tmp_path / "cut", often)
    assert outcome.state == "failed"
    monkeypatch.setattr(Pack, "train_step", step)
    trained(tmp_path / "cut", config, execution=often)
    assert content(tmp_path / "cut", config) == expected
    sessions = json.loads(
        (tmp_path / "cut" / config.run_id / "environment.json").read_text()
    )
    assert [s["step"] for s in sessions["sessions"]] == ["native", "native"]


def test_without_a_compiler_a_run_is_eager_with_a_word(tmp_path, monkeypatch):
    config = tiny_run()
    (eager,) = trained(tmp_path / "a", config, execution=Execution(compile="off"))
    monkeypatch.setattr(native, "find_compiler", lambda: None)
    native.load.cache_clear()
    with pytest.warns(UserWarning, match=r"not compiled: no C\+\+ compiler"):
        (other,) = trained(tmp_path / "b", config, execution=NATIVE)
    native.load.cache_clear()
    assert other == eager


def test_a_compiler_that_fails_says_why(tmp_path, monkeypatch):
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'no such instruction' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    native.load.cache_clear()
    usable, reason = native.available()
    native.load.cache_clear()
    assert not usable
    assert "no such instruction" in reason


@needs_compiler
@pytest.mark.slow
def test_processes_that_build_at_once_share_one_library(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path))
    code = "from synth.fast import native; print(native.load().path)"
    racing = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    paths = {process.communicate()[0] for process in racing}
    assert len(paths) == 1
    assert len(list((tmp_path / "native").iterdir())) == 1


def test_compiled_code_goes_to_the_cache_unless_the_user_says_where(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path))
    for given in (None, str(Path(tempfile.gettempdir()) / "torchinductor_me")):
        if given is None:
            monkeypatch.delenv(native.INDUCTOR, raising=False)
        else:
            monkeypatch.setenv(native.INDUCTOR, given)
        native.prepare_torch_compile("cpu")
        assert os.environ[native.INDUCTOR] == str(tmp_path / "inductor")
    monkeypatch.setenv(native.INDUCTOR, "/somewhere/else")
    native.prepare_torch_compile("cpu")
    assert os.environ[native.INDUCTOR] == "/somewhere/else"


def test_the_rule_for_compiling_depends_on_the_run_alone():
    auto, on, off = (Execution(compile=c) for c in ("auto", "on", "off"))
    short, long = 400 * 1024, 1_000_000
    assert step_form(auto, short, 1e5) == "eager"
    assert step_form(auto, long, 1e5) == "native"
    assert step_form(off, long, 1e5) == "eager"
    assert step_form(on, short, 1e5) == "native"
    two = Execution(compile="on", threads=2)
    assert step_form(two, short, 1e5) == "torch"
    for compile in ("auto", "off"):
        gpu = Execution(device="cuda", compile=compile)
        assert step_form(gpu, long, 1e5) == "eager"
    assert step_form(Execution(device="cuda", compile="on"), short, 1e5) == "graph"
    assert nominal_seconds(2000, 1e9) == 2 * nominal_seconds(1000, 1e9)
    with pytest.raises(ValueError, match=r"compile.*'auto'.*'on'.*'off'.*got 'maybe'"):
        Execution(compile="maybe")


def test_the_step_and_the_plan_agree_on_the_form():
    """What the plan expects of a run's speed is what the pack trains with."""
    from sweeps.costs import flops_per_token, tokens

    for steps in (12, 10**7):
        config = tiny_run(steps=steps)
        planned = step_form(Execution(), tokens(config), flops_per_token(config))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            form = Pack([config], Execution(), None).form
        assert form == planned or native.find_compiler() is None
    assert planned == "native"


@pytest.mark.parametrize("units", [None, "tiles", "vectors"])
def test_advice_on_precision_follows_the_processor_and_the_width(monkeypatch, units):
    monkeypatch.setattr("synth.fast.precision.bf16_units", lambda: units)
    monkeypatch.setattr("synth.fast.precision.product_speed", lambda: 0.5)
    assert advice("fp32", "eager", "cpu", 128) is None
    assert advice("bf16", "native", "cuda", 128) is None
    assert advice("bf16", "native", "cpu", 24) is None
    assert "0.6 x the speed" in advice("bf16", "eager", "cpu", 128)
    if units is not None:
        assert advice("bf16", "native", "cpu", 128) is None
        assert advice("fp32", "native", "cpu", 24) is None
        assert "precision 'bf16' would be another" in advice(
            "fp32", "native", "cpu", 128
        )
    else:
        assert "precision 'fp32' would be another" in advice(
            "bf16", "native", "cpu", 128
        )
        assert advice("fp32", "native", "cpu", 128) is None
        monkeypatch.setattr("synth.fast.precision.product_speed", lambda: 2.5)
        assert "1.6 x the speed" in advice("fp32", "native", "cpu", 128)
    assert "0.6 x the speed" in advice("bf16", "eager", "cpu", 64)


@pytest.mark.parametrize(
    ("vendor", "flags", "units"),
    [
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", "tiles"),
        ("GenuineIntel", "avx512f avx512_bf16", None),
        ("AuthenticAMD", "avx512f avx512_bf16", "vectors"),
        ("AuthenticAMD", "avx2", None),
    ],
)
def test_units_for_bf16_are_read_from_vendor_and_flags(tmp_path, vendor, flags, units):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags} sse\n")
    assert bf16_units(cpuinfo) == units
    assert bf16_units(tmp_path / "missing") is None


@needs_compiler
def test_native_layers_use_those_units():
    """Without units, bf16 layers wider than 48 leave products to torch, if it has some."""
    own = bf16_units() is not None or bf16_products_are_loops()
    assert (native.load(torch.bfloat16).widest > 48) == own


@needs_compiler
def test_steps_share_memory_for_activations_and_passes_under_way_do_not():
    model, _ = built("d16-L4-h2", lanes=1)
    fuse(model, native.load())
    layers = model.fused_trunk
    drawn = torch.randn(2, 1, 2, 40, 16, generator=torch.Generator().manual_seed(0))
    inputs = [x.clone().requires_grad_() for x in drawn]

    def back(x, out):
        return torch.autograd.grad(out.square().sum(), x)[0]

    alone = [back(x, layers(x)) for x in inputs]
    assert len(layers.rooms) == 1
    outputs = [layers(x) for x in inputs]
    assert len(layers.rooms) == 0
    together = [back(x, out) for x, out in zip(inputs, outputs, strict=True)]
    assert len(layers.rooms) == 2
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
    shorter = inputs[0][:, :, :10].detach().requires_grad_()
    back(shorter, layers(shorter))
    assert len(layers.rooms) == 1  # those of the other size are given back
