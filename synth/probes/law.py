"""Measures the layer law on a model: every layer and target, with controls.

One pass over the sequences gathers moments for all layers and targets; everything but
the logit lens follows from them. Letters: N positions, M targets, D width, F folds.

Targets are token ids as real numbers, at offsets from the position of the state: t+1 is
the law's own, t+0 the current and t-1 the previous token. All targets are measured on
the same positions, those where every one of them lies in the same example; with t+1
alone that drops the last position of each text, as the reference does.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from synth.identity import require
from synth.metrics import Score
from synth.objectives.batch.ahead import same_example, shifted
from synth.probes.layer_states import StateBatch, StateSource
from synth.probes.least_squares import Moments
from synth.probes.prediction_law import (
    LawFit,
    fit_law,
    held_out_residuals,
    one_hot_residual,
    residuals,
    separation_fuzziness,
)
from synth.seeding import generator
from synth.tasks.exact import ExactTask
from synth.tasks.task import Rows

SUITE = "prediction-law"
MOST_FOLDS = 100
"""Each fold keeps the moments of every layer."""
FITTED = ("residual", "adjusted", "held_out", "one_hot")
"""Statistics that a line is fitted to."""


@dataclass(frozen=True, kw_only=True)
class LawOptions:
    """What to measure beside the reference statistic."""

    offsets: tuple[int, ...] = (1,)
    """Targets: 1 is the next token, 0 the current, -1 the previous."""
    permutations: int = 10
    """Random renumberings of the tokens; their mean residual is reported."""
    folds: int = 4
    """Of sequences, for held-out residuals; below 2 for none, as where there is only one
    sequence."""
    classes: int = 1024
    """One-hot targets: the most frequent tokens, one class for the rest; 0 for none."""
    lens: bool = True
    """Cross-entropy of the logit lens at each layer, for every target ahead."""

    def __post_init__(self) -> None:
        if 1 not in self.offsets or len(set(self.offsets)) < len(self.offsets):
            raise ValueError(
                f"LawOptions.offsets must hold 1, and each once; got {self.offsets}."
            )
        if self.permutations < 0 or self.classes < 0:
            raise ValueError("LawOptions.permutations and classes must be at least 0.")
        require(
            self.folds <= MOST_FOLDS,
            "LawOptions.folds",
            f"at most {MOST_FOLDS}",
            self.folds,
        )


@dataclass(frozen=True)
class LayerLaw:
    """The statistics of one layer: statistic -> target -> value."""

    name: str
    rank: int
    count: int
    values: dict[str, dict[str, float]]


@dataclass(frozen=True)
class LawReport:
    """All layers, and for each path, statistic and target the fitted line."""

    paths: dict[str, list[str]]
    layers: dict[str, LayerLaw]
    fits: dict[str, dict[str, dict[str, LawFit]]] = field(default_factory=dict)
    """path -> statistic -> target -> line over layers 1..L, the embedding left out."""
    floor: float | None = None
    """The least residual of t+1 that any state could have, where it is known."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an interval without bounds has nulls."""
        return _finite(asdict(self))

    def scores(self) -> list[Score]:
        """Long form: one number a row, layers counted along each path."""
        scores = []
        if self.floor is not None:
            count = next(iter(self.layers.values())).count
            scores.append(Score(SUITE, "residual_floor", "", self.floor, count))
        for path, names in self.paths.items():
            for depth, name in enumerate(names):
                layer = self.layers[name]
                for metric, by_target in layer.values.items():
                    for target, value in by_target.items():
                        slice_ = f"path={path},layer={depth},target={target}"
                        scores.append(Score(SUITE, metric, slice_, value, layer.count))
            for metric, fits in self.fits[path].items():
                for target, fit in fits.items():
                    slice_ = f"path={path},of={metric},target={target}"
                    scores += [
                        Score(SUITE, f"fit_{name}", slice_, float(value), fit.layers)
                        for name, value in asdict(fit).items()
                        if name != "layers"
                    ]
        return scores


def measure_law(
    source: StateSource,
    options: LawOptions | None = None,
    floor: float | None = None,
) -> LawReport:
    """Measure every layer of `source` and fit the law along each path.

    `floor` (see `residual_floor`) is carried into the report.

    Raises `ValueError` when no position has all targets, or fewer positions than two
    are left.
    """
    options = options or LawOptions()
    sums = _Accumulator(source, options)
    with torch.no_grad():
        for batch in source.batches():
            sums.add(batch)
    layers = {name: sums.layer(name) for name in sums.names}
    fits = {
        path: _fits(layers, names[1:]) for path, names in source.paths.items()
    }  # layer 0 is the embedding
    return LawReport(source.paths, layers, fits, floor)


def residual_floor(task: ExactTask, rows: Sequence[Rows]) -> float | None:
    """Variance of the next id that no prefix explains, over its variance.

    No function of the tokens so far, linear or not, has a smaller residual on average,
    so log10 PR cannot fall in a line below it. None where some position has no exact
    distribution.
    """
    within, ids = 0.0, []
    id_V = np.arange(len(task.vocabulary))
    for part in rows:
        p_RTV = task.distributions(part, 1)[:, :-1]
        if not np.isfinite(p_RTV).all():
            return None
        within += float((p_RTV @ id_V**2 - (p_RTV @ id_V) ** 2).sum())
        ids.append(part.tokens_RT[:, 1:].ravel())
    every = np.concatenate(ids)
    return within / float(every.size * every.var())


class _Accumulator:
    """Moments of each layer and fold, and the sums of the logit lens."""

    def __init__(self, source: StateSource, options: LawOptions) -> None:
        self.options, self.width = options, source.width
        self.names = sorted({n for names in source.paths.values() for n in names})
        counts_V = source.token_counts
        self.class_V = frequent_classes(counts_V, options.classes)
        self.num_classes = int(self.class_V.max()) + 1 if options.classes else 0
        self.code_VP = _codes(len(counts_V), options.permutations)
        self.num_targets = len(options.offsets) + options.permutations
        self.folds: dict[str, list[Moments]] = {
            name: [self._moments() for _ in range(max(1, options.folds))]
            for name in self.names
        }
        self.lens_sum = {
            name: {o: 0.0 for o in options.offsets if o > 0} for name in self.names
        }
        self.lens_count = 0
        self.sequences = 0

    def add(self, batch: StateBatch) -> None:
        """Add one batch of sequences."""
        offsets = self.options.offsets
        kept_BT = positions(batch.example_BT, offsets)
        device = batch.tokens_BT.device
        code_VP = self.code_VP.to(device)
        tokens = {o: shifted(batch.tokens_BT, o)[kept_BT] for o in offsets}
        ahead = {o: tokens[o] for o in offsets if o > 0}
        next_N = ahead[1]
        ids_NM = torch.stack([tokens[o].double() for o in offsets], 1)
        targets_NM = torch.cat([ids_NM, code_VP[next_N]], 1)
        classes_N = self.class_V.to(device)[next_N] if self.num_classes else None
        sequence_B = torch.arange(len(kept_BT), device=device) + self.sequences
        folds = max(1, self.options.folds)
        fold_N = (sequence_B % folds)[:, None].expand_as(kept_BT)[kept_BT]
        for name in self.names:
            states_ND = batch.states[name][kept_BT]
            for fold in range(folds):
                here = fold_N == fold
                self.folds[name][fold].add(
                    states_ND[here],
                    targets_NM[here],
                    classes_N[here] if classes_N is not None else None,
                )
            if self.options.lens:
                logits_NV = batch.logits(name)[kept_BT].float()
                for offset, ids_N in ahead.items():
                    loss = functional.cross_entropy(logits_NV, ids_N, reduction="sum")
                    self.lens_sum[name][offset] += loss.item()
        self.lens_count += len(next_N)
        self.sequences += len(kept_BT)

    def layer(self, name: str) -> LayerLaw:
        """Every statistic of one layer."""
        folds, options = self.folds[name], self.options
        total = self._moments()
        for fold in folds:
            total = total + fold
        result = residuals(total)
        columns = {"residual": result.in_sample_M, "adjusted": result.adjusted_M}
        if sum(fold.count > 0 for fold in folds) >= 2:
            columns["held_out"] = held_out_residuals(folds)
        values = {key: self._by_target(column) for key, column in columns.items()}
        if self.num_classes:
            one_hot = one_hot_residual(total)
            bias = (result.count - 1) / max(1, result.count - 1 - result.rank)
            values["one_hot"] = {"t+1": one_hot, "t+1 adjusted": one_hot * bias}
            values["fuzziness"] = {"t+1": separation_fuzziness(total)}
        if options.lens:
            values["lens_loss"] = {
                f"t+{offset}": total / self.lens_count
                for offset, total in self.lens_sum[name].items()
            }
        return LayerLaw(name, result.rank, result.count, values)

    def _moments(self) -> Moments:
        return Moments(self.width, self.num_targets, self.num_classes)

    def _by_target(self, column_M: Tensor) -> dict[str, float]:
        values = column_M.tolist()
        count = len(self.options.offsets)
        by_target = {
            f"t{offset:+d}": value
            for offset, value in zip(self.options.offsets, values[:count], strict=True)
        }
        if self.options.permutations:
            by_target["t+1 permuted"] = float(np.mean(values[count:]))
        return by_target


def positions(example_BT: Tensor, offsets: Sequence[int]) -> Tensor:
    """Where every offset lies in the same example, (B, T) bool."""
    kept_BT = example_BT > 0
    for offset in offsets:
        kept_BT &= same_example(example_BT, offset)
    return kept_BT


def frequent_classes(counts_V: np.ndarray, limit: int) -> Tensor:
    """A class for each token id: its own if among the `limit` most frequent, else one.

    >>> frequent_classes(np.array([5, 0, 9, 2]), 2).tolist()
    [1, 2, 0, 2]
    """
    order = np.argsort(-counts_V, kind="stable")
    class_V = np.full(len(counts_V), min(limit, len(counts_V)))
    class_V[order[:limit]] = np.arange(len(order[:limit]))
    return torch.from_numpy(class_V)


def _codes(size: int, permutations: int) -> Tensor:
    """Random renumberings of the token ids, (V, P); the same for every model."""
    codes = [
        generator(0, SUITE, "renumbering", index).permutation(size)
        for index in range(permutations)
    ]
    table = np.stack(codes, 1) if codes else np.zeros((size, 0))
    return torch.from_numpy(table).double()


def _fits(
    layers: dict[str, LayerLaw], names: list[str]
) -> dict[str, dict[str, LawFit]]:
    """A line for each statistic and target that one can be fitted to."""
    by_statistic: dict[str, dict[str, LawFit]] = {}
    for statistic in FITTED:
        targets = layers[names[-1]].values.get(statistic, {})
        fits: dict[str, LawFit] = {}
        for target in targets:
            values = [layers[name].values[statistic][target] for name in names]
            if len(values) >= 2 and np.isfinite(values).all() and min(values) > 0:
                fits[target] = fit_law(values)
        by_statistic[statistic] = fits
    return by_statistic


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
