"""Satisfiability: an assignment that makes every clause of a random 3-SAT formula true.

Four variables and five clauses; -2 is "not x2", a clause needs one true literal:

```
tokens    1 -2 4 | -1 2 3 | 2 3 -4 | -1 -3 4 | -2 3 4 = 1 -2 3 4
          clauses: three literals in ascending order    answer: a literal a variable
```

- Signed literals are single tokens. The answer names every variable in turn, true as
  itself or false as its negation, so it always has as many tokens as there are variables.
- Clauses in arXiv 2410.14157: the row lengths of its scripts, 258, 285 and 325 tokens for
  5, 7 and 9 variables, fit 41, 45 and 51 clauses of 6 characters. Those are 4.258 n +
  58.26 n^(-2/3), a fit to the threshold of larger formulas. By default there are 21, 30
  and 38, the limit of large n; a `ratio` of 5.67 gives 51.
- A formula has round(`ratio` x variables) clauses, each of three different variables
  with fair signs, drawn independently. Formulas that nothing satisfies are left out; the
  others are uniform. No assignment is planted: planting one makes its literals the
  commoner ones, and a majority vote then knows half of the answer.
- The answer that is shown is one of all that satisfy, uniformly; whatever satisfies is
  right. `verified` is the share of formulas that a decoded answer satisfies, `clauses`
  the mean share of clauses. (A public scorer compares with the one answer shown.)
- All assignments are tried when a formula is drawn, so `random_floor` is exact: the share
  of assignments that satisfy, mean over the test set. `clauses` has floor 7/8.
- `majority` is what counting alone achieves: every variable as it occurs more often,
  true if equally often. Compare with it before calling a score planning.

Measured over 2,000 test formulas (the share that is satisfiable, over 12,000 or more):

    variables                       5       7       9      12
    clauses                        21      30      38      51
    satisfiable, before the split 85 %    80 %    80 %    76 %
    random_floor                0.070   0.023  0.0079  0.0015
    majority                     0.29    0.16    0.11    0.04
    one assignment satisfies     33 %    27 %    21 %    16 %

Of 51 clauses of 9 variables 31 % are satisfiable, `random_floor` is 0.0035, `majority`
0.06, and one assignment satisfies in 57 %.

Train and test are disjoint by the hash of the sorted clauses: an eighth of the formulas
is for testing, another for validation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from synth.identity import identity
from synth.metrics import Metric, Score
from synth.tasks.questions import MAX_POOL, QuestionTask
from synth.tasks.task import (
    EvaluationSet,
    Split,
    TaskConfig,
    TokenScores,
    prediction_scores,
)

CLAUSE_END, EQUALS, FIRST_LITERAL = 1, 2, 3
LITERALS = 3
"""Literals of a clause."""


@dataclass(frozen=True, kw_only=True)
class SatConfig(TaskConfig):
    """Satisfy random 3-SAT formulas."""

    kind: ClassVar[str] = "sat"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("verified", "share", "higher", "random_floor", 1.0, learned=0.75),
        Metric("clauses", "share", "higher", floor=0.875, ceiling=1.0),
        Metric("random_floor", "share", None, floor=0.0, ceiling=1.0),
        Metric("majority", "share", None, floor=0.0, ceiling=1.0),
        Metric("accuracy", "share", "higher", floor=0.0),
        Metric("loss", "nats", "lower", floor="loss_floor"),
        Metric("loss_floor", "nats", None, floor=0.0),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    variables: int = identity(9)
    """Variables of a formula."""
    ratio: float = identity(4.26)
    """Clauses for each variable; large formulas stop being satisfiable at 4.26."""
    pool: int = identity(0)
    """Formulas to train on, again and again; 0 draws new ones for ever."""

    def validate(self) -> None:
        self.check_ranges(variables=(4, 12), ratio=(1, 6), pool=(0, MAX_POOL))

    @property
    def num_clauses(self) -> int:
        """Clauses of a formula."""
        return round(self.ratio * self.variables)

    def build(self) -> "Sat":
        return Sat(self)


class Sat(QuestionTask):
    """Draws satisfiable formulas; see the module for the conventions.

    Letters: V variables, C clauses, I literals of a clause, S assignments. A literal is
    its variable, plus V if it is negated; assignment s makes variable v true if bit v
    of s is set.
    """

    def __init__(self, config: SatConfig) -> None:
        super().__init__()
        self.config: SatConfig = config
        self.pool = config.pool
        names = [str(1 + variable) for variable in range(config.variables)]
        self.vocabulary = ["<pad>", "|", "=", *names, *(f"-{name}" for name in names)]
        self.answer_start = (LITERALS + 1) * config.num_clauses
        self.length = self.answer_start + config.variables
        bit_V1 = np.arange(config.variables)[:, None]
        true_VS = (np.arange(1 << config.variables) >> bit_V1 & 1).astype(bool)
        self._true_LB = np.packbits(np.concatenate([true_VS, ~true_VS]), axis=1)
        """Under which assignments each literal is true, eight to a byte."""

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The satisfiable ones of `count` random formulas, with a uniform answer."""
        variables, clauses = self.config.variables, self.config.num_clauses
        order = rng.random((count, clauses, variables)).argsort(axis=2)
        variable_ECI = np.sort(order[:, :, :LITERALS], axis=2)
        negated_ECI = rng.integers(0, 2, variable_ECI.shape)
        literal_ECI = variable_ECI + variables * negated_ECI
        satisfied_ES = self.satisfied(literal_ECI)
        number_E = satisfied_ES.sum(axis=1)
        rank_E = (rng.random(count) * number_E).astype(np.int64) + 1
        kept_E = number_E > 0
        chosen_ES = satisfied_ES.cumsum(axis=1, dtype=np.int16) == rank_E[:, None]
        answer_E = chosen_ES.argmax(axis=1)[kept_E]
        literal_ECI = literal_ECI[kept_E]
        code_EC = literal_ECI @ np.array([4 * variables**2, 2 * variables, 1])
        tokens_EL = np.full((len(answer_E), self.length), CLAUSE_END, np.int16)
        for place in range(LITERALS):
            tokens_EL[:, place : self.answer_start : LITERALS + 1] = (
                FIRST_LITERAL + literal_ECI[:, :, place]
            )
        tokens_EL[:, self.answer_start - 1] = EQUALS
        variable_V = np.arange(variables)
        false_EV = 1 - (answer_E[:, None] >> variable_V & 1)
        tokens_EL[:, self.answer_start :] = (
            FIRST_LITERAL + variable_V + variables * false_EV
        )
        return tokens_EL, np.sort(code_EC, axis=1)

    def satisfied(self, literal_ECI: np.ndarray) -> np.ndarray:
        """Whether each assignment satisfies each formula, (E, S)."""
        found_EB = np.full((len(literal_ECI), self._true_LB.shape[1]), 255, np.uint8)
        for literal_EI in literal_ECI.transpose(1, 0, 2):
            clause_EB = self._true_LB[literal_EI[:, 0]]
            for place in range(1, LITERALS):
                clause_EB |= self._true_LB[literal_EI[:, place]]
            found_EB &= clause_EB
        return np.unpackbits(found_EB, axis=1)[:, : 1 << self.config.variables].view(
            bool
        )

    def literals(self, tokens_RT: np.ndarray) -> np.ndarray:
        """The clauses of each row, (R, C, I)."""
        question_RT = tokens_RT[:, : self.answer_start].astype(np.int64)
        clause_RCF = question_RT.reshape(len(tokens_RT), -1, LITERALS + 1)
        return clause_RCF[:, :, :LITERALS] - FIRST_LITERAL

    def labels(self, tokens_RT: np.ndarray) -> dict[str, np.ndarray]:
        """The references of each formula."""
        return {
            "random_floor": self.satisfied(self.literals(tokens_RT)).mean(axis=1),
            "majority": self.judge(self.by_majority(tokens_RT)).all(axis=1),
        }

    def by_majority(self, tokens_RT: np.ndarray) -> np.ndarray:
        """The rows, answered by the commoner literal of each variable."""
        variable_V = np.arange(self.config.variables)
        literal_RX = self.literals(tokens_RT).reshape(len(tokens_RT), -1)
        sign_RX, variable_RX = np.divmod(literal_RX, self.config.variables)
        here_RXV = variable_RX[:, :, None] == variable_V
        negated_RV = (here_RXV * (2 * sign_RX - 1)[:, :, None]).sum(axis=1) > 0
        found_RT = tokens_RT.copy()
        found_RT[:, self.answer_start :] = (
            FIRST_LITERAL + variable_V + self.config.variables * negated_RV
        )
        return found_RT

    def describe(self, tokens_L: np.ndarray) -> Mapping[str, Any]:
        """How many assignments satisfy, and one of them."""
        (share,) = self.satisfied(self.literals(tokens_L[None])).mean(axis=1)
        answer = [self.vocabulary[token] for token in tokens_L[self.answer_start :]]
        satisfying = round(share * (1 << self.config.variables))
        return {"satisfying": satisfying, "assignment": " ".join(answer)}

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """The references, and each prediction of the assignment that is shown.

        That is one of s, uniformly, so its loss is at least log s over its variables.
        """
        variables, share_R = self.config.variables, chosen.labels["random_floor"]
        floor = float(np.log(share_R).mean()) / variables + np.log(2)
        return [
            Score(chosen.suite, "loss_floor", "horizon=1", floor, len(share_R)),
            *(
                Score.mean(chosen.suite, name, "", value_R)
                for name, value_R in chosen.labels.items()
            ),
            *prediction_scores(chosen, scores, answers=True),
        ]

    def verify(self, chosen: EvaluationSet, decoded_RT: np.ndarray) -> list[Score]:
        """`verified` and `clauses`: formulas and clauses that the answers satisfy."""
        true_RC = self.judge(decoded_RT)
        values = {"verified": true_RC.all(axis=1), "clauses": true_RC.mean(axis=1)}
        return [
            Score.mean(chosen.suite, name, "", value_R)
            for name, value_R in values.items()
        ]

    def judge(self, tokens_RT: np.ndarray) -> np.ndarray:
        """Whether each answer satisfies each clause, (R, C).

        An answer that does not name every variable in turn satisfies none.
        """
        variables = self.config.variables
        answer_RV = tokens_RT[:, self.answer_start :].astype(np.int64) - FIRST_LITERAL
        sign_RV, variable_RV = np.divmod(answer_RV, variables)
        named_RV = (variable_RV == np.arange(variables)) & (answer_RV >= 0)
        # Literals are true where the answer holds them: first all of one sign.
        true_RL = np.concatenate([sign_RV == 0, sign_RV == 1], axis=1)
        true_RCI = np.take_along_axis(
            true_RL[:, None, :], self.literals(tokens_RT), axis=2
        )
        found_RC: np.ndarray = true_RCI.any(axis=2) & named_RV.all(axis=1)[:, None]
        return found_RC
