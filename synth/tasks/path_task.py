r"""Paths on one fixed graph: rows `s t s a b .. t \n`, scores, verification.

What `graph-paths`, `blocksworld` and `navigation` share. The graph is never shown: a model
learns its edges, and which nodes lead to which, from the training rows alone. Asked
`s t`, it decodes greedily until `\n`; any path along true edges from s to t is a right
answer.

```
tokens   s  t  s  a  b  t  \n         one token a node, one example a row
answer   -  -  x  x  x  x  x
```

A row holds one example, padded to the context. In a row of several examples, the decoder
would have to tell the target of this one from those of its neighbours, which a trunk of
one layer cannot do (2 % of the paths were valid after the steps that gave 39 %).

Letters in names: N nodes, P paths or pairs, X places of a path, R rows, T positions.
"""

from collections.abc import Sequence

import numpy as np

from synth.metrics import Metric, Score
from synth.seeding import generator
from synth.tasks.exact import problem_hash
from synth.tasks.packing import PADDING
from synth.tasks.task import (
    SIDES,
    EvaluationSet,
    Rows,
    Sample,
    Split,
    Task,
    TokenScores,
    prediction_scores,
)
from synth.tasks.walks import OUTSIDE, Paths, blind_walks, degrees

END, FIRST_NODE = 1, 2
BLOCK = 8192
"""Examples in a block of the training stream."""
DEGREES = range(4)
FAILURES = ("wrong_start", "not_an_edge", "misses_target")
PATH_METRICS = (
    Metric("valid_path", "share", "higher", "blind_walk", 1.0, learned=0.75),
    Metric("blind_walk", "share", None, floor=0.0, ceiling=1.0),
    *(Metric(name, "share", "lower", floor=0.0, ceiling=1.0) for name in FAILURES),
    Metric("accuracy", "share", "higher", floor=0.0),
    Metric("loss", "nats", "lower"),
)
"""What every task of paths measures. Most pairs have several paths, and teacher-forced
scores count one of them as right, so their optimum is unknown."""


def split_pairs(
    pairs_P2: np.ndarray, seed: int, trained: float
) -> tuple[np.ndarray, dict[Split, np.ndarray]]:
    """Pairs for training, and those held out for each split, in the order of a hash.

    The share `trained` of all pairs is for training; of the others, one in eight is for
    validation and the rest for testing. Runs of both splits train on the same pairs.
    """
    seed_P1 = np.full((len(pairs_P2), 1), seed)
    hash_P = problem_hash(np.hstack([seed_P1, pairs_P2]))
    ordered_P2 = pairs_P2[np.argsort(hash_P, kind="stable")]
    first = round(trained * len(ordered_P2))
    second = first + (len(ordered_P2) - first) // SIDES
    return ordered_P2[:first], {
        "validation": ordered_P2[first:second],
        "test": ordered_P2[second:],
    }


class PathTask(Task):
    """Rows, scores and verification of paths on a graph that a configuration built."""

    end_token = END

    def __init__(
        self,
        kind: str,
        names: Sequence[str],
        edge_NN: np.ndarray,
        trained: Paths,
        held_out: dict[Split, Paths],
        longest: int,
    ) -> None:
        self._kind = kind
        self.vocabulary = ("_", "\\n", *names)
        self.edge_NN = edge_NN
        self.trained = trained
        self._held_out = held_out
        self._longest = longest
        self._rows = self.rows_of(trained)

    def rows_of(self, paths: Paths) -> Rows:
        r"""One example `s t s a b .. t \n` a row, padded to the longest."""
        width = self._longest + 3
        tokens_RT = np.full((len(paths), width), PADDING, np.int32)
        tokens_RT[:, :2] = paths.pairs_P2 + FIRST_NODE
        tokens_RT[:, 2 : 2 + paths.nodes_PX.shape[1]] = np.where(
            paths.nodes_PX == OUTSIDE, PADDING, paths.nodes_PX + FIRST_NODE
        )
        return ended_rows(tokens_RT, 2 + paths.lengths_P)

    def train_rows(self, data_seed: int, block: int, context: int) -> Rows:
        """Uniform draws, with replacement, from the fixed training rows."""
        missing = context - self._rows.tokens_RT.shape[1]
        if missing < 0:
            raise ValueError(
                f"context must hold a whole example; got context {context}. Use "
                f"{context - missing}, the longest possible row."
            )
        rng = generator(data_seed, self._kind, "train", block)
        chosen = self._rows[rng.integers(0, len(self._rows), BLOCK)]
        parts = (chosen.tokens_RT, chosen.example_RT, chosen.answer_RT)
        return Rows(*(np.pad(part, ((0, 0), (0, missing))) for part in parts))

    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """Held-out pairs in the order of their hash, with degree and blind walk.

        Nobody trains on the pairs of validation, so a run of the test split measures
        them as well: they may choose a step.
        """
        splits: list[Split] = ["validation"]
        if self.split == "test":
            splits.insert(0, "test")
        degree_NN = degrees(self.trained, len(self.edge_NN))
        blind_NN = blind_walks(self.edge_NN, self._longest)
        sets = []
        for split in splits:
            paths = Paths(self._held_out[split].nodes_PX[:examples])
            pairs = tuple(paths.pairs_P2.T)
            labels = {"degree": degree_NN[pairs], "blind_walk": blind_NN[pairs]}
            sets.append(EvaluationSet(split, self.rows_of(paths), labels))
        return sets

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Loss and accuracy of each prediction on the answer that was drawn."""
        return prediction_scores(chosen, scores, answers=True)

    def verify(self, chosen: EvaluationSet, decoded_RT: np.ndarray) -> list[Score]:
        """Shares of valid paths and blind walks, by degree too, and of each failure."""
        failure_R = self.failures(decoded_RT)
        values = {
            "valid_path": failure_R < 0,
            "blind_walk": chosen.labels["blind_walk"],
        }
        degree_R = chosen.labels["degree"]
        inside = {"": np.ones(len(degree_R), bool)}
        inside |= {f"degree={degree}": degree_R == degree for degree in DEGREES}
        found = [
            Score.mean(chosen.suite, name, label, value_R[in_R])
            for name, value_R in values.items()
            for label, in_R in inside.items()
            if in_R.any()
        ]
        for number, name in enumerate(FAILURES):
            found.append(Score.mean(chosen.suite, name, "", failure_R == number))
        return found

    def failures(self, tokens_RT: np.ndarray) -> np.ndarray:
        """Number of the first of `FAILURES` in each answer, -1 if it is valid, (R,).

        An answer that starts at s and has a wrong step before its end is
        `not_an_edge`; one that ends elsewhere than at t, or not at all, `misses_target`.
        """
        source_R, target_R = tokens_RT[:, :2].T
        answer_RX = tokens_RT[:, 2:]
        ended_RX = np.cumsum(answer_RX == END, axis=1) > 0
        length_R = (~ended_RX).sum(1)
        node_RX = np.where(answer_RX >= FIRST_NODE, answer_RX - FIRST_NODE, OUTSIDE)
        here_RX, next_RX = node_RX[:, :-1], node_RX[:, 1:]
        edge_RX = self.edge_NN[here_RX, next_RX] & (here_RX >= 0) & (next_RX >= 0)
        last_R = answer_RX[np.arange(len(answer_RX)), np.maximum(length_R, 1) - 1]
        wrong = {
            "wrong_start": answer_RX[:, 0] != source_R,
            "not_an_edge": (~edge_RX & ~ended_RX[:, 1:]).any(1),
            "misses_target": (last_R != target_R) | ~ended_RX[:, -1],
        }
        return np.select([wrong[name] for name in FAILURES], range(len(FAILURES)), -1)

    def read_question(self, question: Sequence[int]) -> EvaluationSet:
        """Two nodes: where a path begins, and where it should end."""
        nodes = range(FIRST_NODE, FIRST_NODE + len(self.edge_NN))
        if len(question) != 2 or not set(question) <= set(nodes):
            raise ValueError("A question of this task is two nodes: from and to.")
        tokens_1T = np.full_like(self._rows.tokens_RT[:1], PADDING)
        tokens_1T[0, :2] = question
        inside_1T = np.ones_like(tokens_1T)
        answer_1T = np.arange(tokens_1T.shape[1])[None] >= 2
        labels = {"degree": np.zeros(1), "blind_walk": np.zeros(1)}
        return EvaluationSet("asked", Rows(tokens_1T, inside_1T, answer_1T), labels)

    def samples(self, seed: int, count: int) -> list[Sample]:
        """Training rows, as the model reads them and as a path."""
        rng = generator(seed, self._kind, "samples")
        chosen = rng.integers(0, len(self.trained), count)
        rows, found = self._rows[chosen], []
        for row, nodes in enumerate(self.trained.nodes_PX[chosen].tolist()):
            path = [self.vocabulary[FIRST_NODE + n] for n in nodes if n != OUTSIDE]
            inside = rows.example_RT[row] > 0
            tokens = [self.vocabulary[i] for i in rows.tokens_RT[row, inside]]
            record = {"tokens": tokens, "path": path, "split": "train"}
            answer = rows.answer_RT[row, inside].tolist()
            text = f"{path[0]} to {path[-1]}: {' > '.join(path)}"
            found.append(Sample(record, tokens, answer, text))
        return found


def ended_rows(tokens_RT: np.ndarray, lengths_R: np.ndarray) -> Rows:
    r"""Rows of `lengths_R` tokens and `\n`; all after the question is the answer."""
    place_T, end_R1 = np.arange(tokens_RT.shape[1]), lengths_R[:, None]
    np.put_along_axis(tokens_RT, end_R1, END, axis=1)
    inside_RT = place_T <= end_R1
    answer_RT = inside_RT & (place_T >= 2)
    return Rows(tokens_RT, inside_RT.astype(np.int32), answer_RT)
