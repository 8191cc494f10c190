"""Walks through a maze with turns that matter and turns that do not (figure S17).

Figure S17 of arXiv 2404.19737 shows two consequential turns and, between them, one
whose paths join again at once: `turns="cic"`. Cells carry random names, the map is the
question, the walk from start to goal is the answer; turning round is not allowed.

```
          +-> D1 -> D2 (dead end)   +-> R1 -+             +-> E1 -> E2 (dead end)
S -> A ---+                    B ---+       +-> J -> C ---+
          +-> W1 -> W2 -> B         +-> R2 -+             +-> X1 -> G
     turn c, arm 2                turn i, routes 2        turn c, arm 2

tokens  B R1 | S A | W1 W2 | ... | C X1 / S G = S A W1 W2 B R2 J C X1 G
kind    ?  ? ? ?                          ? ? ? f f D  =  f ~  f f D  =
```

- Question (?): every edge as two cells and `|`, in random order, the last with `/`;
  then start, goal and `=`.
- The walk goes `corridor` cells on to each turn. At a consequential turn `branches`
  arms of `arm` cells leave; one goes on, the others are dead ends, so a wrong first
  cell (D) derails the walk, and its consequences (=) are the other cells of the arm.
  At an inconsequential turn one of `routes` cells (~) is taken, uniformly; they join
  again.
- Everything else on the walk is forced (f).

The walk is determined by the map but for the routes, so from the goal token on every
token of the walk has an exact distribution; the question has none. Any walk along edges
from start to goal is a right answer; they all have as many cells. So a model is also
asked to walk by itself, greedily, and its walks are verified ("verified"): they are right
or derailed. The score "walk" is teacher-forced: the model is shown the walk drawn so far.

Train and test are disjoint by the hash of the map, in which the order of edges, of dead
ends and of routes does not count, nor the route taken: an eighth of the mazes is for
testing, another for validation.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synth.identity import identity
from synth.metrics import Metric, Score
from synth.tasks.choice_points import ROLES, Kind, roles_of
from synth.tasks.exact import EXACT_METRICS, ExactTask
from synth.tasks.task import EvaluationSet, Rows, Split, TaskConfig, TokenScores

EDGE, MAP_END, WALK = 1, 2, 3
FIRST_CELL = 4
QUESTION = -1
"""Kind of the tokens of the question: no role."""

MAX_CELLS = 4096
"""Cells, and so names, of the largest maze."""


@dataclass(frozen=True, kw_only=True)
class MazeConfig(TaskConfig):
    """Walk through mazes in which few turns matter."""

    kind: ClassVar[str] = "maze"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("verified", "share", "higher", "blind_turns", 1.0, learned=0.75),
        Metric("walk", "share", "higher", floor="blind_turns", ceiling=1.0),
        Metric("blind_turns", "share", None, floor=0.0, ceiling=1.0),
        *EXACT_METRICS,
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    turns: str = identity("cic")
    """Turns in order: c consequential, i inconsequential."""
    branches: int = identity(2)
    """Arms of a consequential turn."""
    arm: int = identity(2)
    """Cells of an arm."""
    routes: int = identity(2)
    """Routes of an inconsequential turn."""
    corridor: int = identity(1)
    """Cells on the way to each turn."""
    cells: int = identity(30)
    """Names that cells can have."""

    def validate(self) -> None:
        known = bool(self.turns) and set(self.turns) <= {"c", "i"}
        self.check(known, "turns", "one or more of the letters c and i")
        least = {"branches": 2, "routes": 2, "arm": 1, "corridor": 1}
        self.check_ranges(**{name: (low, MAX_CELLS) for name, low in least.items()})
        # Before the plan is built: it has more cells than this.
        lengths = max((self.branches - 1) * self.arm, self.routes * self.corridor)
        self.check(lengths <= MAX_CELLS, "arm", f"short enough for {MAX_CELLS} cells")
        self.check(len(self.turns) <= 64, "turns", "at most 64 letters")
        self.check(self.cells <= MAX_CELLS, "cells", f"at most {MAX_CELLS}")
        needed = len(Maze.plan(self).kinds)
        enough = self.cells >= needed
        self.check(enough, "cells", f"at least {needed}, the maze's cells")

    def build(self) -> "Maze":
        return Maze(self)


@dataclass(frozen=True)
class MazePlan:
    """One maze with cells numbered in the order of building; all mazes share it.

    `walk` holds the cells of the walk, with the first route at each turn; `swaps` the
    groups of cell chains that are alike: dead ends of one turn, routes of one turn.
    """

    edges: list[tuple[int, int]]
    walk: list[int]
    kinds: list[Kind]
    governors: list[int]
    """For each cell, the place in the walk of the turn that its arm hangs on, or -1."""
    swaps: list[list[list[int]]]
    routes: dict[int, list[int]]
    """For each place of the walk with routes, the cells to choose from."""


class Maze(ExactTask):
    """Draws mazes of one plan with random names; see the module for the conventions."""

    config: MazeConfig
    roles = ROLES
    block, test_batch = 4096, 2048

    def __init__(self, config: MazeConfig) -> None:
        self.config = config
        self.layout = self.plan(config)
        self.vocabulary = ["<pad>", "|", "/", "="]
        self.vocabulary += [f"c{i}" for i in range(config.cells)]
        self.answer_start = 3 * len(self.layout.edges) + 3
        self.length = self.answer_start + len(self.layout.walk)

    @staticmethod
    def plan(config: MazeConfig) -> MazePlan:
        """Lay the maze out from start to goal."""
        edges: list[tuple[int, int]] = []
        kinds, governors, walk = [Kind.FORCED], [-1], [0]
        swaps: list[list[list[int]]] = []
        routes: dict[int, list[int]] = {}

        def add(parent: int, kind: Kind, governor: int = -1) -> int:
            kinds.append(kind)
            governors.append(governor)
            edges.append((parent, len(kinds) - 1))
            return len(kinds) - 1

        for turn in config.turns:
            for _ in range(config.corridor):
                walk.append(add(walk[-1], Kind.FORCED))
            here = walk[-1]
            if turn == "i":
                kind = Kind.INCONSEQUENTIAL
                choices = [add(here, kind) for _ in range(config.routes)]
                routes[len(walk)] = choices
                swaps.append([[cell] for cell in choices])
                join = add(choices[0], Kind.FORCED)
                edges += [(cell, join) for cell in choices[1:]]
                walk += [choices[0], join]
                continue
            arms = []
            for _ in range(config.branches):
                arm = [add(here, Kind.CHOICE, len(walk))]
                for _ in range(config.arm - 1):
                    arm.append(add(arm[-1], Kind.CONSEQUENT, len(walk)))
                arms.append(arm)
            swaps.append(arms[1:])
            walk += arms[0]
        return MazePlan(edges, walk, kinds, governors, swaps, routes)

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mazes with random names, and the map that each one is."""
        names_EC = self._names(rng, count)
        return self._tokens(rng, names_EC), self.problem(names_EC)

    def labels(self, tokens_RT: np.ndarray) -> dict[str, np.ndarray]:
        """Kind, and position of the turn behind it; the plan is the same for all."""
        plan = self.layout
        before = [QUESTION] * self.answer_start
        kind_T = np.array(before + [plan.kinds[cell] for cell in plan.walk])
        governor_T = np.array(before + [plan.governors[cell] for cell in plan.walk])
        governor_T[governor_T >= 0] += self.answer_start
        return {
            "kind": np.broadcast_to(kind_T, tokens_RT.shape),
            "governor": np.broadcast_to(governor_T, tokens_RT.shape),
        }

    def role(self, chosen: EvaluationSet, horizon: int) -> np.ndarray:
        """See `synth.tasks.choice_points.ROLES`; questions have none.

        A walk is determined from the goal token on, so its consequents count as decided
        only by the choice that the walk has shown.
        """
        return roles_of(chosen.labels["kind"], chosen.labels["governor"], horizon)

    def after(self, prefix_RT: np.ndarray, horizon: int) -> np.ndarray:
        """One at the walk's next cell, uniform over routes; NaN before the goal token.

        The map is read from the question, so any walk can be asked about.
        """
        seen = prefix_RT.shape[1] - 1
        if seen < self.answer_start - 2:
            return np.full((len(prefix_RT), len(self.vocabulary)), np.nan)
        return self._given(self.names_of(prefix_RT), seen + horizon)

    def distributions(self, rows: Rows, horizon: int) -> np.ndarray:
        """As `after`, reading each map once."""
        tokens_RT = rows.tokens_RT
        p_RTV = np.full((*tokens_RT.shape, len(self.vocabulary)), np.nan)
        names_RC = self.names_of(tokens_RT)
        for seen in range(self.answer_start - 2, self.length - horizon):
            p_RTV[:, seen] = self._given(names_RC, seen + horizon)
        return p_RTV

    def _given(self, names_RC: np.ndarray, target: int) -> np.ndarray:
        """Distribution of the token at `target`, the map known, (R, V)."""
        p_RV = np.zeros((len(names_RC), len(self.vocabulary)))
        if target < self.answer_start:
            p_RV[:, WALK] = 1
            return p_RV
        place = target - self.answer_start
        cells = self.layout.routes.get(place, [self.layout.walk[place]])
        for cell in cells:
            p_RV[np.arange(len(p_RV)), names_RC[:, cell]] = 1 / len(cells)
        return p_RV

    def names_of(self, tokens_RT: np.ndarray) -> np.ndarray:
        """Token of each cell of the plan, recovered from the question alone, (R, C).

        Walks the map as a reader would; cells that are alike get their names in
        ascending order.
        """
        return np.stack([self._solve(row) for row in tokens_RT[:, : self.answer_start]])

    def _solve(self, question_T: np.ndarray) -> np.ndarray:
        edges = question_T[:-3].reshape(-1, 3)[:, :2]
        after: dict[int, list[int]] = {}
        before: dict[int, list[int]] = {}
        for a, b in edges.tolist():
            after.setdefault(a, []).append(b)
            before.setdefault(b, []).append(a)
        start, goal = question_T[-3:-1].tolist()
        reaching, back = {goal}, [goal]  # the cells from which a way leads to the goal
        while back:
            for cell in before.get(back.pop(), []):
                if cell not in reaching:
                    reaching.add(cell)
                    back.append(cell)
        names = np.zeros(len(self.layout.kinds), np.int64)
        names[0] = start
        children: dict[int, list[int]] = {}
        for a, b in self.layout.edges:
            children.setdefault(a, []).append(b)
        queue = [0]
        while queue:
            cell = queue.pop(0)
            next_names = sorted(after.get(int(names[cell]), []))
            next_names.sort(key=lambda name: name not in reaching)  # the way on first
            for child, name in zip(children.get(cell, []), next_names, strict=True):
                if names[child] == 0:
                    names[child] = name
                    queue.append(child)
        return names

    def problem(self, names_EC: np.ndarray) -> np.ndarray:
        """The names with cells that are alike in ascending order: the map itself."""
        ordered = names_EC.copy()
        for chains in self.layout.swaps:
            heads_EX = names_EC[:, [chain[0] for chain in chains]]
            rank_EX = np.argsort(heads_EX, axis=1)
            for step in range(len(chains[0])):
                cells = [chain[step] for chain in chains]
                values = names_EC[:, cells]
                ordered[:, cells] = np.take_along_axis(values, rank_EX, axis=1)
        return ordered

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """By horizon and role; and `walk`, the share of walks free of wrong turns.

        A walk counts when head 1 is right at every token of it but the routes, where
        any is as good as another. `blind_turns` is the share of walks that a model gets
        right which knows the map but not which arm of a turn leads on. At a last turn
        with arms of one cell it does, since the right cell is the goal.
        """
        free_RT = chosen.labels["kind"] == Kind.INCONSEQUENTIAL
        matters_RT = chosen.rows.answer_RT & ~free_RT
        right_RT = scores.correct_NRT[0][:, :-1] | ~matters_RT[:, 1:]
        walk_R = right_RT.all(axis=1)
        config = self.config
        named = config.arm == 1 and config.turns.endswith("c")
        blind = config.branches ** (named - config.turns.count("c"))
        return [
            Score.mean(chosen.suite, "walk", "", walk_R),
            Score(chosen.suite, "blind_turns", "", float(blind), len(walk_R)),
            *super().score(chosen, scores),
        ]

    def verify(self, chosen: EvaluationSet, decoded_RT: np.ndarray) -> list[Score]:
        """`verified`: the share of walks along edges of the map, from start to goal."""
        right_R = self.leads_to_goal(decoded_RT)
        return [Score.mean(chosen.suite, "verified", "", right_R)]

    def leads_to_goal(self, tokens_RT: np.ndarray) -> np.ndarray:
        """Whether the walk of each row is one through its map, from start to goal, (R,).

        Edges go one way and no way leads back, so such a walk turns round nowhere.
        """
        walk_RW = tokens_RT[:, self.answer_start :].astype(np.int64)
        start_R, goal_R = tokens_RT[:, self.answer_start - 3 : self.answer_start - 1].T
        right_R = (walk_RW[:, 0] == start_R) & (walk_RW[:, -1] == goal_R)
        base, row_R1 = len(self.vocabulary), np.arange(len(tokens_RT))[:, None]
        ends_RX = tokens_RT[:, : self.answer_start - 3].astype(np.int64)
        edge_RX = (row_R1 * base + ends_RX[:, 0::3]) * base + ends_RX[:, 1::3]
        step_RW = (row_R1 * base + walk_RW[:, :-1]) * base + walk_RW[:, 1:]
        return right_R & np.isin(step_RW, edge_RX).all(axis=1)

    def _names(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Different random names for the cells of each maze, as token ids, (E, C)."""
        order = rng.random((count, self.config.cells)).argsort(axis=1)
        return FIRST_CELL + order[:, : len(self.layout.kinds)]

    def _tokens(self, rng: np.random.Generator, names_EC: np.ndarray) -> np.ndarray:
        """Question with shuffled edges, and walk with drawn routes, (E, L)."""
        plan, count = self.layout, len(names_EC)
        ends_X2 = np.array(plan.edges)
        order_EX = rng.random((count, len(ends_X2))).argsort(axis=1)
        tokens_EL = np.empty((count, self.length), np.int64)
        every = np.arange(count)[:, None]
        for end in (0, 1):
            cells_EX = ends_X2[order_EX, end]
            tokens_EL[:, end : self.answer_start - 3 : 3] = names_EC[every, cells_EX]
        tokens_EL[:, 2 : self.answer_start - 3 : 3] = EDGE
        tokens_EL[:, self.answer_start - 4] = MAP_END
        tokens_EL[:, self.answer_start - 3] = names_EC[:, plan.walk[0]]
        tokens_EL[:, self.answer_start - 2] = names_EC[:, plan.walk[-1]]
        tokens_EL[:, self.answer_start - 1] = WALK
        tokens_EL[:, self.answer_start :] = names_EC[:, plan.walk]
        for place, cells in plan.routes.items():
            taken_E = np.array(cells)[rng.integers(0, len(cells), count)]
            tokens_EL[:, self.answer_start + place] = names_EC[every[:, 0], taken_E]
        return tokens_EL
