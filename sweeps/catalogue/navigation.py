"""Navigation: do states that lead to the same place look alike? (arXiv 2604.06155)

The runs behind table 1 of the source on random graphs, arm by arm:

| row of the source | arm |
|---|---|
| next token | `n1` |
| K tokens | `n2_linear_added`, `n4_linear_added`: a d x d map a head, beside a full trunk |

The structure gain is measured on the checkpoints:

    python -m sweeps run navigation --scale night
    python -m synth probe future runs/navigation-night/* --save

The unit of replication is the graph, as in `graph-paths`: run g draws graph, data and
initial weights from seed g. The source trains on one graph, 20,000 steps of 1,024 rows at
a peak rate of 5e-4; `paper` does so on five. Its heads map the state after the last norm,
ours the state before it.
"""

from collections.abc import Iterator
from dataclasses import replace

from sweeps.catalogue.factorial import Factorial
from sweeps.catalogue.graph_paths import NEXT_TOKEN, parallel
from sweeps.sweep import sweep
from synth.command_words import as_typed
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.tasks.navigation import NavigationConfig

ARMS = (NEXT_TOKEN, parallel(2), parallel(4))
RATES = (1e-3, 2e-3, 4e-3)
ALL = 10_000
"""Examples; no suite has so many."""
QUICK = TrainingConfig(
    steps=300,
    batch_rows=64,
    context=12,
    learning_rate=4e-3,
    warmup_steps=15,
    decay_ratio=0.1,
    evaluate_every_steps=100,
    evaluation_examples=64,
    final_examples=ALL,
)
NIGHT = replace(
    QUICK,
    steps=2000,
    batch_rows=128,
    learning_rate=2e-3,
    warmup_steps=100,
    precision="bf16",
    evaluate_every_steps=200,
    evaluation_examples=256,
)
PAPER = replace(
    NIGHT,
    steps=20_000,
    batch_rows=1024,
    learning_rate=5e-4,
    warmup_steps=1000,
    evaluate_every_steps=1000,
)


def design(
    task: NavigationConfig, scale: str, seeds: int, training: TrainingConfig
) -> Factorial:
    """The three arms on as many graphs as seeds; positions are learned embeddings."""
    model = ModelConfig(scale=scale, positions="learned")
    return Factorial(
        tasks=(task,), models=(model,), arms=ARMS, seeds=seeds, training=training
    )


SCALES = {
    "quick": design(
        NavigationConfig(nodes=40, edge_probability=0.08), "d48-L2-h2", 3, QUICK
    ),
    "night": design(NavigationConfig(), "d120-L6-h6", 12, NIGHT),
    "paper": design(NavigationConfig(), "d120-L6-h6", 5, PAPER),
}


@sweep(
    figure="valid paths against tokens",
    answers=f"arXiv 2604.06155, table 1: {as_typed('analysis beside navigation')}",
    scales=("quick", "night", "paper"),
    rates=RATES,
)
def navigation(scale: str) -> Iterator[RunConfig]:
    """Steps through random graphs, and states that share a later token; graphs as seeds."""
    yield from SCALES[scale].runs()
