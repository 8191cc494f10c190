"""Sequences with known choice points (arXiv 2404.19737, section 5.1 and figure 9).

An example is a start token and one section for each entry of `consequences`:

```
tokens   >  a2 b3  1  2  3  4  C  k3 k4 k0  v1  a0 ...      branches 5, length 3
kind     .  c  c   f  f  f  f  D  =  =  =   ~   c           stretch 4, variations 1
```

- clues (c): two uniform symbols a_i b_j, from which the right branch follows,
  i + m j mod `branches`. Sections take turns with the units m, so that each section's
  rule has to be learnt for itself (with two branches 1 is the only unit);
- a forced stretch (f), counted out;
- the choice (D): the right branch, or with probability `slip` one of the others,
  uniformly. It is the one rare decision that determines what follows;
- its consequences (=): `consequences[s]` tokens, counting on from the branch taken, so
  that a wrong branch makes every one of them wrong;
- inconsequential variation (~): `variations` uniform symbols that determine nothing.

Kinds are known by construction, not inferred from losses: a variation is hard to predict
and has no consequences. Within an example everything but clues, slips and variation is
determined, so the distribution of any token given any prefix has a closed form.

Train and test are disjoint by the hash of all draws (clues, branches, variation): an
eighth of the problems is for testing, another for validation. The exact distributions are
those of the generator before this split. Sharper ones exist only for a predictor that
knows the hash, and the smallest configuration allowed has 2^16 problems.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from math import gcd
from typing import ClassVar

import numpy as np

from synth.identity import identity
from synth.metrics import Metric
from synth.tasks.exact import EXACT_METRICS, ExactTask
from synth.tasks.task import EvaluationSet, Split, TaskConfig

SMALLEST_SPACE = 1 << 16


class Kind(IntEnum):
    """What a token is, by construction."""

    START = 0
    FORCED = 1
    CLUE = 2
    CHOICE = 3
    CONSEQUENT = 4
    INCONSEQUENTIAL = 5


ROLES = (
    "forced",
    "clue",
    "choice",
    "consequent-undecided",
    "consequent-decided",
    "inconsequential",
)
"""Kind of the predicted token; a consequent is undecided until its choice is seen."""


def roles_of(kind_RT: np.ndarray, governor_RT: np.ndarray, horizon: int) -> np.ndarray:
    """Role of predicting token t+horizon at t, by number in `ROLES`; -1 beyond the row.

    `governor_RT` is the position of the choice that a consequent follows from.
    """
    role_RT = np.full(kind_RT.shape, -1)
    kind, governor = kind_RT[:, horizon:], governor_RT[:, horizon:]
    ahead = governor > np.arange(kind.shape[1])
    for number, chosen in enumerate(
        (
            kind == Kind.FORCED,
            kind == Kind.CLUE,
            kind == Kind.CHOICE,
            (kind == Kind.CONSEQUENT) & ahead,
            (kind == Kind.CONSEQUENT) & ~ahead,
            kind == Kind.INCONSEQUENTIAL,
        )
    ):
        role_RT[:, :-horizon][chosen] = number
    return role_RT


@dataclass(frozen=True, kw_only=True)
class ChoicePointsConfig(TaskConfig):
    """Follow branching texts, whose few choices decide the tokens after them."""

    kind: ClassVar[str] = "choice-points"
    metrics: ClassVar[tuple[Metric, ...]] = (
        # At choices; to guess between three branches costs 0.7 nats, between five 1.1.
        replace(EXACT_METRICS[0], learned=0.3, part="horizon=1,role=choice"),
        *EXACT_METRICS[1:],
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    branches: int = identity(5)
    """Branches of a choice, and symbols of clues and variations."""
    stretch: int = identity(4)
    """Forced tokens before each choice."""
    consequences: tuple[int, ...] = identity((1, 3, 7))
    """For each section, the tokens that its choice determines."""
    variations: int = identity(1)
    """Inconsequential tokens at the end of each section."""
    slip: float = identity(0.1)
    """Probability of a wrong branch."""

    def validate(self) -> None:
        self.check_ranges(branches=(2, 64), stretch=(0, 64), variations=(0, 16))
        self.check(
            0 < len(self.consequences) <= 64
            and min(self.consequences) >= 0
            and max(self.consequences) <= 1024,
            "consequences",
            "from 1 to 64 lengths from 0 to 1024",
        )
        self.check(0 <= self.slip < 1, "slip", "in [0, 1)")
        clues_and_variation = len(self.consequences) * (2 + self.variations)
        if self.branches**clues_and_variation < SMALLEST_SPACE:
            raise ValueError(
                f"ChoicePointsConfig has {self.branches}^{clues_and_variation} "
                f"problems, too few to hold some out; at least {SMALLEST_SPACE} are "
                "needed. Use more branches, sections or variations."
            )

    def build(self) -> "ChoicePoints":
        return ChoicePoints(self)


@dataclass(frozen=True)
class _Place:
    """One position of the layout: its kind, section and place within the section."""

    kind: Kind
    section: int = -1
    step: int = 0


class ChoicePoints(ExactTask):
    """Draws examples of one fixed layout; see the module for the conventions."""

    config: ChoicePointsConfig
    roles = ROLES
    block, test_batch = 8192, 4096

    def __init__(self, config: ChoicePointsConfig) -> None:
        self.config = config
        b = config.branches
        units = [m for m in range(1, b) if gcd(m, b) == 1] or [1]
        self.multipliers = [
            units[s % len(units)] for s in range(len(config.consequences))
        ]
        self.vocabulary = [
            "<pad>", ">",
            *(f"a{i}" for i in range(b)), *(f"b{i}" for i in range(b)),
            *(f"C{i}" for i in range(b)), *(f"k{i}" for i in range(b)),
            *(f"v{i}" for i in range(b)), *(str(i + 1) for i in range(config.stretch)),
        ]  # fmt: skip
        self.layout = self._layout()
        self.length = len(self.layout)
        self._position = {place: at for at, place in enumerate(self.layout)}

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Examples, and the draws that they show."""
        draws_ED = self._draw(rng, count)
        return self._tokens(draws_ED), draws_ED

    def labels(self, tokens_RT: np.ndarray) -> dict[str, np.ndarray]:
        """Kind, position of the choice behind it, and how much that choice determines.

        The same for every example: the layout is fixed.
        """
        kind_T = np.array([place.kind for place in self.layout])
        shape = tokens_RT.shape
        return {
            "kind": np.broadcast_to(kind_T, shape),
            "governor": np.broadcast_to(self._governors(), shape),
            "consequence": np.broadcast_to(self._consequences(), shape),
        }

    def role(self, chosen: EvaluationSet, horizon: int) -> np.ndarray:
        """See `ROLES`."""
        return roles_of(chosen.labels["kind"], chosen.labels["governor"], horizon)

    def after(self, prefix_RT: np.ndarray, horizon: int) -> np.ndarray:
        """Closed form: one where the prefix determines it, else uniform or slipping."""
        tokens_RT, seen = prefix_RT, prefix_RT.shape[1] - 1
        place, b = self.layout[seen + horizon], self.config.branches
        p_RV = np.zeros((len(tokens_RT), len(self.vocabulary)))
        first = {Kind.CLUE: 2 + place.step * b, Kind.INCONSEQUENTIAL: 2 + 4 * b}
        if place.kind == Kind.FORCED:
            p_RV[:, 2 + 5 * b + place.step] = 1
        elif place.kind in first:
            start = first[place.kind]
            p_RV[:, start : start + b] = 1 / b
        elif place.kind == Kind.CHOICE:
            p_RV[:, 2 + 2 * b : 2 + 3 * b] = self._branch(
                tokens_RT, seen, place.section
            )
        elif place.kind == Kind.CONSEQUENT:
            branch_RB = self._branch(tokens_RT, seen, place.section)
            p_RV[:, 2 + 3 * b : 2 + 4 * b] = np.roll(branch_RB, place.step + 1, axis=1)
        return p_RV

    def _branch(self, tokens_RT: np.ndarray, seen: int, section: int) -> np.ndarray:
        """p(branch of a section | tokens 0..seen), (R, B)."""
        config, b = self.config, self.config.branches
        clue_b = self._position[_Place(Kind.CLUE, section, 1)]
        choice = self._position[_Place(Kind.CHOICE, section)]
        rows = np.arange(len(tokens_RT))
        if seen >= choice:
            taken = np.zeros((len(tokens_RT), b))
            taken[rows, tokens_RT[:, choice] - (2 + 2 * b)] = 1
            return taken
        if seen < clue_b:  # b_j is uniform and m a unit: so is the right branch
            return np.full((len(tokens_RT), b), 1 / b)
        slipping = np.full((len(tokens_RT), b), config.slip / (b - 1))
        right = self.right_branch(tokens_RT, section) - (2 + 2 * b)
        slipping[rows, right] = 1 - config.slip
        return slipping

    def right_branch(self, tokens_RT: np.ndarray, section: int) -> np.ndarray:
        """Token id of the right branch of a section, by its clues, (R,)."""
        b = self.config.branches
        clue_b = self._position[_Place(Kind.CLUE, section, 1)]
        i, j = tokens_RT[:, clue_b - 1] - 2, tokens_RT[:, clue_b] - (2 + b)
        return 2 + 2 * b + (i + self.multipliers[section] * j) % b

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Clues, branches and variations of each section, (E, D)."""
        config, b = self.config, self.config.branches
        parts = []
        for multiplier in self.multipliers:
            clues_E2 = rng.integers(0, b, (count, 2))
            wrong_E = rng.random(count) < config.slip
            step_E = np.where(wrong_E, rng.integers(1, b, count), 0)
            branch_E = (clues_E2[:, 0] + multiplier * clues_E2[:, 1] + step_E) % b
            varied = rng.integers(0, b, (count, config.variations))
            parts += [clues_E2, branch_E[:, None], varied]
        return np.concatenate(parts, axis=1)

    def _tokens(self, draws_ED: np.ndarray) -> np.ndarray:
        """Token ids of examples, (E, L)."""
        b, width = self.config.branches, 3 + self.config.variations
        tokens_EL = np.empty((len(draws_ED), self.length), np.int32)
        for position, place in enumerate(self.layout):
            section_E = draws_ED[:, max(0, place.section) * width :]
            if place.kind == Kind.START:
                tokens_EL[:, position] = 1
            elif place.kind == Kind.FORCED:
                tokens_EL[:, position] = 2 + 5 * b + place.step
            elif place.kind == Kind.CLUE:
                tokens_EL[:, position] = 2 + place.step * b + section_E[:, place.step]
            elif place.kind == Kind.CHOICE:
                tokens_EL[:, position] = 2 + 2 * b + section_E[:, 2]
            elif place.kind == Kind.CONSEQUENT:
                counted_E = (section_E[:, 2] + place.step + 1) % b
                tokens_EL[:, position] = 2 + 3 * b + counted_E
            else:
                tokens_EL[:, position] = 2 + 4 * b + section_E[:, 3 + place.step]
        return tokens_EL

    def _layout(self) -> list[_Place]:
        config, places = self.config, [_Place(Kind.START)]
        for section, length in enumerate(config.consequences):
            parts = (
                (Kind.CLUE, 2),
                (Kind.FORCED, config.stretch),
                (Kind.CHOICE, 1),
                (Kind.CONSEQUENT, length),
                (Kind.INCONSEQUENTIAL, config.variations),
            )
            for kind, count in parts:
                places += [_Place(kind, section, step) for step in range(count)]
        return places

    def _governors(self) -> np.ndarray:
        """Position of the choice behind each consequent (and choice), else -1."""
        governor_T = np.full(self.length, -1)
        for position, place in enumerate(self.layout):
            if place.kind in (Kind.CHOICE, Kind.CONSEQUENT):
                choice = _Place(Kind.CHOICE, place.section)
                governor_T[position] = self._position[choice]
        return governor_T

    def _consequences(self) -> np.ndarray:
        """Length of consequence of the choice behind a position, else -1."""
        return np.array(
            [
                self.config.consequences[place.section]
                if place.kind in (Kind.CHOICE, Kind.CONSEQUENT)
                else -1
                for place in self.layout
            ]
        )
