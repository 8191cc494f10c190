"""The whole model: embedding, trunk, the heads of an objective, one unembedding.

Heads are numbered from 1; head 1 answers the next token. What they stand on, what they
are made of and what they predict is the objective's list (`synth.objectives`). The last
norm and the unembedding are shared by all heads. Embedding, unembedding and positions are
in `synth.models.embedding`. Letters: K lanes, B batch, T time, D width, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from synth.config import ModelConfig
from synth.models.elementwise import unit_rms
from synth.models.embedding import TokenModel
from synth.models.heads import HeadStack, TrunkOutput, new_head
from synth.models.lanes import lane_embedding
from synth.models.layer import Layer
from synth.models.mixers.attention import Attention
from synth.models.mixers.recurrence import Cache
from synth.models.norm import RMSNorm
from synth.models.weights import matrix, role_of
from synth.objectives.batch.ahead import shifted
from synth.objectives.declarations import Prediction, Readout
from synth.objectives.objective import ObjectiveConfig


class PredictionModel(TokenModel):
    """K lanes of a decoder with the heads and readouts of an objective.

    Built without initial values: see `synth.models.lanes.initialise`.
    """

    def __init__(
        self,
        config: ModelConfig,
        objective: ObjectiveConfig,
        vocab_size: int,
        num_lanes: int,
        context: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, num_lanes, context)
        shape = config.shape
        self.fused_trunk: Callable[[Tensor], Tensor] | None = None
        """All layers of the trunk in native form, set by `synth.fast.fused`."""
        self.objective = objective
        self.plan = objective.heads()
        numbers = range(1, len(self.plan) + 1)
        self._merges = [objective.merges(number) for number in numbers]
        self.trunk = nn.ModuleList(
            Layer(num_lanes, config)
            for _ in range(objective.trunk_layers(shape.layers))
        )
        self.heads = nn.ModuleList()
        for head, merges in zip(self.plan, self._merges, strict=True):
            self.heads.append(
                new_head(head, merges, num_lanes, config)
                if head.shares is None
                else self.heads[head.shares - 1]
            )
        self.norm = RMSNorm(num_lanes, shape.width)
        self.readouts = nn.ParameterDict(
            {
                f"{readout.name}_KVD": self.new_unembedding()
                for readout in objective.readouts()
                if readout.reads == "own"
            }
        )

        self.register_K1D: nn.Parameter | None = None
        if objective.registers() is not None:
            assert isinstance(self.heads[0], Layer), "registers pass through one layer"
            self.register_K1D = matrix(num_lanes, 1, shape.width, std=1.0, maps=())
        if objective.myopic:
            for layer in self.layers():
                assert isinstance(layer.mixer, Attention), "require_mixer was not asked"
                layer.mixer.myopic = True

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
        """The modules between the embedding and the state of head 1, in order."""
        parts: list[nn.Module] = list(self.trunk)
        for head in self.objective.path(1):
            module = self.heads[head - 1]
            nested = isinstance(module, HeadStack)
            parts += [*module.maps, *module.layers] if nested else [module]  # type: ignore[list-item,misc]
        return parts

    def trunk_states(self, tokens_KBT: Tensor) -> list[Tensor]:
        """Embedding and output of each trunk layer, each (K, B, T, D)."""
        states = [self.embed(tokens_KBT)]
        for layer in self.trunk:
            states.append(layer(states[-1]))
        return states

    def run_trunk(
        self, tokens_KBT: Tensor, registers_KB: Tensor | None = None
    ) -> Tensor:
        """Output of the trunk, z in the paper, (K, B, T, D).

        With registers (`Layer.forward`), (K, 2 B, T, D): tokens, then registers.
        """
        x_KBTD = self.embed(tokens_KBT)
        if registers_KB is None:
            if self.fused_trunk is not None:
                return self.fused_trunk(x_KBTD)
            for layer in self.trunk:
                x_KBTD = layer(x_KBTD)
            return x_KBTD
        x_KBTD = torch.cat((x_KBTD, self.embed_registers(tokens_KBT)), 1)
        for layer in self.trunk:
            x_KBTD = layer(x_KBTD, None, registers_KB)
        return x_KBTD

    def embed_registers(self, tokens_KBT: Tensor) -> Tensor:
        """The embedding of registers, the same at every place, (K, B, T, D)."""
        assert self.register_K1D is not None, "the objective has no registers"
        # A look-up, whose gradient adds up in the same order in every lane.
        return lane_embedding(torch.zeros_like(tokens_KBT), self.register_K1D)

    def run_head(
        self,
        head: int,
        x_KBTD: Tensor,
        tokens_KBT: Tensor,
        registers_KB: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """State of head 1..n from the state that it stands on, and the given tokens.

        With a cache, of tokens that follow those which it remembers. `tokens` may then
        go on beyond the states, by as many as the head is given.
        """
        module, spec = self.heads[head - 1], self.plan[head - 1]
        if registers_KB is not None:
            return module(x_KBTD, None, registers_KB)
        memories = [] if cache is None else cache.memories(head, spec.layers)
        given = []
        if self._merges[head - 1]:
            first = 0 if spec.merge == "attend" else spec.given
            ahead = range(first, spec.given + 1)
            time = x_KBTD.shape[2]
            tokens = (shifted(tokens_KBT, g)[..., :time] for g in ahead)
            given = [self.embed_tokens(part) for part in tokens]
        if isinstance(module, HeadStack):
            return module(x_KBTD, *given, memories=memories)
        return module(x_KBTD, *memories)

    def head_states(self, z_KBTD: Tensor, tokens_KBT: Tensor) -> list[Tensor]:
        """States of heads 1..n over a trunk output."""
        states: dict[int | None, Tensor] = {None: z_KBTD}

        def visit(parent: int | None) -> None:
            for head in self.children_of(parent):
                states[head] = self.run_head(head, states[parent], tokens_KBT)
                visit(head)

        visit(None)
        return [states[head] for head in range(1, self.num_heads + 1)]

    def layer_names(self, head: int) -> list[str]:
        """The names of the states that a head adds; none without parts of its own."""
        module = self.heads[head - 1]
        if isinstance(module, TrunkOutput):
            return []
        count = len(module.layers) if isinstance(module, HeadStack) else 1
        if count < 2:
            return [f"head {head}"]
        return [f"head {head}, layer {number}" for number in range(1, count + 1)]

    def layer_states(
        self, head: int, x_KBTD: Tensor, tokens_KBT: Tensor
    ) -> dict[str, Tensor]:
        """As `run_head`, but the states of all `layer_names`; the last is the head's."""
        names, module = self.layer_names(head), self.heads[head - 1]
        if not names:
            return {}
        states: list[Tensor] = []

        def note(layer: nn.Module, given: object, state: Tensor) -> None:
            states.append(state)

        inner = module.layers[:-1] if len(names) > 1 else []  # type: ignore[index,union-attr]
        hooks = [layer.register_forward_hook(note) for layer in inner]  # type: ignore[union-attr,operator]
        try:
            states.append(self.run_head(head, x_KBTD, tokens_KBT))
        finally:
            for hook in hooks:
                hook.remove()
        return dict(zip(names, states, strict=True))

    def read_out(self, readout: Readout, h_KNTD: Tensor) -> Tensor:
        """What a readout of the objective reads of a head's states."""
        if readout.reads == "state":
            return unit_rms(h_KNTD)
        if readout.reads == "own":
            return self.norm.then(h_KNTD, self.readouts[f"{readout.name}_KVD"])
        return self.unembed(h_KNTD, frozen=True)

    def start_decoding(self, room: int = 0, back: int = 0) -> Cache:
        """A cache that remembers nothing yet; `back` is for drafts that are rejected."""
        return Cache(room, back)

    def read(self, tokens_KBT: Tensor, cache: Cache) -> Tensor:
        """Output of the trunk for tokens that follow those of a cache, (K, B, T, D).

        The trunk's layers remember them; where they follow is `cache.reading`.
        """
        x_KBTD = self.embed(tokens_KBT, cache.reading)
        memories = cache.memories(None, len(self.trunk))
        for layer, memory in zip(self.trunk, memories, strict=True):
            x_KBTD = layer(x_KBTD, memory)
        return x_KBTD

    def decode(self, tokens_KBT: Tensor, cache: Cache) -> Tensor:
        """Next-token logits (K, B, V) after these tokens; remembers them."""
        x_KBTD = self.read(tokens_KBT, cache)
        for head in self.objective.path(1):
            x_KBTD = self.run_head(head, x_KBTD, tokens_KBT, cache=cache)
        cache.reading.start += tokens_KBT.shape[-1]
        return self.unembed(x_KBTD[:, :, -1])

    def forward(self, tokens_KBT: Tensor) -> Tensor:
        """Logits of every head, (N, K, B, T, V); training never builds them at once."""
        states = self.head_states(self.run_trunk(tokens_KBT), tokens_KBT)
        return torch.stack([self.unembed(state) for state in states])

    def initial_stds(self) -> dict[str, float]:
        """Standard deviation of each first value; parameters that start at 1 are absent."""
        stds = {name: role_of(weight).std for name, weight in self.named_parameters()}
        return {name: std for name, std in stds.items() if std is not None}
