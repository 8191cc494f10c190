"""Path planning: what is learned of a graph from paths through it (arXiv 2509.23186).

Tables 1 and 5 of the source, arm by arm. One layer of one attention head and width 120
predicts the next token (0.2M parameters); what looks further ahead comes on top of it,
so every arm plans with the same layer. Positions are learned ones, as a single layer
needs them to find the target. The losses of all heads are added up plainly.

| row of the source | arm |
|---|---|
| 1-token | `n1` |
| n-token, parallel | `n2_linear_added`: a d x d map a head, on the shared unembedding |
| n-token, DeepSeek chain | `chain1_added_sum`, with n - 1 modules |
| n-token, 1-layer transfer | `transfer2` |
| n-token, injection, linear | `transfer2_linear_injected` |
| n-token, injection, k-layer | `transfer2_injected`, `transfer2_3layers_injected` |

The unit of replication is the graph: run g has graph, data and initial weights of seed g,
so arms are paired graph by graph (in Blocksworld, by the drawn paths). The source states
neither optimiser nor steps; both are settings of this suite. It averages degrees 2 and 3
over 200 graphs, the others over 50 (`--seeds 200`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sweeps.sweep import sweep
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.objective import ObjectiveConfig
from synth.objectives.transfer import TransferConfig
from synth.tasks.blocksworld import BlocksworldConfig
from synth.tasks.graph_paths import GraphPathsConfig
from synth.tasks.task import TaskConfig

METRIC = "test/valid_path"
RATES = (2e-2, 4e-2, 8e-2, 0.16)
MODEL = ModelConfig(scale="d120-L1-h1", positions="learned")


def parallel(horizon: int) -> ObjectiveConfig:
    """An output head of its own for each step, on one trunk state."""
    return MultiTokenConfig(horizon=horizon, layout="linear", budget="added")


def chain(horizon: int) -> ObjectiveConfig:
    """One module for each step after the next one, with the plain sum of losses."""
    return ChainConfig(depth=horizon - 1, budget="added", weight=None)


NEXT_TOKEN = MultiTokenConfig()
INJECTION = TransferConfig(horizon=2, depth=1, injection=True)
MAIN_ARMS = (
    NEXT_TOKEN,
    parallel(2),
    chain(2),
    TransferConfig(horizon=2, depth=1),
    INJECTION,
)
NIGHT_ARMS = (
    *MAIN_ARMS,
    parallel(3),
    TransferConfig(horizon=2, depth=0, injection=True),
)
PAPER_ARMS = (
    *NIGHT_ARMS,
    *(TransferConfig(horizon=2, depth=depth, injection=True) for depth in (3, 6)),
    chain(3),
    TransferConfig(horizon=3, depth=0, injection=True),
    TransferConfig(horizon=3, depth=1),
    TransferConfig(horizon=3, depth=6, injection=True),
)


@dataclass(frozen=True)
class PathScale:
    """What a scale fixes; `seeds` are graphs, or sets of paths in Blocksworld."""

    tasks: tuple[TaskConfig, ...]
    arms: tuple[ObjectiveConfig, ...]
    seeds: int
    training: TrainingConfig


def training_of(steps: int, context: int) -> TrainingConfig:
    """128 rows a step; all test pairs twenty times a run, or every 50 steps."""
    return TrainingConfig(
        steps=steps,
        batch_rows=128,
        context=context,
        learning_rate=4e-2,
        warmup_steps=steps // 20,
        evaluate_every_steps=max(steps // 20, 50),
        evaluation_examples=5000,
        final_examples=5000,
    )


GRAPHS = {
    "quick": PathScale(
        (GraphPathsConfig(nodes=50, edge_probability=0.15, longest=9),),
        (NEXT_TOKEN, INJECTION),
        seeds=6,
        training=training_of(300, context=12),
    ),
    "night": PathScale(
        (GraphPathsConfig(),),
        NIGHT_ARMS,
        seeds=24,
        training=training_of(1000, context=15),
    ),
    "paper": PathScale(
        (GraphPathsConfig(),),
        PAPER_ARMS,
        seeds=50,
        training=training_of(2000, context=15),
    ),
}
BLOCK_TASKS = tuple(BlocksworldConfig(paths=100 * i) for i in range(1, 6))
BLOCKS = {
    "quick": PathScale(
        (BlocksworldConfig(paths=200),),
        MAIN_ARMS[:3],
        seeds=3,
        training=training_of(400, context=10),
    ),
    "night": PathScale(
        BLOCK_TASKS,
        MAIN_ARMS,
        seeds=10,
        training=training_of(1000, context=10),
    ),
    "paper": PathScale(
        BLOCK_TASKS,
        PAPER_ARMS,
        seeds=5,
        training=training_of(2000, context=10),
    ),
}


def _runs(rung: PathScale) -> Iterator[RunConfig]:
    """Every arm on every graph: task, data and weights of run g have seed g."""
    for task in rung.tasks:
        for seed in range(rung.seeds):
            for objective in rung.arms:
                yield RunConfig(
                    task=replace(task, **dict.fromkeys(task.seeds, seed)),
                    model=MODEL,
                    objective=objective,
                    training=rung.training,
                    seed=seed,
                )


@sweep(
    figure="valid paths by degree against tokens",
    scales=("quick", "night", "paper"),
    metric=METRIC,
    rates=RATES,
)
def graph_paths(scale: str) -> Iterator[RunConfig]:
    """Paths in a random graph, by how directly training shows them; graphs as seeds."""
    yield from _runs(GRAPHS[scale])


@sweep(
    figure="valid paths against training paths of each length",
    scales=("quick", "night", "paper"),
    metric=METRIC,
    rates=RATES,
)
def blocksworld(scale: str) -> Iterator[RunConfig]:
    """Moves between the 73 states of four blocks, with 100 to 500 paths of a length."""
    yield from _runs(BLOCKS[scale])
