"""The contract between models and those who use them: what a predictor offers.

Objectives and evaluation know a model by this protocol alone. Letters: K lanes, B batch,
T time, D width, V vocabulary, N positions.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.nn import functional


class Predictor(Protocol):
    """K lanes of a model that predicts tokens t+1 ... t+horizon at each position t."""

    num_lanes: int
    horizon: int
    vocab_size: int

    def run_trunk(self, tokens_KBT: Tensor) -> Tensor:
        """State that all heads share, (K, B, T, D)."""
        ...

    def children_of(self, head: int | None) -> list[int]:
        """The heads (1..n) that stand on `head`, or on the trunk (`None`)."""
        ...

    def run_head(self, head: int, x_KBTD: Tensor) -> Tensor:
        """State of a head from the state that it stands on."""
        ...

    def head_states(self, z_KBTD: Tensor) -> list[Tensor]:
        """States of heads 1..n over a trunk output."""
        ...

    def unembed(self, h_KNTD: Tensor) -> Tensor:
        """Logits over the vocabulary from any head's states."""
        ...

    def unembed_rows(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Logits (N, V) of each lane's own choice of states (N, D), N differing."""
        ...

    def unembed_in_pieces(
        self, h_KND: Tensor, most: int
    ) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Lanes and positions, and their logits (K, N, V), up to `most` at a time."""
        ...

    def start_decoding(self) -> Any:
        """An empty cache for `decode`."""
        ...

    def decode(self, tokens_KBT: Tensor, cache: Any) -> Tensor:
        """Next-token logits (K, B, V) after these tokens, which join the cache."""
        ...


def token_losses(logits_KNV: Tensor, targets_KN: Tensor) -> Tensor:
    """-log p of each target in nats, computed in fp32, (K, N)."""
    flat = functional.cross_entropy(
        logits_KNV.flatten(0, 1).float(), targets_KN.flatten(), reduction="none"
    )
    return flat.view_as(targets_KN)
