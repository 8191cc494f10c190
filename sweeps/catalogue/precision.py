"""The same runs in fp32 and in bf16: do they say the same of several tokens against one?

Induction on short segments forms within a hundred steps, later for longer horizons, so a
few minutes on one core show an effect well above the noise of seeds. Everything but the
precision is equal: weights at the start, data, evaluation (always fp32).
"""

from collections.abc import Iterator
from typing import Literal

from sweeps.sweep import sweep
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.repeats import RepeatsConfig

PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")


@sweep(
    figure="loss curves in fp32 and bf16, and the gain by horizon in each",
    scales=("quick",),
    metric="test/accuracy",
)
def precision(scale: str) -> Iterator[RunConfig]:
    """Repeated segments in fp32 and bf16: n = 1 and 4, five seeds, equal otherwise."""
    for kind in PRECISIONS:
        for horizon in (1, 4):
            for seed in range(5):
                yield RunConfig(
                    task=RepeatsConfig(symbols=16, min_period=3, max_period=8),
                    model=ModelConfig(scale="d32-L5-h2"),
                    objective=MultiTokenConfig(horizon=horizon),
                    training=TrainingConfig(
                        steps=300,
                        batch_rows=32,
                        context=32,
                        learning_rate=6e-3,
                        warmup_steps=20,
                        precision=kind,
                        evaluate_every_steps=10,
                        evaluation_examples=64,
                        final_examples=500,
                    ),
                    seed=seed,
                )
