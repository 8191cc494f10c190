"""Finite machines that emit tokens: exact filtering, prediction and entropies in nats.

A machine in state s emits token v and moves to state s' with probability T[s, v, s'].
Markov chains of any order (the state is the last tokens), coupled pairs and hidden
Markov models are all machines. Given a prefix, what matters is the belief, the exact
distribution over states.

Letters in names: S states, V tokens, R rows, T positions; B stands for beliefs.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Information:
    """Entropies of X, the next token, and Y, the one after, given the prefix; in nats.

    H(X) = H(X|Y) + I(X;Y), and H(X) + H(Y) = H(X|Y) + 2 I(X;Y) + H(Y|X).
    """

    x: float
    y: float
    joint: float

    @property
    def mutual(self) -> float:
        """I(X;Y) = H(X) + H(Y) - H(X,Y)."""
        return self.x + self.y - self.joint

    @property
    def x_given_y(self) -> float:
        """H(X|Y) = H(X,Y) - H(Y)."""
        return self.joint - self.y

    @property
    def y_given_x(self) -> float:
        """H(Y|X) = H(X,Y) - H(X)."""
        return self.joint - self.x


class Machine:
    """Transitions T[s, v, s'], and the belief before the first token."""

    def __init__(self, transitions_SVS: np.ndarray, start_S: np.ndarray) -> None:
        total = transitions_SVS.sum((1, 2))
        assert np.allclose(total, 1), "probabilities of a state must sum to 1"
        self.transitions_SVS = transitions_SVS
        self.start_S = start_S
        self.emission_SV = transitions_SVS.sum(2)
        self.step_SS = transitions_SVS.sum(1)
        self.num_states, self.num_tokens = self.emission_SV.shape

    def sample(self, rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
        """Independent sequences, (R, T)."""
        move_SM, cumulative_SM = self._moves()
        state_R = np.searchsorted(self.start_S.cumsum(), rng.random(rows), side="right")
        state_R = state_R.clip(max=self.num_states - 1)
        tokens_RT = np.empty((rows, length), np.int32)
        for t in range(length):
            # The last cumulative sum may fall short of 1 by rounding.
            drawn_R = rng.random(rows) * cumulative_SM[state_R, -1]
            place_R = (cumulative_SM[state_R] <= drawn_R[:, None]).sum(1)
            moved_R = move_SM[state_R, place_R]
            tokens_RT[:, t], state_R = np.divmod(moved_R, self.num_states)
        return tokens_RT

    def _moves(self) -> tuple[np.ndarray, np.ndarray]:
        """Possible moves of each state and their cumulative probabilities, (S, M).

        A move is token and next state as one number; short rows are filled up with
        moves of probability 0.
        """
        flat = self.transitions_SVS.reshape(self.num_states, -1)
        most = int((flat > 0).sum(1).max())
        move_SM = np.argsort(flat == 0, axis=1, kind="stable")[:, :most]
        return move_SM, np.take_along_axis(flat, move_SM, axis=1).cumsum(1)

    def beliefs(self, tokens_RT: np.ndarray) -> np.ndarray:
        """Exact distribution over states after tokens 0..t, (R, T, S).

        Raises `ValueError` for a sequence that the machine cannot emit.
        """
        rows, length = tokens_RT.shape
        beliefs_RTS = np.empty((rows, length, self.num_states))
        belief_RS = np.broadcast_to(self.start_S, (rows, self.num_states))
        by_token_VSS = self.transitions_SVS.transpose(1, 0, 2)
        for t in range(length):
            next_RS = np.empty((rows, self.num_states))
            for token in np.unique(tokens_RT[:, t]):
                here = tokens_RT[:, t] == token
                next_RS[here] = belief_RS[here] @ by_token_VSS[token]
            mass_R = next_RS.sum(1, keepdims=True)
            if not (mass_R > 0).all():
                row = int((mass_R[:, 0] <= 0).argmax())
                raise ValueError(
                    f"The source cannot emit token {tokens_RT[row, t]} at position {t} "
                    f"of row {row}."
                )
            belief_RS = next_RS / mass_R
            beliefs_RTS[:, t] = belief_RS
        return beliefs_RTS

    def ahead(self, beliefs_BS: np.ndarray, horizon: int) -> np.ndarray:
        """Distribution of the token `horizon` places on, (..., V)."""
        for _ in range(horizon - 1):
            beliefs_BS = beliefs_BS @ self.step_SS
        return beliefs_BS @ self.emission_SV

    def pairs(self, beliefs_BS: np.ndarray) -> np.ndarray:
        """Joint distribution of the next two tokens, (..., V, V)."""
        after_SVV = self.transitions_SVS @ self.emission_SV
        return np.tensordot(beliefs_BS, after_SVV, 1)

    def stationary(self) -> np.ndarray:
        """The distribution over states that a step leaves as it is, (S,)."""
        equations = np.vstack(
            [self.step_SS.T - np.eye(self.num_states), np.ones(self.num_states)]
        )
        right = np.append(np.zeros(self.num_states), 1.0)
        solution: np.ndarray = np.linalg.lstsq(equations, right, rcond=None)[0]
        return solution.clip(min=0) / solution.clip(min=0).sum()


def entropy(p_V: np.ndarray) -> np.ndarray:
    """-sum p log p over the last axis in nats, with 0 log 0 = 0."""
    logs = np.log(p_V, out=np.zeros_like(p_V), where=p_V > 0)
    return -(p_V * logs).sum(-1)


def mean_information(pairs_BVV: np.ndarray, weights_B: np.ndarray) -> Information:
    """Average over prefixes of the entropies of exact pair distributions."""
    share_B = weights_B / weights_B.sum()
    joint_B = entropy(pairs_BVV.reshape(len(pairs_BVV), -1))
    return Information(
        x=float(share_B @ entropy(pairs_BVV.sum(2))),
        y=float(share_B @ entropy(pairs_BVV.sum(1))),
        joint=float(share_B @ joint_B),
    )
