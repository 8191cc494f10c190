"""What a model consists of and costs, by arithmetic alone (no torch)."""

from typing import Any

import numpy as np

from synth.config import ModelConfig, RunConfig
from synth.objectives.objective import ObjectiveConfig
from synth.shapes.counts import Counts, head_counts, layer_counts
from synth.tasks.task import Task, build_task

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

    FLOPs are those of forward and backward passes, 6 per weight and token, and of the
    mixer's products between positions (`synth.shapes.mixer_shapes`): 6 T d a layer for
    causal attention. A shared module counts each time it runs. `unembeddings` is how often
    a token is unembedded (`unembeddings_per_token`); by default as often as the
    objective states, which is the most that training executes.
    """
    shape, heads = model.shape, objective.heads()
    width, trunk = shape.width, objective.trunk_layers(shape.layers)
    layer = layer_counts(model.mixer, shape, context)
    merging = [objective.merges(number) for number in range(1, len(heads) + 1)]
    modules = [
        head_counts(head, merges, layer, width)
        for head, merges in zip(heads, merging, strict=True)
    ]
    own = [index for index, head in enumerate(heads) if head.shares is None]
    inner = sum((modules[index] for index in own), trunk * layer)
    inner += Counts(exempt=width)  # the last norm
    unembedding = Counts.of_products(vocab_size * width)
    tables = _table_parameters(model, objective, vocab_size, context)
    if unembeddings is None:
        unembeddings = objective.unembeddings()
    flops = trunk * layer.flops + sum(module.flops for module in modules)
    if objective.registers() is not None:  # as many again as there are tokens
        flops *= 2
    return {
        "scale": model.scale,
        "mixer": model.mixer,
        "embeddings": model.embeddings,
        "positions": model.positions_used,
        "width": width,
        "attention_heads": shape.heads,
        "mlp_width": shape.mlp_width,
        "objective": objective.kind,
        "arm": objective.arm,
        "heads": len(heads),
        "readouts": len(objective.readouts()),
        "trunk_layers": trunk,
        "head_layers": sum(heads[index].layers for index in own),
        "linear_maps": sum(heads[index].maps for index in own),
        "merges": sum(merging[index] for index in own),
        "depth_to_head_1": trunk + sum(heads[h - 1].layers for h in objective.path(1)),
        "non_embedding_parameters": inner.parameters,
        "nominal_parameters": shape.nominal_parameters,
        "embedding_parameters": tables,
        "parameters": inner.parameters + tables,
        "vocabulary": vocab_size,
        "context": context,
        "training_flops_per_token": flops + unembeddings * unembedding.flops,
    }


def _table_parameters(
    model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, context: int
) -> int:
    """Embedding, unembedding, learned positions; own unembeddings, the register."""
    width = model.shape.width
    owned = sum(readout.reads == "own" for readout in objective.readouts())
    register = 0 if objective.registers() is None else width
    tables = model.table_parameters(vocab_size, width, context)
    return tables + owned * vocab_size * width + register


def unembeddings_per_token(
    task: Task, objective: ObjectiveConfig, context: int
) -> float:
    """How often training on a CPU unembeds a token, over all heads and readouts.

    Once for each head and readout, unless the loss is on answers alone and the vocabulary
    is large: then heads unembed scored positions alone, whose share is that of the first
    block of rows. So do registers, whose offsets are equally frequent. Readouts unembed
    every position.
    """
    large = len(task.vocabulary) >= SPARSE_VOCABULARY
    if objective.scored != "answer" or not large:
        return objective.unembeddings()
    rows = task.train_rows(0, 0, context)

    def scored(offset: int) -> np.ndarray:
        example_RT = rows.example_RT
        same = example_RT[:, :-offset] == example_RT[:, offset:]
        return same & (example_RT[:, offset:] > 0) & rows.answer_RT[:, offset:]

    heads = sum(h.unembeddings * int(scored(h.offset).sum()) for h in objective.heads())
    registers, own = objective.registers(), 0.0
    if registers is not None:
        for ahead in range(1, registers.furthest + 1):
            far = scored(ahead)
            own += int((far & scored(1)[:, : far.shape[1]]).sum()) / registers.furthest
    readouts = sum(readout.unembeddings for readout in objective.readouts())
    return (heads + own) / rows.tokens_RT.size + readouts


def describe_run(config: RunConfig) -> dict[str, Any]:
    """`describe_model` for a run, with its id and the tokens and FLOPs of all its steps."""
    task, training = build_task(config.task), config.training
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
    """The description as lines of text."""
    parts = (
        _counted(found["head_layers"], "layer"),
        _counted(found["linear_maps"], "linear map"),
        _counted(found["merges"], "merge", " of a given token"),
        _counted(found["readouts"], "readout"),
    )
    kept = ", ".join(filter(None, parts)) or "the trunk itself"
    depth = _counted(found["depth_to_head_1"], "layer")
    lines = [
        f"scale {found['scale']}: width {found['width']}, {found['attention_heads']} "
        f"{found['mixer']} heads, MLP {found['mlp_width']}",
        f"trunk {_counted(found['trunk_layers'], 'layer')}; objective {found['arm']} "
        f"({found['objective']}), {_counted(found['heads'], 'prediction')}: "
        f"{kept}; {depth} deep at head 1",
        f"non-embedding parameters {found['non_embedding_parameters']:,} "
        f"(12 L d^2 = {found['nominal_parameters']:,})",
        f"{found['embeddings']} embedding and unembedding, {found['positions']} "
        f"positions: {found['embedding_parameters']:,} parameters "
        f"at a vocabulary of {found['vocabulary']}",
        f"training {found['training_flops_per_token']:,.0f} FLOP a token "
        f"at a context of {found['context']}",
    ]
    return "\n".join(lines)


def _counted(count: int, name: str, which: str = "") -> str:
    """`2 layers`, `1 layer`; empty for none."""
    return f"{count} {name}{'s' * (count > 1)}{which}" if count else ""
