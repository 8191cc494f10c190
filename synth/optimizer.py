"""AdamW for lanes: each lane with its own rate, decay, clipping and state."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from synth.config import TrainingConfig
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


class LaneAdamW:
    """Torch's fused AdamW over the rows of flat tensors: one group per lane and kind.

    The matrices of a lane are decayed, its gains are not.
    """

    def __init__(self, lanes: FlatLanes, configs: Sequence[TrainingConfig]) -> None:
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
        self._adam = torch.optim.AdamW(
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
            fused=True,
        )

    def norms(self) -> Tensor:
        """Unclipped gradient norm of each lane, (K,)."""
        grad_KP = self._lanes.gather_grad()
        return torch.stack([torch.linalg.vector_norm(row) for row in grad_KP])

    def step(self, step: int, norm_K: Tensor, alive: Sequence[bool]) -> None:
        """Clip and update every lane that is alive; the others keep their weights."""
        scale_K = (self._clip_K / (norm_K + 1e-6)).clamp(max=1.0)
        self._lanes.grad_KP.mul_(scale_K[:, None])
        groups = iter(self._adam.param_groups)
        for lane, config in enumerate(self._configs):
            rate = rate_at(config, step)
            for flat, span in zip(self._groups[lane], self._spans, strict=True):
                next(groups)["lr"] = rate
                flat.grad = self._lanes.grad_KP[lane, span] if alive[lane] else None
        self._adam.step()
        self._lanes.refresh()

    def moments(self, lane: int) -> dict[str, Tensor]:
        """First and second moments of a lane and their step count, for a checkpoint."""
        found: dict[str, Tensor] = {}
        for kind, flat in zip(("decayed", "exempt"), self._groups[lane], strict=True):
            for name, value in self._adam.state.get(flat, {}).items():
                found[f"{kind}.{name}"] = value
        return found

    def restore(self, lane: int, moments: dict[str, Tensor]) -> None:
        """Take over the moments that `moments` gave."""
        for kind, flat in zip(("decayed", "exempt"), self._groups[lane], strict=True):
            names = [key for key in moments if key.startswith(f"{kind}.")]
            self._adam.state[flat] = {
                key.partition(".")[2]: moments[key].to(flat.device).clone()
                for key in names
            }
