"""Sources of known entropy: Markov chains, coupled pairs, hidden Markov models.

An example is a start token and `length` tokens of a machine whose probabilities are
drawn once, from `source_seed`, and belong to the task:

```
markov    >  s2 s0 s0 s3 ...        order 2: each depends on the two before it
hidden    >  s1 s1 s4 s0 ...        states are never shown
coupled   >  m1 a3 b0 x2 y4 m0 ...  x = table of m1 [a3, b0], slipping; y follows x
```

- markov: every context of `order` tokens has its own Dirichlet(`concentration`) next
  tokens; the example starts in the stationary distribution.
- hidden: `states` states, Dirichlet rows for moves and for emissions.
- coupled: pairs (X, Y) after a marker m and two clues. X is the entry of a random table
  of marker m, or with probability `slip` another symbol; Y is X's partner under a fixed
  permutation with probability c = `couplings[m]`, else uniform. H(X) is the same for
  all markers, I(X;Y) grows with c from 0: the place to see whether a loss on two tokens
  teaches X better where I(X;Y) is high.

All probabilities of tokens to come, given the tokens so far, are exact (filtering).
Entropies are exact too where the prefix reveals the state (markov from its `order`-th
token on, coupled); for hidden sources they are exact for each prefix.

Test sequences, and those of validation, come from random streams of their own and are not
disjoint from training by construction: what is learnt here is a distribution, not a set
of problems, and a model that memorised training sequences would score worse on new ones.
The stream never repeats, so a sequence recurs only if the source emits it twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from synth.identity import identity
from synth.metrics import Metric
from synth.seeding import generator
from synth.tasks.exact import EXACT_METRICS, ExactTask, shift_left
from synth.tasks.machines import Machine
from synth.tasks.task import EvaluationSet, Rows, Split, TaskConfig

FIRST = 2
"""Token id of the machine's token 0: after padding and the start token."""
OWN_FIELDS = {
    "markov": ("order", "concentration"),
    "hidden": ("states", "concentration"),
    "coupled": ("couplings", "slip"),
}


@dataclass(frozen=True, kw_only=True)
class SourcesConfig(TaskConfig):
    """Model Markov chains, coupled pairs and hidden Markov models of known entropies.

    One source; fields of other families must keep their defaults.
    """

    kind: ClassVar[str] = "sources"
    metrics: ClassVar[tuple[Metric, ...]] = EXACT_METRICS
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")
    seeds: ClassVar[tuple[str, ...]] = ("source_seed",)

    family: Literal["markov", "coupled", "hidden"] = identity("markov")
    """Which kind of source."""
    symbols: int = identity(6)
    """Symbols of a chain; of X, Y and each clue for coupled pairs."""
    order: int = identity(1)
    """Tokens that the next one depends on (markov)."""
    states: int = identity(4)
    """Hidden states (hidden)."""
    concentration: float = identity(0.5)
    """Concentration of the Dirichlet prior of all probabilities: small is predictable."""
    couplings: tuple[float, ...] = identity((0.0, 0.5, 1.0))
    """For each marker, how surely Y follows from X (coupled)."""
    slip: float = identity(0.1)
    """Probability that X is not the entry of the table (coupled)."""
    length: int = identity(60)
    """Tokens of an example after the start token."""
    source_seed: int = identity(0)
    """Seed of the probabilities or tables."""

    def validate(self) -> None:
        self.check_ranges(
            symbols=(2, 64), order=(1, 24), states=(2, 4096), length=(2, 1 << 16)
        )
        self.check(self.concentration > 0, "concentration", "above 0")
        self.check(
            len(self.couplings) > 0 and all(0 <= c <= 1 for c in self.couplings),
            "couplings",
            "one or more numbers from 0 to 1",
        )
        self.check(
            len(set(self.coupling_names)) == len(self.couplings),
            "couplings",
            "different in their first six digits, by which scores name them",
        )
        self.check(0 <= self.slip < 1, "slip", "in [0, 1)")
        self.check(self.source_seed >= 0, "source_seed", "at least 0")
        for family, names in OWN_FIELDS.items():
            for name in set(names) - set(OWN_FIELDS[self.family]):
                default = type(self).__dataclass_fields__[name].default
                self.check(
                    getattr(self, name) == default,
                    name,
                    f"left at {default!r}: it belongs to family {family!r}, and this "
                    f"is {self.family!r}",
                )
        size = self.num_machine_states**2 * self.symbols
        if size > 50_000_000:
            raise ValueError(
                f"SourcesConfig needs {self.num_machine_states} states, too many for "
                "exact filtering. Use fewer symbols, states or couplings, or a lower "
                "order."
            )

    @property
    def coupling_names(self) -> list[str]:
        """What scores call the markers: `coupling=0.5`."""
        return [f"coupling={c:g}" for c in self.couplings]

    @property
    def num_machine_states(self) -> int:
        """States of the machine behind the source."""
        if self.family == "markov":
            return self.symbols**self.order
        if self.family == "hidden":
            return self.states
        return 1 + len(self.couplings) * (1 + self.symbols * 3)

    def build(self) -> "Sources":
        return Sources(self)


class Sources(ExactTask):
    """Draws sequences of one machine; see the module for the conventions.

    The roles of its predictions are "token", or the parts of a coupled pair.
    """

    config: SourcesConfig
    block, test_batch = 2048, 1024

    def __init__(self, config: SourcesConfig) -> None:
        self.config = config
        self.length = config.length + 1
        rng = generator(config.source_seed, config.kind, config.family)
        k = config.symbols
        if config.family == "coupled":
            self.machine = coupled_machine(rng, k, config.couplings, config.slip)
            names = [f"m{i}" for i in range(len(config.couplings))]
            names += [f"{part}{i}" for part in "abxy" for i in range(k)]
            couplings = config.coupling_names
            self.roles = [
                "marker",
                "clue",
                *(f"X,{c}" for c in couplings),
                *(f"Y,{c}" for c in couplings),
            ]
        else:
            if config.family == "markov":
                self.machine = markov_machine(
                    rng, k, config.order, config.concentration
                )
            else:
                self.machine = hidden_machine(
                    rng, k, config.states, config.concentration
                )
            names = [f"s{i}" for i in range(k)]
            self.roles = ["token"]
        self.vocabulary = ["<pad>", ">", *names]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, None]:
        """Sequences; those of a split come from a stream that no other draws from."""
        return self._tokens(rng, count), None

    def labels(self, tokens_RT: np.ndarray) -> dict[str, np.ndarray]:
        """The part that each token is, by number in `roles`; -1 for the start token."""
        part_RT = np.zeros(tokens_RT.shape, np.int64)
        if self.config.family == "coupled":
            place_T = (np.arange(tokens_RT.shape[1]) - 1) % 5
            marker_RT = np.zeros(tokens_RT.shape, np.int64)
            for t in range(1, tokens_RT.shape[1]):
                fresh = place_T[t] == 0
                marker_RT[:, t] = (
                    tokens_RT[:, t] - FIRST if fresh else marker_RT[:, t - 1]
                )
            num = len(self.config.couplings)
            part_RT[:, (place_T == 1) | (place_T == 2)] = 1
            for place, first in ((3, 2), (4, 2 + num)):
                here = place_T == place
                part_RT[:, here] = first + marker_RT[:, here]
        part_RT[:, 0] = -1
        return {"part": part_RT}

    def role(self, chosen: EvaluationSet, horizon: int) -> np.ndarray:
        """The part that the predicted token is."""
        return shift_left(chosen.labels["part"], horizon, -1)

    def beliefs(self, tokens_RT: np.ndarray) -> np.ndarray:
        """Exact distribution over the machine's states after tokens 0..t, (R, T, S)."""
        rows = len(tokens_RT)
        start = np.broadcast_to(
            self.machine.start_S, (rows, 1, self.machine.num_states)
        )
        rest = self.machine.beliefs(tokens_RT[:, 1:] - FIRST)
        return np.concatenate([start, rest], axis=1)

    def after(self, prefix_RT: np.ndarray, horizon: int) -> np.ndarray:
        """By exact filtering."""
        p_RV = np.zeros((len(prefix_RT), len(self.vocabulary)))
        belief_RS = self.beliefs(prefix_RT)[:, -1]
        p_RV[:, FIRST:] = self.machine.ahead(belief_RS, horizon)
        return p_RV

    def distributions(self, rows: Rows, horizon: int) -> np.ndarray:
        """By one pass of exact filtering."""
        tokens_RT = rows.tokens_RT
        p_RTV = np.full((*tokens_RT.shape, len(self.vocabulary)), np.nan)
        if tokens_RT.shape[1] > horizon:
            beliefs = self.beliefs(tokens_RT)[:, :-horizon]
            p_RTV[:, :-horizon] = 0
            p_RTV[:, :-horizon, FIRST:] = self.machine.ahead(beliefs, horizon)
        return p_RTV

    def pairs(self, tokens_RT: np.ndarray) -> np.ndarray:
        """Exact joint of the next two tokens after each prefix, (R, T, V, V)."""
        size = len(self.vocabulary)
        p_RTVV = np.zeros((*tokens_RT.shape, size, size))
        p_RTVV[..., FIRST:, FIRST:] = self.machine.pairs(self.beliefs(tokens_RT))
        return p_RTVV

    def _tokens(self, rng: np.random.Generator, count: int) -> np.ndarray:
        drawn = FIRST + self.machine.sample(rng, count, self.config.length)
        return np.concatenate([np.ones((count, 1), drawn.dtype), drawn], axis=1)


def markov_machine(
    rng: np.random.Generator, symbols: int, order: int, concentration: float
) -> Machine:
    """A chain of some order; a state is the last `order` tokens, the newest last."""
    states = symbols**order
    next_SV = rng.dirichlet(np.full(symbols, concentration), states)
    transitions = np.zeros((states, symbols, states))
    state_S = np.arange(states)
    for token in range(symbols):
        transitions[state_S, token, (state_S * symbols + token) % states] = next_SV[
            :, token
        ]
    start = Machine(transitions, np.full(states, 1 / states)).stationary()
    return Machine(transitions, start)


def hidden_machine(
    rng: np.random.Generator, symbols: int, states: int, concentration: float
) -> Machine:
    """A hidden Markov model: a state emits by itself, then moves."""
    move_SS = rng.dirichlet(np.full(states, concentration), states)
    emit_SV = rng.dirichlet(np.full(symbols, concentration), states)
    transitions = emit_SV[:, :, None] * move_SS[:, None, :]
    start = Machine(transitions, np.full(states, 1 / states)).stationary()
    return Machine(transitions, start)


def coupled_machine(
    rng: np.random.Generator, symbols: int, couplings: Sequence[float], slip: float
) -> Machine:
    """Marker, two clues, X from the marker's table, Y from X; then the next marker.

    States: 0 before a marker; after marker m; after (m, a); before X with the entry d
    of the table known; before Y with X known.
    """
    k, num = symbols, len(couplings)
    tables = rng.integers(0, k, (num, k, k))
    partner = rng.permutation(k)
    clue_a, clue_b, first_x, first_y = (num + i * k for i in range(4))
    states = 1 + num * (1 + k * 3)
    transitions = np.zeros((states, num + 4 * k, states))
    for m, coupling in enumerate(couplings):
        after_marker = 1 + m
        transitions[0, m, after_marker] = 1 / num
        y_V = np.full((k, k), (1 - coupling) / k)
        y_V[np.arange(k), partner] += coupling
        for a in range(k):
            after_a = 1 + num + m * k + a
            transitions[after_marker, clue_a + a, after_a] = 1 / k
            for b in range(k):
                entry = _before_x(k, num, m, int(tables[m, a, b]))
                transitions[after_a, clue_b + b, entry] = 1 / k
        for d in range(k):
            x_V = np.full(k, slip / (k - 1))
            x_V[d] = 1 - slip
            for x in range(k):
                before_y = _before_x(k, num, m, d=x) + num * k
                transitions[_before_x(k, num, m, d), first_x + x, before_y] = x_V[x]
            transitions[_before_x(k, num, m, d) + num * k, first_y : first_y + k, 0] = (
                y_V[d]
            )
    start = np.zeros(states)
    start[0] = 1
    return Machine(transitions, start)


def _before_x(symbols: int, num: int, marker: int, d: int) -> int:
    """State before X whose table entry is d."""
    return 1 + num * (1 + symbols) + marker * symbols + d
