"""The exact joint distribution of the next tokens, by the chain rule; for small cases."""

import numpy as np


def continuations(task, prefix, length):
    """Probability of every sequence of `length` tokens after `prefix` that is possible."""
    chances = {(): 1.0}
    for _ in range(length):
        tails = list(chances)
        next_EV = task.after(np.array([[*prefix, *tail] for tail in tails]), 1)
        chances = {
            (*tail, int(token)): chances[tail] * float(next_V[token])
            for tail, next_V in zip(tails, next_EV, strict=True)
            for token in np.flatnonzero(next_V > 0)
        }
    return chances
