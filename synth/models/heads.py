"""The whole model: embedding, trunk, one prediction head per horizon, one unembedding.

Arrangements of the heads (arXiv 2404.19737, sections 2 and B), h_i the state of head i
and f_i its layer, z the trunk's output; logits_i = unembed(norm(h_i)):

```
parallel      h_i = f_i(z)                        the default
causal        h_1 = f_1(z),  h_i = f_i(h_[i-1])   far heads stand on near ones
anticausal    h_n = f_n(z),  h_i = f_i(h_[i+1])   near heads stand on far ones
linear        h_1 = z,       h_i = A_i z          a d x d map, no nonlinearity
```

The last norm and the unembedding are shared by all heads; the unembedding is not tied to
the embedding.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.elementwise import folded, unit_rms
from synth.models.lanes import apart, lane_embedding, lane_linear
from synth.models.norm import RMSNorm
from synth.models.recurrence import Memory
from synth.models.trunk import Layer


class LinearHead(nn.Module):
    """One linear map per lane."""

    def __init__(self, num_lanes: int, width: int) -> None:
        super().__init__()
        self.map_KDD = nn.Parameter(torch.empty(num_lanes, width, width))

    def forward(self, x_KBTD: Tensor, memory: Memory | None = None) -> Tensor:
        """(K, B, T, D) to (K, B, T, D); nothing to remember."""
        return lane_linear(x_KBTD, self.map_KDD)


class TrunkOutput(nn.Module):
    """The first head of the linear arrangement: the trunk's output itself."""

    def forward(self, x_KBTD: Tensor, memory: Memory | None = None) -> Tensor:
        """A view, so that the head's state is a tensor of its own."""
        return x_KBTD.view_as(x_KBTD)


class MultiTokenModel(nn.Module):
    """K lanes of a decoder that predicts `horizon` tokens at each position.

    Built without initial values: see `synth.models.lanes.initialise`.
    """

    def __init__(
        self, config: ModelConfig, horizon: int, vocab_size: int, num_lanes: int
    ) -> None:
        super().__init__()
        shape = config.shape
        self.num_lanes = num_lanes
        self.horizon = horizon
        self.vocab_size = vocab_size
        self.num_layers = shape.layers
        self.parents = config.head_parents(horizon)
        self.embedding_KVD = nn.Parameter(
            torch.empty(num_lanes, vocab_size, shape.width)
        )
        self.trunk = nn.ModuleList(
            Layer(num_lanes, shape, config.mixer)
            for _ in range(config.trunk_layers(horizon))
        )
        heads: list[nn.Module] = []
        for index in range(horizon):
            if config.layout != "linear":
                heads.append(Layer(num_lanes, shape, config.mixer))
            elif index == 0:
                heads.append(TrunkOutput())
            else:
                heads.append(LinearHead(num_lanes, shape.width))
        self.heads = nn.ModuleList(heads)
        self.norm = RMSNorm(num_lanes, shape.width)
        self.unembedding_KVD = nn.Parameter(
            torch.empty(num_lanes, vocab_size, shape.width)
        )

    def children_of(self, head: int | None) -> list[int]:
        """The heads (1..n) that stand on `head`, or on the trunk (`None`)."""
        return [i for i, parent in enumerate(self.parents, 1) if parent == head]

    def path(self, head: int) -> list[int]:
        """The heads passed from the trunk to `head`, itself last."""
        parent = self.parents[head - 1]
        return [*(self.path(parent) if parent else []), head]

    def embed(self, tokens_KBT: Tensor) -> Tensor:
        """Token embeddings, (K, B, T, D)."""
        return lane_embedding(tokens_KBT, self.embedding_KVD)

    def trunk_states(self, tokens_KBT: Tensor) -> list[Tensor]:
        """Embedding and output of each trunk layer, each (K, B, T, D)."""
        states = [self.embed(tokens_KBT)]
        for layer in self.trunk:
            states.append(layer(states[-1]))
        return states

    def run_trunk(self, tokens_KBT: Tensor) -> Tensor:
        """Output of the trunk, z in the paper, (K, B, T, D)."""
        x_KBTD = self.embed(tokens_KBT)
        for layer in self.trunk:
            x_KBTD = layer(x_KBTD)
        return x_KBTD

    def run_head(self, head: int, x_KBTD: Tensor) -> Tensor:
        """State of head 1..n from the state that it stands on."""
        return self.heads[head - 1](x_KBTD)

    def head_states(self, z_KBTD: Tensor) -> list[Tensor]:
        """States of heads 1..n over a trunk output."""
        states: dict[int | None, Tensor] = {None: z_KBTD}

        def visit(parent: int | None) -> None:
            for head in self.children_of(parent):
                states[head] = self.run_head(head, states[parent])
                visit(head)

        visit(None)
        return [states[head] for head in range(1, self.horizon + 1)]

    def unembed(self, h_KNTD: Tensor) -> Tensor:
        """Logits of any head's states: width to vocabulary."""
        return self.norm.then(h_KNTD, self.unembedding_KVD)

    def unembed_rows(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Logits (N, V) of each lane's own choice of states (N, D), N differing."""
        weights_KVD = apart(folded(self.unembedding_KVD, self.norm.gain_KD))
        return [
            functional.linear(unit_rms(h_ND), weight_VD)
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
            weights_KVD = folded(self.unembedding_KVD[lanes], self.norm.gain_KD[lanes])
            for start in range(0, count, size):
                part = slice(start, start + size)
                yield (lanes, part), lane_linear(unit_KND[:, part], weights_KVD)

    def start_decoding(self) -> list[Memory]:
        """An empty memory for each layer on the way to head 1."""
        return [Memory() for _ in (*self.trunk, *self.path(1))]

    def decode(self, tokens_KBT: Tensor, memories: list[Memory]) -> Tensor:
        """Next-token logits (K, B, V) after these tokens, which are remembered."""
        x_KBTD = self.embed(tokens_KBT)
        layers = [*self.trunk, *(self.heads[head - 1] for head in self.path(1))]
        for layer, memory in zip(layers, memories, strict=True):
            x_KBTD = layer(x_KBTD, memory)
        return self.unembed(x_KBTD[:, :, -1])

    def forward(self, tokens_KBT: Tensor) -> Tensor:
        """Logits of every head, (N, K, B, T, V); training never builds them at once."""
        states = self.head_states(self.run_trunk(tokens_KBT))
        return torch.stack([self.unembed(state) for state in states])

    def initial_stds(self) -> dict[str, float]:
        """Standard deviation of each parameter at the start; gains are absent.

        Matrices keep the scale of what they read (1 / sqrt of their inputs); those that
        write to the residual stream share it among the 2 L writers. The unembedding is
        small, so that the first loss is near log V at every width.
        """
        stds: dict[str, float] = {}
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                continue
            std = 1 / math.sqrt(parameter.shape[-1])
            if name.endswith(("out_KDD", "out_KDI", "down_KDM")):
                std /= math.sqrt(2 * self.num_layers)
            elif name == "unembedding_KVD":
                std = 1 / parameter.shape[-1]
            elif name == "embedding_KVD":
                std = 1.0
            stds[name] = std
        return stds
