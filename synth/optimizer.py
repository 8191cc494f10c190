"""AdamW and Muon for lanes: each lane with its own rate, decay, clipping and state.

Muon (arXiv 2502.16982) moves each map between hidden states by its momentum's nearest
orthogonal matrix; embeddings, unembeddings, gains and convolutions stay with AdamW. The
step of an A x B map is scaled by 0.2 sqrt(max(A, B)), which gives it the size of a typical
step of AdamW (section 2.2 there), so one learning rate and one decay serve both.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim._muon import muon
from torch.optim.adamw import adamw

from synth.config import TrainingConfig
from synth.models.lanes import FlatLanes
from synth.models.pinning import send

EXEMPT, MUON = "exempt", "muon"
"""Kinds of state: of weights that do not decay, and of maps that Muon updates."""


def rate_at(training: TrainingConfig, step: int) -> float:
    """Learning rate of step 0, 1, ..., steps - 1 (table S13's schedule).

    Linear warm-up that reaches the peak after `warmup_steps` steps, then a cosine that
    reaches `decay_ratio` times the peak at the last step.
    """
    peak, warmup = training.learning_rate, training.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, training.steps - 1 - warmup)
    floor = training.decay_ratio
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share)))


class FusedAdamW:
    """What `torch.optim.AdamW(..., fused=True)` does, bit for bit.

    That class imports torch's compiler, which takes a second in every process; the
    function behind it does not. Groups and states look the same in both.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        given: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps}
        self.param_groups = [given | group for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Update every tensor that has a gradient."""
        for group in self.param_groups:
            living = [flat for flat in group["params"] if flat.grad is not None]
            states = [self._state_of(flat) for flat in living]
            beta1, beta2 = group["betas"]
            adamw(
                living,
                [flat.grad for flat in living],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )

    def _state_of(self, flat: Tensor) -> dict[str, Tensor]:
        if not self.state.get(flat):
            self.state[flat] = {
                "step": torch.zeros((), device=flat.device),
                "exp_avg": torch.zeros_like(flat),
                "exp_avg_sq": torch.zeros_like(flat),
            }
        return self.state[flat]


class LaneMuon:
    """Torch's Muon over the maps of each lane; the state is one momentum a matrix.

    Momentum 0.95, Nesterov's form, and five Newton-Schulz iterations in bf16, as in the
    source. A matrix that stacks several maps, say queries, keys and values, is updated
    map by map.
    """

    def __init__(self, lanes: FlatLanes, configs: Sequence[TrainingConfig]) -> None:
        self._decays = [config.weight_decay for config in configs]
        views = zip(
            lanes.names,
            lanes.roles,
            lanes.views(lanes.master_KP.detach()),
            lanes.views(lanes.grad_KP),
            strict=True,
        )
        self._matrices = {
            name: (role.maps, weight_KED, grad_KED)
            for name, role, weight_KED, grad_KED in views
            if role.maps
        }
        self.momentum: list[dict[str, Tensor]] = [
            {
                name: torch.zeros_like(weight_KED[lane])
                for name, (_, weight_KED, _) in self._matrices.items()
            }
            for lane in range(lanes.num_lanes)
        ]
        """Of each lane, (E, D) by the name of the parameter."""

    @torch.no_grad()
    def step(self, lane: int, rate: float) -> None:
        """Update the matrices of one lane."""
        maps_of = [
            part
            for name, (maps, weight_KED, grad_KED) in self._matrices.items()
            for part in zip(
                weight_KED[lane].split(maps),
                grad_KED[lane].split(maps),
                self.momentum[lane][name].split(maps),
                strict=True,
            )
        ]
        weights, gradients, momenta = map(list, zip(*maps_of, strict=True))
        muon(
            weights,
            gradients,
            momenta,
            lr=rate,
            weight_decay=self._decays[lane],
            momentum=0.95,
            nesterov=True,
            ns_coefficients=(3.4445, -4.7750, 2.0315),
            ns_steps=5,
            eps=1e-7,
            adjust_lr_fn="match_rms_adamw",
            has_complex=False,
        )


class LaneOptimizer:
    """The optimiser of a pack over the rows of flat tensors, lane by lane.

    Each parameter's role says whether weight decay acts on it, and which maps it stacks
    (`synth.models.weights`). With `recordable` an update is a fixed series of kernels:
    rates lie in a tensor on the device, which `schedule` fills, and a failed lane is still
    updated; the result is ignored. Muon's is not such a series.
    """

    def __init__(
        self,
        lanes: FlatLanes,
        configs: Sequence[TrainingConfig],
        recordable: bool = False,
    ) -> None:
        self._lanes = lanes
        self._configs = list(configs)
        self._clip_K = torch.tensor(
            [config.clip_norm for config in configs], device=lanes.master_KP.device
        )
        uses_muon = configs[0].optimizer == "muon"
        self._muon = LaneMuon(lanes, configs) if uses_muon else None
        self._spans = adamw_spans(lanes, uses_muon)
        self._groups = [
            {kind: lanes.master_KP[lane, s].detach() for kind, s in self._spans.items()}
            for lane in range(lanes.num_lanes)
        ]
        first = configs[0]
        self._adam = FusedAdamW(
            [
                {
                    "params": [flat],
                    "weight_decay": 0.0 if kind == EXEMPT else config.weight_decay,
                }
                for config, flats in zip(configs, self._groups, strict=True)
                for kind, flat in flats.items()
            ],
            lr=first.learning_rate,
            betas=(first.beta1, first.beta2),
            eps=first.epsilon,
        )
        self._rates: list[float] = []
        self._alive: Sequence[bool] | None = None
        self.rates_K: Tensor | None = None
        """Rate of each lane on the device; `None` if updates take it from the host."""
        if recordable:
            assert self._muon is None, "an update by Muon cannot be recorded"
            self.rates_K = torch.zeros_like(self._clip_K)
            for index, group in enumerate(self._adam.param_groups):
                group["lr"] = self.rates_K[index // len(self._spans)]
            self._point_at_gradients()

    def norms(self) -> Tensor:
        """Unclipped gradient norm of each lane, (K,)."""
        grad_KP = self._lanes.gather_grad()
        return torch.stack([torch.linalg.vector_norm(row) for row in grad_KP])

    def schedule(self, step: int, alive: Sequence[bool] | None = None) -> None:
        """Set the rates of a step, and which lanes (default: all) the update changes."""
        rates = [rate_at(config, step) for config in self._configs]
        if self.rates_K is not None:
            send(torch.tensor(rates), self.rates_K)
            return
        self._rates, self._alive = rates, alive
        groups = iter(self._adam.param_groups)
        for rate in rates:
            for _ in self._spans:
                next(groups)["lr"] = rate
        self._point_at_gradients(alive)

    def update(self, norm_K: Tensor) -> None:
        """Clip gradients with these norms, then update every scheduled lane."""
        scale_K = (self._clip_K / (norm_K + 1e-6)).clamp(max=1.0)
        self._lanes.grad_KP.mul_(scale_K[:, None])
        self._adam.step()
        if self._muon is not None:
            for lane, rate in enumerate(self._rates):
                if self._alive is None or self._alive[lane]:
                    self._muon.step(lane, rate)
        self._lanes.refresh()

    def state(self) -> list[Tensor]:
        """The tensors that an update changes and the next one reads, weights first."""
        states = [self.moments(lane) for lane in range(len(self._groups))]
        return [self._lanes.master_KP, *(x for state in states for x in state.values())]

    def put_back(self, saved: Sequence[Tensor]) -> None:
        """Copy saved values of `state` back into its tensors."""
        for tensor, value in zip(self.state(), saved, strict=True):
            tensor.copy_(value)
        self._lanes.refresh()

    def moments(self, lane: int) -> dict[str, Tensor]:
        """The state of a lane by name, for a checkpoint; the tensors are not copied."""
        adam = {
            f"{kind}.{name}": value
            for kind, flat in self._groups[lane].items()
            for name, value in self._adam.state.get(flat, {}).items()
        }
        if self._muon is None:
            return adam
        momentum = self._muon.momentum[lane].items()
        return adam | {f"{MUON}.{name}": value for name, value in momentum}

    def restore(self, lane: int, moments: dict[str, Tensor]) -> None:
        """Set the state of a lane to what `moments` returned."""
        for key, value in moments.items():
            owner, _, name = key.partition(".")
            if owner == MUON and self._muon is not None:
                self._muon.momentum[lane][name].copy_(value)
                continue
            kind, _, name = key.rpartition(".")
            flat = self._groups[lane][kind]
            self._adam.state.setdefault(flat, {})[name] = value.to(flat.device).clone()

    def _point_at_gradients(self, alive: Sequence[bool] | None = None) -> None:
        for lane, flats in enumerate(self._groups):
            lives = alive is None or alive[lane]
            for kind, flat in flats.items():
                grad = self._lanes.grad_KP[lane, self._spans[kind]]
                flat.grad = grad if lives else None


def adamw_spans(lanes: FlatLanes, uses_muon: bool) -> dict[str, slice]:
    """The parts of a row of `lanes` that AdamW updates, by name.

    Weights that decay and exempt ones are one span each; beside Muon, every parameter
    that decays and is no map has a span of its own.
    """
    split, total = lanes.num_decayed, lanes.master_KP.shape[1]
    exempt = {EXEMPT: slice(split, total)}
    if not uses_muon:
        return {"decayed": slice(0, split)} | exempt
    named = zip(lanes.names, lanes.roles, lanes.spans, strict=True)
    return {
        name: slice(*ends)
        for name, role, ends in named
        if role.decays and not role.maps
    } | exempt
