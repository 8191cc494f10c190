"""Embedding, unembedding and positions: settings, sizes and limits (no torch).

The modules are in `synth.models.embedding`.
"""

from dataclasses import dataclass
from typing import Literal

from synth.identity import Part, identity

Embeddings = Literal["untied", "tied"]
Positions = Literal["rotary", "learned"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(Part):
    """How tokens and their positions become states, and states become logits."""

    embeddings: Embeddings = identity("untied", implied="untied")
    """Whether embedding and unembedding are two matrices or one."""
    positions: Positions = identity("rotary", implied="rotary")
    """Rotations of queries and keys (recurrent mixers, which have none, get no positions),
    or a learned vector for each position of the context, added to the embedding."""

    def table_parameters(self, vocabulary: int, width: int, context: int) -> int:
        """Parameters of embedding, unembedding and learned positions; all decay."""
        matrices = 2 if self.embeddings == "untied" else 1
        positions = context if self.positions == "learned" else 0
        return (matrices * vocabulary + positions) * width

    def require_positions(self, length: int, context: int) -> None:
        """Refuse a row that is longer than the positions that the model learns.

        Raises `ValueError`, naming both lengths and what to do.
        """
        if self.positions == "learned" and length > context:
            raise ValueError(
                f"A row of {length} tokens is longer than the {context} positions that "
                f"ModelConfig.positions 'learned' has (TrainingConfig.context). Train "
                f"with a context of at least {length}, or with positions 'rotary'."
            )
