"""AdamW for lanes: each lane with its own rate, decay, clipping and state."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from synth.config import TrainingConfig
from synth.fast.pinning import send
from synth.models.lanes import FlatLanes


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


class LaneAdamW:
    """Torch's fused AdamW over the rows of flat tensors: one group per lane and kind.

    Each parameter's role says whether weight decay acts on it (`synth.models.weights`).
    With `recordable` an update is a fixed series of kernels: rates lie in a tensor on the
    device, which `schedule` fills, and a failed lane is still updated; the result is
    ignored.
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
        split, total = lanes.num_decayed, lanes.master_KP.shape[1]
        self._spans = [slice(0, split), slice(split, total)]
        self._groups = [
            [lanes.master_KP[lane, span].detach() for span in self._spans]
            for lane in range(lanes.num_lanes)
        ]
        first = configs[0]
        self._adam = FusedAdamW(
            [
                {
                    "params": [flat],
                    "weight_decay": config.weight_decay if decayed else 0.0,
                }
                for config, pair in zip(configs, self._groups, strict=True)
                for flat, decayed in zip(pair, (True, False), strict=True)
            ],
            lr=first.learning_rate,
            betas=(first.beta1, first.beta2),
            eps=first.epsilon,
        )
        self.rates_K: Tensor | None = None
        """Rate of each lane on the device; `None` if updates take it from the host."""
        if recordable:
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
        self._lanes.refresh()

    def state(self) -> list[Tensor]:
        """The tensors that an update changes and the next one reads, weights first."""
        found = [self._lanes.master_KP]
        for flats in self._groups:
            for flat in flats:
                found += self._adam.state.get(flat, {}).values()
        return found

    def put_back(self, saved: Sequence[Tensor]) -> None:
        """Copy saved values of `state` back into its tensors."""
        for tensor, value in zip(self.state(), saved, strict=True):
            tensor.copy_(value)
        self._lanes.refresh()

    def _point_at_gradients(self, alive: Sequence[bool] | None = None) -> None:
        for lane, flats in enumerate(self._groups):
            lives = alive is None or alive[lane]
            for flat, span in zip(flats, self._spans, strict=True):
                flat.grad = self._lanes.grad_KP[lane, span] if lives else None

    def moments(self, lane: int) -> dict[str, Tensor]:
        """First and second moments of a lane and their step count, for a checkpoint."""
        found: dict[str, Tensor] = {}
        for kind, flat in zip(("decayed", "exempt"), self._groups[lane], strict=True):
            for name, value in self._adam.state.get(flat, {}).items():
                found[f"{kind}.{name}"] = value
        return found

    def restore(self, lane: int, moments: dict[str, Tensor]) -> None:
        """Set the moments of a lane to those that `moments` returned."""
        for kind, flat in zip(("decayed", "exempt"), self._groups[lane], strict=True):
            names = [key for key in moments if key.startswith(f"{kind}.")]
            self._adam.state[flat] = {
                key.partition(".")[2]: moments[key].to(flat.device).clone()
                for key in names
            }
