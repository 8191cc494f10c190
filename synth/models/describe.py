"""What a model consists of and costs, by arithmetic alone (no torch)."""

from typing import Any

from synth.config import ModelConfig, RunConfig
from synth.models.mixers.shapes import mixer_shape
from synth.objectives.objective import ObjectiveConfig
from synth.tasks.task import Task

SPARSE_VOCABULARY = 256
"""From this vocabulary on, a loss on answers alone unembeds their positions alone."""


def describe_model(
    model: ModelConfig,
    objective: ObjectiveConfig,
    vocab_size: int,
    context: int,
    unembeddings: float | None = None,
) -> dict[str, Any]:
    """Layers, parameters and training FLOPs per token of a model.

    FLOPs count a product-sum as two, forward and backward (6 per weight and token), a
    shared module each time it runs, and what the mixer does between positions: 6 T d a
    layer for causal attention at the given context, and what `synth.models.mixers.shapes`
    says of the recurrences. `unembeddings` is how many times a token is unembedded (see
    `unembeddings_per_token`); once a head and a readout if not given, which is the most
    that training executes.
    """
    shape, heads = model.shape, objective.heads()
    width, trunk = shape.width, objective.trunk_layers(shape.layers)
    own = [head for head in heads if head.shares is None]
    head_layers, maps = sum(h.layers for h in own), sum(h.maps for h in own)
    merging = [head for n, head in enumerate(heads, 1) if objective.merges(n)]
    merges = [head.merge for head in merging if head.shares is None]
    projections = merges.count("project")
    mixer = mixer_shape(model.mixer, shape)
    layer = mixer.matrices + 3 * width * shape.mlp_width
    matrices = (trunk + head_layers) * layer + (maps + 2 * projections) * width**2
    gains = (2 * (trunk + head_layers + projections) + 1) * width
    gains += (trunk + head_layers) * mixer.gains + merges.count("sum")
    embedding = vocab_size * width
    run_layers = trunk + sum(head.layers for head in heads)
    run_matrices = run_layers * layer + width**2 * (
        sum(head.maps for head in heads)
        + 2 * sum(head.merge == "project" for head in merging)
    )
    readouts = len(objective.readouts())
    if unembeddings is None:
        unembeddings = len(heads) + readouts
    return {
        "scale": model.scale,
        "mixer": model.mixer,
        "width": width,
        "attention_heads": shape.heads,
        "mlp_width": shape.mlp_width,
        "objective": objective.kind,
        "arm": objective.arm,
        "heads": len(heads),
        "readouts": readouts,
        "trunk_layers": trunk,
        "head_layers": head_layers,
        "linear_maps": maps,
        "merges": len(merges),
        "depth_to_head_1": trunk + sum(heads[h - 1].layers for h in objective.path(1)),
        "non_embedding_parameters": matrices + gains,
        "nominal_parameters": shape.nominal_parameters,
        "embedding_parameters": (2 + readouts) * embedding,
        "parameters": matrices + gains + (2 + readouts) * embedding,
        "vocabulary": vocab_size,
        "context": context,
        "training_flops_per_token": 6 * (run_matrices + unembeddings * embedding)
        + run_layers * mixer.training_flops(context),
    }


def unembeddings_per_token(
    task: Task, objective: ObjectiveConfig, context: int
) -> float:
    """Logits that training computes for a token, over all heads, on a CPU.

    One a head and a readout, unless the loss is on answers alone and the vocabulary
    large: then only positions that a head scores are unembedded, counted here in the
    first block of rows; readouts always read all.
    """
    heads, readouts = objective.heads(), len(objective.readouts())
    large = len(task.vocabulary) >= SPARSE_VOCABULARY
    if objective.scored != "answer" or not large:
        return len(heads) + readouts
    rows = task.train_rows(0, 0, context)
    example, scored = rows.example_RT, 0
    for ahead in (head.offset for head in heads):
        here, there = example[:, :-ahead], example[:, ahead:]
        answer = rows.answer_RT[:, ahead:]
        scored += int(((here == there) & (there > 0) & answer).sum())
    return scored / example.size + readouts


def describe_run(config: RunConfig) -> dict[str, Any]:
    """The model of a run with its task's vocabulary, and the work of the whole run."""
    task, training = config.task.build(), config.training
    found = describe_model(
        config.model,
        config.objective,
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
    parts = {
        "layers": found["head_layers"],
        "linear maps": found["linear_maps"],
        "merges of a given token": found["merges"],
        "readouts": found["readouts"],
    }
    kept = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    lines = [
        f"scale {found['scale']}: width {found['width']}, {found['attention_heads']} "
        f"{found['mixer']} heads, MLP {found['mlp_width']}",
        f"trunk {found['trunk_layers']} layers; objective {found['arm']} "
        f"({found['objective']}), {found['heads']} predictions: "
        f"{kept or 'the trunk itself'}; {found['depth_to_head_1']} layers deep at head 1",
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
