"""Accuracy by position: how often a prediction is right of the first, second, ... token.

All tasks measure it alike. A score is of one position, or of several that share a bin;
bins do not depend on the rows, so scores of short and long rows can be compared.

Letters in names: R rows, T positions in a row, S targets in a flat sequence, P bins.
"""

import numpy as np

from synth.metrics import Score
from synth.objectives.declarations import Prediction

BINS = (*range(1, 17), *(n << k for k in range(3, 15) for n in (3, 4)))
"""The last position of each bin: 1 to 16 one by one, then 24, 32, 48, 64, ..., 65536."""


def number_positions(example_RT: np.ndarray, counted_RT: np.ndarray) -> np.ndarray:
    """How many counted tokens of its example stand up to each token, (R, T).

    >>> number_positions(np.array([[1, 1, 1, 2, 2]]), np.array([[0, 1, 1, 1, 1]]))
    array([[0, 1, 2, 1, 2]])
    """
    total_RT = counted_RT.cumsum(axis=1)
    begins_RT = np.diff(example_RT, axis=1, prepend=0) != 0
    before_RT = np.where(begins_RT, total_RT - counted_RT, 0)
    return total_RT - np.maximum.accumulate(before_RT, axis=1)


def position_scores(
    suite: str,
    prediction: Prediction,
    position_RT: np.ndarray,
    correct_RT: np.ndarray,
    scored_RT: np.ndarray,
) -> list[Score]:
    """Accuracy of one prediction in each bin that holds a target.

    `correct_RT` and `scored_RT` are about the prediction made at each token, and
    `position_RT` numbers the tokens. `horizon=2,position=3` is the second head's
    prediction of the third token, `position=24` is of tokens 17 to 24.
    """
    row_S, at_S = scored_RT[:, : -prediction.offset].nonzero()
    bin_S = np.searchsorted(BINS, position_RT[row_S, at_S + prediction.offset])
    count_P = np.bincount(bin_S)
    hits_P = np.bincount(bin_S, correct_RT[row_S, at_S])
    return [
        Score(
            suite,
            "accuracy",
            f"{prediction.label},position={BINS[place]}",
            float(hits_P[place] / count_P[place]),
            int(count_P[place]),
        )
        for place in count_P.nonzero()[0].tolist()
    ]
