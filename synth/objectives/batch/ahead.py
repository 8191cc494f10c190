"""What lies ahead of each position of a row. Letters: K lanes, B batch, T time."""

import torch
from torch import Tensor


def shifted(values_KBT: Tensor, ahead: int) -> Tensor:
    """Entry t holds what stood at t+ahead, 0 (or false) beyond both ends of the row."""
    result = torch.zeros_like(values_KBT)
    time = values_KBT.shape[-1]
    if 0 <= ahead < time:
        result[..., : time - ahead] = values_KBT[..., ahead:]
    elif -time < ahead < 0:
        result[..., -ahead:] = values_KBT[..., :ahead]
    return result


def same_example(example_KBT: Tensor, ahead: int) -> Tensor:
    """Whether position t+ahead lies in the row and example of t; never in padding."""
    return (shifted(example_KBT, ahead) == example_KBT) & (example_KBT > 0)


def is_scored(
    example_KBT: Tensor, answer_KBT: Tensor, ahead: int, scored: str
) -> Tensor:
    """Whether t+ahead lies in the example of t and, if `scored` is "answer", in its answer.

    `scored`: see `ObjectiveConfig.scored`.
    """
    inside_KBT = same_example(example_KBT, ahead)
    return inside_KBT & shifted(answer_KBT, ahead) if scored == "answer" else inside_KBT


def next_places(tokens_KBT: Tensor, vocab_size: int) -> Tensor:
    """Where each token of the vocabulary comes next after t, (K, B, T, V).

    A running minimum from the right; 2 T + 1 where it does not come again in the row.
    """
    time = tokens_KBT.shape[-1]
    never = 2 * time + 1
    at_T1 = torch.arange(time, device=tokens_KBT.device)[:, None]
    shape = (*tokens_KBT.shape, vocab_size)
    place_KBTV = torch.full(shape, never, device=tokens_KBT.device)
    place_KBTV.scatter_(-1, tokens_KBT[..., None], at_T1.expand(*tokens_KBT.shape, 1))
    next_KBTV = place_KBTV.flip(-2).cummin(-2).values.flip(-2)
    last_KB1V = torch.full_like(next_KBTV[..., :1, :], never)
    return torch.cat((next_KBTV[..., 1:, :], last_KB1V), -2)


def example_ends(example_KBT: Tensor) -> Tensor:
    """The last position of the example (or padding) that holds t, (K, B, T)."""
    time = example_KBT.shape[-1]
    at_T = torch.arange(time, device=example_KBT.device)
    # Examples are contiguous: that of t ends where the number changes next.
    ends_KBT = shifted(example_KBT, 1) != example_KBT
    end_KBT = torch.where(ends_KBT, at_T, 2 * time + 1)
    return end_KBT.flip(-1).cummin(-1).values.flip(-1)
