"""Path planning: learning a graph from paths through it (arXiv 2509.23186).

Tables 1, 2 and 5 of the source, arm by arm. One layer with one attention head and width
120 predicts the next token (0.2M parameters); heads that look further ahead are added on
top, so every arm plans with the same layer. Positions are learned embeddings: a single
layer needs them to find the target. The losses of all heads are summed without weights.

| row of the source | arm |
|---|---|
| 1-token | `n1` |
| n-token, parallel | `n2_linear_added`: a d x d map a head, on the shared unembedding |
| n-token, DeepSeek chain | `chain1_added_sum`, with n - 1 modules |
| n-token, 1-layer transfer | `transfer2` |
| n-token, injection, linear | `transfer2_linear_injected` |
| n-token, injection, k-layer | `transfer2_injected`, `transfer2_3layers_injected` |

The unit of replication is the graph: run g draws graph, data and initial weights from
seed g, so arms are paired by graph (in Blocksworld, by the drawn paths). The source states
neither optimiser nor steps; both are choices of this suite. It averages degrees 2 and 3
over 200 graphs, the others over 50 (`--seeds 200`). Its text says that the model samples
the next node, at no stated temperature; decoding is greedy here.
"""

from collections.abc import Iterator
from dataclasses import replace

from sweeps.catalogue.factorial import Factorial
from sweeps.sweep import sweep
from synth.command_words import as_typed
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.objective import ObjectiveConfig
from synth.objectives.transfer import TransferConfig
from synth.tasks.blocksworld import BlocksworldConfig
from synth.tasks.graph_paths import GraphPathsConfig
from synth.tasks.task import TaskConfig

RATES = (2e-2, 4e-2, 8e-2, 0.16)
LONGEST_BLOCKS = 7
"""States on the longest path of Blocksworld."""
ALL = 5000
"""Examples; no suite has so many."""
MODEL = ModelConfig(scale="d120-L1-h1", positions="learned")


def parallel(horizon: int) -> ObjectiveConfig:
    """A separate output head for each step, all on the same trunk state."""
    return MultiTokenConfig(horizon=horizon, layout="linear", budget="added")


def chain(horizon: int) -> ObjectiveConfig:
    """A module for each step after the first; losses are summed without weights."""
    return ChainConfig(depth=horizon - 1, budget="added", weight=None)


NEXT_TOKEN = MultiTokenConfig()
INJECTION = TransferConfig(horizon=2, depth=1, injection=True)
LINEAR_INJECTION = TransferConfig(horizon=2, depth=0, injection=True)
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
    chain(3),
    LINEAR_INJECTION,
    TransferConfig(horizon=3, depth=0, injection=True),
    TransferConfig(horizon=3, depth=1),
)
PAPER_ARMS = (
    *NIGHT_ARMS,
    *(
        TransferConfig(horizon=horizon, depth=depth, injection=True)
        for horizon, depth in ((2, 3), (2, 6), (3, 1), (3, 3), (3, 6))
    ),
)
"""Those with transfers of several layers cost two to four times as much as the others."""


def path_design(
    tasks: tuple[TaskConfig, ...],
    arms: tuple[ObjectiveConfig, ...],
    seeds: int,
    steps: int,
    models: tuple[ModelConfig, ...] = (MODEL,),
    evaluations: int = 20,
    examples: int = ALL,
) -> Factorial:
    """128 rows a step; evaluations at least 50 steps apart, the last on all test pairs."""
    longest = max(getattr(task, "longest", LONGEST_BLOCKS) for task in tasks)
    training = TrainingConfig(
        steps=steps,
        batch_rows=128,
        context=longest + 3,
        learning_rate=4e-2,
        warmup_steps=steps // 20,
        evaluate_every_steps=max(steps // evaluations, 50),
        evaluation_examples=examples,
        final_examples=ALL,
    )
    return Factorial(
        tasks=tasks, models=models, arms=arms, seeds=seeds, training=training
    )


SMALL_GRAPH = GraphPathsConfig(nodes=50, edge_probability=0.15, longest=9)
GRAPHS = {
    "quick": path_design((SMALL_GRAPH,), (NEXT_TOKEN, INJECTION), seeds=6, steps=300),
    "night": path_design((GraphPathsConfig(),), NIGHT_ARMS, seeds=24, steps=1000),
    "paper": path_design((GraphPathsConfig(),), PAPER_ARMS, seeds=50, steps=2000),
}
NARROW, WIDE = (replace(MODEL, scale=shape) for shape in ("d60-L1-h1", "d320-L1-h1"))
WIDTH_ARMS = (
    NEXT_TOKEN,
    parallel(2),
    INJECTION,
    LINEAR_INJECTION,
    TransferConfig(horizon=2, depth=1),
)


def width_designs(seeds: int, steps: int) -> tuple[Factorial, ...]:
    """Graphs of 100 to 300 nodes; those of 300 nodes also with a wider model."""
    graphs = tuple(GraphPathsConfig(nodes=nodes) for nodes in (100, 200, 300))
    return (
        path_design(graphs, WIDTH_ARMS, seeds, steps),
        path_design(graphs[-1:], WIDTH_ARMS, seeds, steps, (WIDE,)),
    )


WIDTHS = {
    "quick": (path_design((SMALL_GRAPH,), WIDTH_ARMS, 3, 300, (NARROW, MODEL)),),
    "night": width_designs(seeds=8, steps=1000),
    "paper": width_designs(seeds=50, steps=2000),
}
FEW_BLOCKS = (BlocksworldConfig(paths=200),)
BLOCK_TASKS = tuple(BlocksworldConfig(paths=100 * i) for i in range(1, 6))
BLOCKS = {
    # With all pairs at each evaluation, or twenty of them, evaluation would take 20 %.
    "quick": path_design(FEW_BLOCKS, MAIN_ARMS, seeds=3, steps=400, examples=128),
    "night": path_design(BLOCK_TASKS, MAIN_ARMS, seeds=10, steps=1000, evaluations=8),
    "paper": path_design(BLOCK_TASKS, PAPER_ARMS, seeds=5, steps=2000),
}


@sweep(
    figure="valid paths by degree against tokens",
    answers=f"arXiv 2509.23186, table 1: {as_typed('analysis beside graph-paths')}",
    scales=("quick", "night", "paper"),
    rates=RATES,
)
def graph_paths(scale: str) -> Iterator[RunConfig]:
    """Paths in a random graph, by how directly training shows them; graphs as seeds."""
    yield from GRAPHS[scale].runs()


@sweep(
    figure="valid paths of degree 2 by nodes and width",
    answers=f"arXiv 2509.23186, table 2: {as_typed('analysis beside graph-width')}",
    scales=("quick", "night", "paper"),
    rates=RATES,
)
def graph_paths_width(scale: str) -> Iterator[RunConfig]:
    """Does width decide whether looking ahead pays? Larger graphs, a wider model."""
    for design in WIDTHS[scale]:
        yield from design.runs()


@sweep(
    figure="valid paths against training paths of each length",
    answers=f"arXiv 2509.23186, table 5: {as_typed('analysis beside blocksworld')}",
    scales=("quick", "night", "paper"),
    rates=RATES,
)
def blocksworld(scale: str) -> Iterator[RunConfig]:
    """Moves between the 73 states of four blocks, with 100 to 500 paths of a length."""
    yield from BLOCKS[scale].runs()
