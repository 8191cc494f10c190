"""What a model consists of and costs, by arithmetic alone (no torch)."""

from typing import Any

from synth.config import ModelConfig, ObjectiveConfig, RunConfig
from synth.mixers import mixer_shape
from synth.tasks.task import Task

SPARSE_VOCABULARY = 256
"""From this vocabulary on, a loss on answers alone unembeds their positions alone."""


def describe_model(
    model: ModelConfig,
    horizon: int,
    vocab_size: int,
    context: int,
    unembeddings: float | None = None,
) -> dict[str, Any]:
    """Layers, parameters and training FLOPs per token of a model.

    FLOPs count a product-sum as two, forward and backward (6 per weight and token), and
    what the mixer does between positions: 6 T d a layer for causal attention at the
    given context, see `synth.mixers` for the recurrences. `unembeddings` is how many
    times a token is unembedded (see `unembeddings_per_token`); once per head if not
    given, which is the most that training executes.
    """
    if unembeddings is None:
        unembeddings = horizon
    shape, trunk = model.shape, model.trunk_layers(horizon)
    linear = model.layout == "linear"
    head_layers = 0 if linear else horizon
    layers = trunk + head_layers
    maps = (horizon - 1) * shape.width**2 if linear else 0
    mixer = mixer_shape(model.mixer, shape)
    mlp = 3 * shape.width * shape.mlp_width
    matrices = layers * (mixer.matrices + mlp) + maps
    gains = (2 * layers + 1) * shape.width + layers * mixer.gains
    embedding = vocab_size * shape.width
    depth = trunk + sum(1 for _ in _path(model, horizon)) * (not linear)
    mixing = layers * mixer.training_flops(context)
    return {
        "scale": model.scale,
        "mixer": model.mixer,
        "width": shape.width,
        "attention_heads": shape.heads,
        "mlp_width": shape.mlp_width,
        "horizon": horizon,
        "layout": model.layout,
        "budget": model.budget,
        "trunk_layers": trunk,
        "head_layers": head_layers,
        "linear_maps": (horizon - 1) if linear else 0,
        "depth_to_head_1": depth,
        "non_embedding_parameters": matrices + gains,
        "nominal_parameters": shape.nominal_parameters,
        "embedding_parameters": 2 * embedding,
        "parameters": matrices + gains + 2 * embedding,
        "vocabulary": vocab_size,
        "context": context,
        "training_flops_per_token": 6 * (matrices + unembeddings * embedding) + mixing,
    }


def unembeddings_per_token(
    task: Task, objective: ObjectiveConfig, context: int
) -> float:
    """Logits that training computes for a token, over all heads, on a CPU.

    One per head, unless the loss is on answers alone and the vocabulary large: then only
    positions that a head scores are unembedded, counted here in the first block of rows.
    """
    large = len(task.vocabulary) >= SPARSE_VOCABULARY
    if objective.scored != "answer" or not large:
        return objective.horizon
    rows = task.train_rows(0, 0, context)
    example, scored = rows.example_RT, 0
    for ahead in range(1, min(objective.horizon, context - 1) + 1):
        inside = (example[:, ahead:] == example[:, :-ahead]) & (example[:, ahead:] > 0)
        scored += int((inside & rows.answer_RT[:, ahead:]).sum())
    return scored / example.size


def describe_run(config: RunConfig) -> dict[str, Any]:
    """The model of a run with its task's vocabulary, and the work of the whole run."""
    task, training = config.task.build(), config.training
    found = describe_model(
        config.model,
        config.objective.horizon,
        len(task.vocabulary),
        training.context,
        unembeddings_per_token(task, config.objective, training.context),
    )
    tokens = training.steps * training.tokens_per_step
    return found | {
        "run_id": config.run_id,
        "training_tokens": tokens,
        "training_flops": tokens * found["training_flops_per_token"],
    }


def as_text(found: dict[str, Any]) -> str:
    """The description in lines that a person reads."""
    heads = f"{found['head_layers']} layers"
    if found["layout"] == "linear":
        heads = f"the trunk's output and {found['linear_maps']} linear maps"
    lines = [
        f"scale {found['scale']}: width {found['width']}, {found['attention_heads']} "
        f"{found['mixer']} heads, MLP {found['mlp_width']}",
        f"trunk {found['trunk_layers']} layers; heads 1..{found['horizon']} "
        f"({found['layout']}, {found['budget']}): {heads}; "
        f"{found['depth_to_head_1']} layers deep at head 1",
        f"non-embedding parameters {found['non_embedding_parameters']:,} "
        f"(12 L d^2 = {found['nominal_parameters']:,})",
        f"embedding and unembedding {found['embedding_parameters']:,} "
        f"at a vocabulary of {found['vocabulary']}",
        f"training {found['training_flops_per_token']:,.0f} FLOP a token "
        f"at a context of {found['context']}",
    ]
    if "run_id" in found:
        lines.append(
            f"run {found['run_id']}: {found['training_tokens']:,} tokens, "
            f"{found['training_flops']:.3g} FLOP"
        )
    return "\n".join(lines)


def _path(model: ModelConfig, horizon: int) -> list[int]:
    """The heads from the trunk to head 1."""
    parents = model.head_parents(horizon)
    path, head = [1], parents[0]
    while head is not None:
        path.append(head)
        head = parents[head - 1]
    return path
