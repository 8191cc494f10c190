"""A lane among others gives the bits that it gives alone, where that can break.

What can break it: output sizes for which a library has other code, rows and lanes whose
tensors begin in the middle of a cache line, every way from tokens to gradients.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from synth.config import ModelConfig, TrainingConfig
from synth.decoding import greedy_decode
from synth.evaluation import score_tokens
from synth.fast import native
from synth.fast.fused import fuse
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.lanes import BOUNDARY, FlatLanes, initialise, lane_linear
from synth.models.mixers.recurrence import by_lane
from synth.models.weights import matrix
from synth.objectives.batch.targets import make_targets
from synth.objectives.multi_token import MultiTokenConfig
from synth.optimizer import LaneOptimizer
from synth.run.execution import Execution
from synth.tasks.sources import SourcesConfig
from synth.tasks.task import EvaluationSet, Rows
from tests.conftest import tiny_run
from tests.synth.fast.test_native import needs_compiler
from tests.synth.objectives.test_loss import LAYOUTS
from tests.synth.test_training import trained

FP32, BF16 = torch.float32, torch.bfloat16
MIXERS = ["attention", "mamba2", "rwkv"]
FORMS = ["eager", pytest.param("native", marks=needs_compiler)]
SHAPES = [
    ("d16-L3-h2", 8, 4, 12),  # every lane begins a cache line
    ("d12-L3-h2", 11, 3, 7),
    ("d10-L3-h1", 5, 1, 33),
    ("d6-L3-h3", 19, 3, 35),
]
"""Scale, vocabulary, rows and positions; small, and all but the first odd."""


class Products(nn.Module):
    """Weights of every output size from 1 to 80."""

    def __init__(self, lanes, width):
        super().__init__()
        self.weights = nn.ParameterList(
            matrix(lanes, features, width) for features in range(1, 81)
        )


def products(lanes, width, dtype, seeds):
    model = Products(lanes, width)
    flat = FlatLanes(model, dtype)
    initialise(flat, dict.fromkeys(flat.names, 1.0), seeds)
    return model, flat


def draw(lanes, *shape, dtype=FP32, seed=0):
    """Numbers of each lane that do not depend on the number of lanes."""
    drawn = [
        torch.randn(shape, generator=torch.Generator().manual_seed(97 * seed + lane))
        for lane in range(lanes)
    ]
    return torch.stack(drawn).to(dtype)


def results(model, flat, x_KND, slope):
    """Outputs, gradients of the input and of the weights, of products of every size."""
    found = []
    flat.zero_grad()
    for weight in model.weights:
        # As it lies among the parameters, and as the gain of a norm makes it anew.
        for used in (weight, weight * 1.5):
            x = x_KND.clone().requires_grad_()
            out = lane_linear(x, used)
            out.backward(slope[..., : out.shape[-1]])
            found += [out.detach(), x.grad]
    return [*found, flat.gather_grad()]


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize(
    ("lanes", "rows", "width"),
    [(2, 1, 12), (3, 21, 10), (5, 36, 16), (2, 70, 33), (16, 7, 12), (3, 256, 40)],
)
def test_products_of_every_output_size(lanes, rows, width, dtype):
    x_KND = draw(lanes, rows, width, dtype=dtype)
    slope = draw(lanes, rows, 80, dtype=dtype, seed=1)
    together = results(*products(lanes, width, dtype, range(lanes)), x_KND, slope)
    for lane in sorted({1, lanes - 1}):
        part = slice(lane, lane + 1)
        alone = results(*products(1, width, dtype, [lane]), x_KND[part], slope[part])
        for index, (one, all_) in enumerate(zip(alone, together, strict=True)):
            assert torch.equal(one[0], all_[lane]), index


def test_what_is_done_lane_by_lane_begins_at_cache_lines():
    """Inputs and gradients, in tensors whose lanes are 35 numbers apart."""
    seen = []

    def mix(x, tail, state, weights):
        out = 2 * x
        out.register_hook(lambda grad: seen.append(grad))
        seen.append(x)
        return out, x.detach(), x.detach()

    x_KBTD = draw(3, 5, 7, 1).requires_grad_()
    by_lane(mix, x_KBTD, None, {}).square().sum().backward()
    torch.testing.assert_close(x_KBTD.grad, 8 * x_KBTD.detach())
    assert [x.data_ptr() % BOUNDARY for x in seen] == [0] * 6


@dataclasses.dataclass
class Setting:
    """One model and what it is fed."""

    shape: tuple[str, int, int, int]
    layout: str = "parallel"
    mixer: str = "attention"
    form: str = "eager"
    dtype: torch.dtype = FP32
    scored: str = "all"

    @property
    def objective(self):
        """Two tokens ahead."""
        return MultiTokenConfig(horizon=2, layout=self.layout, scored=self.scored)

    def build(self, seeds):
        """The model of lanes of these seeds, its flat tensors, its loss."""
        scale, vocabulary, _, _ = self.shape
        config = ModelConfig(scale=scale, mixer=self.mixer)
        model = PredictionModel(config, self.objective, vocabulary, len(seeds))
        flat = FlatLanes(model, self.dtype)
        initialise(flat, model.initial_stds(), seeds)
        for view in flat.views(flat.master_KP):
            if view.dim() == 2:  # gains that differ from 1
                view.add_(torch.linspace(-0.3, 0.4, view.shape[1]))
        flat.refresh()
        loss = fuse(model, native.load(self.dtype)) if self.form == "native" else None
        return model, flat, loss

    def step(self, seeds):
        """Losses, gradients, norms and updated weights, lane by lane."""
        _, vocabulary, rows, time = self.shape
        model, flat, piece = self.build(seeds)
        tokens = torch.stack(
            [
                torch.randint(0, vocabulary, (rows, time), generator=stream)
                for stream in (torch.Generator().manual_seed(seed) for seed in seeds)
            ]
        )
        example = torch.ones_like(tokens)
        example[..., time // 2 :] = 2
        answer = tokens % 2 == 0
        targets = make_targets(tokens, example, answer, self.objective)
        flat.zero_grad()
        losses = loss_and_backward(model, targets, piece)
        optimizer = LaneOptimizer(flat, [TrainingConfig(clip_norm=0.1)] * len(seeds))
        norms = optimizer.norms()
        gradients = flat.gather_grad().clone()
        optimizer.schedule(3)
        optimizer.update(norms)
        return list(zip(losses.T, gradients, norms, flat.master_KP, strict=True))


def check(setting, lanes):
    """The second and the last of so many lanes against themselves alone."""
    together = setting.step(list(range(lanes)))
    for lane in sorted({1, lanes - 1}):
        (alone,) = setting.step([lane])
        names = ("losses", "gradients", "norms", "weights")
        for name, one, among in zip(names, alone, together[lane], strict=True):
            assert torch.equal(one, among), (setting, lanes, lane, name)


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_steps_of_every_model(layout, mixer, dtype, form):
    for shape, lanes in zip(SHAPES, (5, 3, 2, 3), strict=True):
        check(Setting(shape, layout, mixer, form, dtype), lanes)
    check(Setting(SHAPES[1], layout, mixer, form, dtype, "answer"), 2)


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_of_sixteen_lanes(shape, form, monkeypatch):
    check(Setting(shape, form=form), 16)
    monkeypatch.setattr("synth.models.backward.SPARSE_VOCABULARY", 1)
    check(Setting(shape, form=form, scored="answer"), 16)


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
@pytest.mark.parametrize("scale", ["10k", "100k"])
@pytest.mark.parametrize("vocabulary", [3, 8, 27])
def test_steps_of_the_ladder(scale, vocabulary):
    check(Setting((scale, vocabulary, 4, 64)), 3)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_logits_of_a_few_positions(rows):
    for shape in SHAPES:
        model, _, _ = Setting(shape).build([0, 1, 2])
        h_KND = draw(3, rows, model.embedding_KVD.shape[-1])
        logits = model.unembed_rows(list(h_KND))
        pieces = [piece for _, piece in model.unembed_in_pieces(h_KND, 1 << 20)]
        for lane in (1, 2):
            one, _, _ = Setting(shape).build([lane])
            (alone,) = one.unembed_rows([h_KND[lane]])
            assert torch.equal(alone, logits[lane])
            ((_, alone_piece),) = one.unembed_in_pieces(h_KND[lane][None], 1 << 20)
            assert torch.equal(alone_piece, pieces[lane])


def evaluation_rows(vocabulary):
    """Rows of odd and different lengths, the last four tokens of each an answer."""
    stream = np.random.default_rng(0)
    lengths = np.array([7, 9, 9, 15, 15])
    tokens = stream.integers(0, vocabulary, (len(lengths), 15))
    place = np.arange(15)
    example = (place < lengths[:, None]).astype(np.int32)
    answer = (place < lengths[:, None]) & (place >= lengths[:, None] - 4)
    return Rows(tokens, example, answer)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("form", FORMS)
def test_evaluations_and_decoded_answers(mixer, form, monkeypatch):
    monkeypatch.setattr("synth.evaluation.PIECE_LOGITS", {"cpu": 200})
    monkeypatch.setattr("synth.evaluation.MAX_POSITIONS", 40)
    cpu = torch.device("cpu")
    for shape in (SHAPES[1], SHAPES[3]):
        rows = evaluation_rows(shape[1])
        chosen = EvaluationSet("odd", rows)
        setting = Setting(shape, mixer=mixer, form=form)
        model, _, _ = setting.build([0, 1])
        among = score_tokens(model, chosen, cpu)[1]
        one, _, _ = setting.build([1])
        (alone,) = score_tokens(one, chosen, cpu)
        assert np.array_equal(alone.loss_NRT, among.loss_NRT)
        assert np.array_equal(alone.correct_NRT, among.correct_NRT)
        decoded = greedy_decode(model, rows, cpu)
        assert np.array_equal(greedy_decode(one, rows, cpu)[0], decoded[1])


@pytest.mark.parametrize("scale", ["10k", "100k"])
def test_runs_on_a_small_vocabulary(scale, tmp_path):
    """Metrics and weights of runs of eight symbols, to the last bit."""
    plain = tiny_run(2, steps=6)
    runs = [
        dataclasses.replace(
            plain,
            task=SourcesConfig(length=40),
            model=dataclasses.replace(plain.model, scale=scale),
            seed=seed,
        )
        for seed in range(3)
    ]
    eager = Execution(compile="off")
    together = trained(tmp_path / "pack", *runs, execution=eager)
    alone = [trained(tmp_path / "alone", run, execution=eager)[0] for run in runs]
    assert together == alone
