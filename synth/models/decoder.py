"""The whole model: embedding, trunk, the heads of an objective, one unembedding.

Heads are numbered from 1; head 1 answers the next token. What they stand on, what they
are made of and what they predict is the objective's list (`synth.objectives`). The last
norm and the unembedding are shared by all heads; the unembedding is not tied to the
embedding. Letters: K lanes, B batch, T time, D width, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.elementwise import folded, unit_rms
from synth.models.heads import HeadStack, new_head
from synth.models.lanes import apart, lane_embedding, lane_linear
from synth.models.layer import Layer
from synth.models.mixers.recurrence import Memory
from synth.models.norm import RMSNorm
from synth.models.weights import matrix, role_of
from synth.objectives.objective import ObjectiveConfig, Prediction


class PredictionModel(nn.Module):
    """K lanes of a decoder with the heads and readouts of an objective.

    Built without initial values: see `synth.models.lanes.initialise`.
    """

    def __init__(
        self,
        config: ModelConfig,
        objective: ObjectiveConfig,
        vocab_size: int,
        num_lanes: int,
    ) -> None:
        super().__init__()
        shape = config.shape
        self.num_lanes = num_lanes
        self.objective = objective
        self.plan = objective.heads()
        numbers = range(1, len(self.plan) + 1)
        self._merges = [objective.merges(number) for number in numbers]
        self.vocab_size = vocab_size
        self.embedding_KVD = matrix(num_lanes, vocab_size, shape.width, std=1.0)
        self.trunk = nn.ModuleList(
            Layer(num_lanes, shape, config.mixer)
            for _ in range(objective.trunk_layers(shape.layers))
        )
        self.heads = nn.ModuleList()
        for head, merges in zip(self.plan, self._merges, strict=True):
            self.heads.append(
                new_head(head, merges, num_lanes, shape, config.mixer)
                if head.shares is None
                else self.heads[head.shares - 1]
            )
        self.norm = RMSNorm(num_lanes, shape.width)
        # Small, so that the first loss is near log V at every width.
        small = 1 / shape.width
        self.unembedding_KVD = matrix(num_lanes, vocab_size, shape.width, std=small)
        self.readouts = nn.ParameterDict(
            {
                f"{readout.name}_KVD": matrix(
                    num_lanes, vocab_size, shape.width, std=small
                )
                for readout in objective.readouts()
            }
        )

    @property
    def num_heads(self) -> int:
        """Predictions that the model makes at each position."""
        return len(self.plan)

    @property
    def predictions(self) -> list[Prediction]:
        """What each head predicts, from which tokens."""
        return [head.prediction for head in self.plan]

    def children_of(self, head: int | None) -> list[int]:
        """The heads (1..n) that stand on `head`, or on the trunk (`None`)."""
        return [i for i, spec in enumerate(self.plan, 1) if spec.parent == head]

    def layers(self) -> list[Layer]:
        """All decoder layers, of trunk and heads, each once."""
        return [module for module in self.modules() if isinstance(module, Layer)]

    def answer_path(self) -> list[nn.Module]:
        """The parts passed one after the other from the embedding to head 1's state."""
        parts: list[nn.Module] = list(self.trunk)
        for head in self.objective.path(1):
            module = self.heads[head - 1]
            nested = isinstance(module, HeadStack)
            parts += [*module.maps, *module.layers] if nested else [module]  # type: ignore[list-item,misc]
        return parts

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

    def run_head(self, head: int, x_KBTD: Tensor, tokens_KBT: Tensor) -> Tensor:
        """State of head 1..n from the state that it stands on, and the given tokens."""
        module = self.heads[head - 1]
        if self._merges[head - 1]:
            given = shifted(tokens_KBT, self.plan[head - 1].given)
            return module(x_KBTD, self.embed(given))
        return module(x_KBTD)

    def head_states(self, z_KBTD: Tensor, tokens_KBT: Tensor) -> list[Tensor]:
        """States of heads 1..n over a trunk output."""
        states: dict[int | None, Tensor] = {None: z_KBTD}

        def visit(parent: int | None) -> None:
            for head in self.children_of(parent):
                states[head] = self.run_head(head, states[parent], tokens_KBT)
                visit(head)

        visit(None)
        return [states[head] for head in range(1, self.num_heads + 1)]

    def unembed(self, h_KNTD: Tensor) -> Tensor:
        """Logits of any head's states: width to vocabulary."""
        return self.norm.then(h_KNTD, self.unembedding_KVD)

    def read_out(self, name: str, h_KNTD: Tensor) -> Tensor:
        """Logits of a readout of the objective, as `unembed` gives those of tokens."""
        return self.norm.then(h_KNTD, self.readouts[f"{name}_KVD"])

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
        """An empty memory for each part of the answer's path."""
        return [Memory() for _ in self.answer_path()]

    def decode(self, tokens_KBT: Tensor, memories: list[Memory]) -> Tensor:
        """Next-token logits (K, B, V) after these tokens, which are remembered."""
        x_KBTD = self.embed(tokens_KBT)
        for part, memory in zip(self.answer_path(), memories, strict=True):
            x_KBTD = part(x_KBTD, memory)
        return self.unembed(x_KBTD[:, :, -1])

    def forward(self, tokens_KBT: Tensor) -> Tensor:
        """Logits of every head, (N, K, B, T, V); training never builds them at once."""
        states = self.head_states(self.run_trunk(tokens_KBT), tokens_KBT)
        return torch.stack([self.unembed(state) for state in states])

    def initial_stds(self) -> dict[str, float]:
        """Standard deviation of each first value; parameters that start at 1 are absent."""
        stds = {name: role_of(weight).std for name, weight in self.named_parameters()}
        return {name: std for name, std in stds.items() if std is not None}


def shifted(values_KBT: Tensor, ahead: int) -> Tensor:
    """Entry t holds what stood at t+ahead, 0 (or false) beyond the end of the row."""
    result = torch.zeros_like(values_KBT)
    if ahead < values_KBT.shape[-1]:
        result[..., :-ahead] = values_KBT[..., ahead:]
    return result
