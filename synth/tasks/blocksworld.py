r"""Planning in Blocksworld: paths between configurations of blocks (arXiv 2509.23186).

States are the ways to stack four blocks on a table, and an edge is one legal move: a
block without another on it goes onto the table or onto another such block. The graph
has 73 states and 240 edges, each with its reverse (table 5 and appendix E). A state is
one token, printed as its towers from the bottom up:

```
A.BC.D > A.BCD > AD.BC      D onto C, then D onto A
```

- Training: one row `s t s t \n` for every edge, and `paths` acyclic paths for each
  length from 2 to 6 edges. Examples are drawn uniformly from these rows.
- Test: states without an edge between them, with one path of length 2 to 6 for each.

The source does not say how paths are drawn, nor whether pairs of the test occur in
training. Chosen here: paths start anywhere and go to uniform unvisited neighbours, two may
be equal; half of the pairs without an edge (a hash of `path_seed` and pair decides) are
never start and end of a training row, and an eighth of these are for validation. Any walk
of up to 7 states counts as an answer; no two states are further apart. Rows, decoding,
degrees and verification are those of `synth.tasks.path_task`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from synth.identity import identity
from synth.metrics import Metric
from synth.seeding import generator
from synth.tasks.path_task import PATH_METRICS, PathTask, split_pairs
from synth.tasks.task import Split, TaskConfig
from synth.tasks.walks import Paths, join_paths, random_walks, walks_between

BLOCKS = "ABCD"
LENGTHS = range(2, 7)
"""Edges of a training path."""
TRAINED_PAIRS = 0.5
DRAWS = 4096
"""Walks drawn at once until enough are allowed."""
State = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BlocksworldConfig(TaskConfig):
    """Plan moves between the 73 configurations of four blocks."""

    kind: ClassVar[str] = "blocksworld"
    metrics: ClassVar[tuple[Metric, ...]] = PATH_METRICS
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")
    seeds: ClassVar[tuple[str, ...]] = ("path_seed",)

    paths: int = identity(200)
    """Training paths of each length from 2 to 6."""
    path_seed: int = identity(0)
    """Seed of the paths and of the split."""

    def validate(self) -> None:
        self.check_ranges(paths=(1, 100_000))
        self.check(self.path_seed >= 0, "path_seed", "at least 0")

    def build(self) -> PathTask:
        return _drawn(self)


@lru_cache(maxsize=8)  # a sweep asks for the same paths arm by arm
def _drawn(config: BlocksworldConfig) -> PathTask:
    """The graph, the split of its pairs, and all paths."""
    states, edge_NN = transitions(BLOCKS)
    rng = generator(config.path_seed, config.kind, "paths")
    apart_NN = ~edge_NN & ~np.eye(len(states), dtype=bool)
    _, held_out = split_pairs(np.argwhere(apart_NN), config.path_seed, TRAINED_PAIRS)
    allowed_NN = np.ones(edge_NN.shape, bool)
    for pairs_P2 in held_out.values():
        allowed_NN[tuple(pairs_P2.T)] = False
    drawn = [
        draw_paths(edge_NN, allowed_NN, steps, config.paths, rng) for steps in LENGTHS
    ]
    longest = LENGTHS[-1] + 1
    asked = {
        split: walks_between(edge_NN, pairs_P2, longest, rng)
        for split, pairs_P2 in held_out.items()
    }
    trained = join_paths([Paths(np.argwhere(edge_NN)), *drawn])
    names = [".".join(state) for state in states]
    return PathTask(config.kind, names, edge_NN, trained, asked, longest)


def draw_paths(
    edge_NN: np.ndarray,
    allowed_NN: np.ndarray,
    steps: int,
    count: int,
    rng: np.random.Generator,
) -> Paths:
    """`count` random acyclic paths of `steps` edges between allowed pairs of ends."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < count:
        starts_P = rng.integers(0, len(edge_NN), DRAWS)
        drawn = random_walks(edge_NN, starts_P, steps, rng)
        parts.append(drawn.nodes_PX[allowed_NN[tuple(drawn.pairs_P2.T)]])
    return Paths(np.concatenate(parts)[:count])


def transitions(blocks: str) -> tuple[list[State], np.ndarray]:
    """All states in order, and whether one legal move leads from one to another.

    A state is its towers in order, each a word from the bottom up.
    """
    states: list[State] = [()]
    for block in blocks:
        grown = {tuple(sorted(s)) for state in states for s in _grow(state, block)}
        states = sorted(grown)
    number = {state: index for index, state in enumerate(states)}
    edge_NN = np.zeros((len(states), len(states)), bool)
    for state in states:
        for after in _moves(state):
            edge_NN[number[state], number[after]] = True
    return states, edge_NN


def _grow(state: State, block: str) -> list[State]:
    """The state with one more block, in every place."""
    found = [(*state, block)]
    for index, tower in enumerate(state):
        others = state[:index] + state[index + 1 :]
        for place in range(len(tower) + 1):
            found.append((*others, tower[:place] + block + tower[place:]))
    return found


def _moves(state: State) -> list[State]:
    """The states that one legal move leads to."""
    found: list[State] = []
    for index, tower in enumerate(state):
        others = state[:index] + state[index + 1 :]
        below = (tower[:-1],) if len(tower) > 1 else ()
        if below:  # a block that stands on the table is there already
            found.append((*others, *below, tower[-1]))
        for place, other in enumerate(others):
            left = others[:place] + others[place + 1 :]
            found.append((*left, *below, other + tower[-1]))
    return [tuple(sorted(after)) for after in found]
