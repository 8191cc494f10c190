"""Tokens to states, and states to logits: what a model is besides its layers.

Untied, the rows of the embedding start at std 1, and those of the unembedding at 1 / d,
so that the first logits have std 1 / sqrt(d) and the first loss is near log V at every
width. Tied, one matrix W starts at the geometric mean of the two, std 1 / sqrt(d). Tokens
read sqrt(d) W (as in arXiv 1706.03762, section 3.4), and W / sqrt(d) unembeds, so states
and logits start at the same scales as untied ones.

Learned positions start at std 1, like the embeddings to which they are added.

Letters: K lanes, B batch, T time, D width, V vocabulary, N any axes.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from synth.config import ModelConfig
from synth.models.elementwise import fold_gain, unit_rms
from synth.models.lanes import align_lanes, lane_embedding, lane_linear
from synth.models.mixers.recurrence import Reading
from synth.models.norm import RMSNorm
from synth.models.weights import matrix


class TokenModel(nn.Module):
    """The embedding, the positions and the unembedding of K lanes.

    `context` is how many positions are learned, and needed for nothing else.
    """

    norm: RMSNorm
    """Of the states that are unembedded; the model adds it after its layers."""

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        num_lanes: int,
        context: int | None = None,
    ) -> None:
        super().__init__()
        width = config.shape.width
        self.config, self.context = config, context
        self.num_lanes, self.vocab_size = num_lanes, vocab_size
        tied = config.embeddings == "tied"
        self.token_scale = math.sqrt(width) if tied else 1.0
        """Factor of the embedding where it is read."""
        self.logit_scale = 1 / math.sqrt(width) if tied else 1.0
        """Factor of the unembedding."""
        self.embedding_KVD = matrix(
            num_lanes, vocab_size, width, std=1 / self.token_scale, maps=()
        )
        self.unembedding_KVD = self.embedding_KVD if tied else self.new_unembedding()
        self.positions_KTD: nn.Parameter | None = None
        if config.positions == "learned":
            if context is None:
                raise ValueError(
                    "A model with ModelConfig.positions 'learned' needs a context."
                )
            self.positions_KTD = matrix(num_lanes, context, width, std=1.0, maps=())

    def new_unembedding(self) -> nn.Parameter:
        """A matrix (K, V, D) from normed states to logits, small at the start."""
        width = self.config.shape.width
        return matrix(self.num_lanes, self.vocab_size, width, std=1 / width, maps=())

    def embed_tokens(self, tokens_KBT: Tensor) -> Tensor:
        """Embeddings of tokens wherever they stand, (K, B, T, D)."""
        x_KBTD = lane_embedding(tokens_KBT, self.embedding_KVD)
        return x_KBTD if self.token_scale == 1 else x_KBTD * self.token_scale

    def embed(self, tokens_KBT: Tensor, reading: Reading | None = None) -> Tensor:
        """What the trunk reads, (K, B, T, D), of tokens that stand where `reading` says.

        Without it, at the beginning of a row.

        Raises
        ------
        ValueError
            When they reach beyond the learned positions.
        """
        x_KBTD = self.embed_tokens(tokens_KBT)
        if self.positions_KTD is None:
            return x_KBTD
        reading = reading or Reading()
        time = tokens_KBT.shape[-1]
        learned = self.positions_KTD.shape[1]
        if reading.start_KB is None:
            stop = reading.start + time
            self.config.require_positions(stop, learned)
            places_T = torch.arange(reading.start, stop, device=tokens_KBT.device)
            places_KBT = places_T.expand(tokens_KBT.shape)
        else:
            # What follows the last token of the longest row is not read.
            self.config.require_positions(reading.room - 1, learned)
            places_KBT = reading.places(time).clamp(max=learned - 1)
        # A look-up, whose gradient adds up in the same order in every lane.
        return x_KBTD + lane_embedding(places_KBT, self.positions_KTD)

    def unembed(self, h_KNTD: Tensor, frozen: bool = False) -> Tensor:
        """Logits of any head's states: width to vocabulary.

        Where it is frozen, the gradient reaches the states alone.
        """
        weight_KVD = self._unembedding()
        return lane_linear(
            unit_rms(h_KNTD), weight_KVD.detach() if frozen else weight_KVD
        )

    def unembed_rows(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Logits (N, V) of each lane's own choice of states (N, D), N differing."""
        weights_KVD = align_lanes(self._unembedding())
        return [
            lane_linear(unit_rms(h_ND)[None], weight_VD[None])[0]
            for h_ND, weight_VD in zip(rows, weights_KVD, strict=True)
        ]

    def unembed_in_pieces(
        self, h_KND: Tensor, most: int
    ) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Lanes and positions, and their logits (K, N, V), up to `most` at a time.

        On a CPU each piece is of one lane, so that it can stay in the cache and does not
        depend on the other lanes; on a GPU it is of all lanes, for fewer launches.
        """
        num_lanes, count = h_KND.shape[:2]
        together = num_lanes if h_KND.is_cuda else 1
        size = max(1, most // (self.vocab_size * together))
        for first in range(0, num_lanes, together):
            lanes = slice(first, first + together)
            unit_KND = unit_rms(h_KND[lanes])
            weights_KVD = self._unembedding(lanes)
            for start in range(0, count, size):
                part = slice(start, start + size)
                yield (lanes, part), lane_linear(unit_KND[:, part], weights_KVD)

    def _unembedding(self, lanes: slice = slice(None)) -> Tensor:
        """The unembedding of unit states, (K, V, D): gain and scale folded in."""
        gain_KD = self.norm.gain_KD[lanes]
        if self.logit_scale != 1:
            gain_KD = gain_KD * self.logit_scale
        return fold_gain(self.unembedding_KVD[lanes], gain_KD)
