"""A run as a `LlamaForCausalLM` of `transformers`: weights, tokeniser, model card.

The decoder of a run with attention and rotary positions is that of LLaMA, up to head 1:
the layers of the trunk, then those of the heads on the way. Nothing is permuted, since
both rotate the halves of a head's channels. What differs:

```
here                                       there
q, k, v in one matrix, gate and up in one  a matrix each
norm of all heads                          model.norm
tied: sqrt(d) W embeds, W / sqrt(d)        two matrices; lm_head is never tied
heads beyond the next token                left out
```

The files are written without `transformers`, which reads them offline.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synth.config import RunConfig
from synth.disk.files import whole_folder
from synth.export.card import model_card
from synth.export.hub_tokenizer import padding_of, tokenizer_files
from synth.models.elementwise import EPSILON
from synth.models.layer import Layer
from synth.models.mixers.attention import Attention
from synth.run.checkpoint import write_tensors
from synth.trained.loading import Run


def why_not_llama(config: RunConfig) -> str:
    """Why a run has no counterpart; empty if it has one."""
    model, objective = config.model, config.objective
    if model.mixer != "attention":
        return f"ModelConfig.mixer {model.mixer!r} has no counterpart there"
    if model.positions != "rotary":
        return f"ModelConfig.positions {model.positions!r} have no counterpart there"
    if objective.decodes_at_once:
        return f"{objective.kind} decodes an answer in one pass, not token by token"
    for head in objective.path(1):
        if objective.merges(head) or objective.heads()[head - 1].maps:
            return (
                f"the next token of {objective.arm} is not that of plain layers: head "
                f"{head}, on the way to it, has maps or reads given tokens"
            )
    return ""


def export(run: Run, folder: str | os.PathLike[str]) -> None:
    """Write the run as a folder that `from_pretrained` loads, whole or not at all.

    Raises
    ------
    ValueError
        When the run has no counterpart or is damaged, or something lies there already.
    """
    if reason := why_not_llama(run.config):
        raise ValueError(f"{run.run_id} cannot become a LlamaForCausalLM: {reason}.")
    if damage := run.folder.damage():
        raise ValueError(" ".join(damage))
    folder = Path(folder)
    if folder.exists() or folder.is_symlink():
        raise ValueError(f"{folder} exists. Remove it first, or name another folder.")
    texts = {"config.json": _as_json(llama_config(run))}
    texts |= {"generation_config.json": _as_json(_special_ids(run))}
    texts |= tokenizer_files(run.tokenizer)
    texts |= {"README.md": model_card(run)}
    with whole_folder(folder) as temporary:
        for name, text in texts.items():
            (temporary / name).write_bytes(text.encode())
        file = temporary / "model.safetensors"
        write_tensors(file, llama_weights(run), {"format": "pt"})
        file.chmod((temporary / "config.json").stat().st_mode)


def llama_config(run: Run) -> dict[str, Any]:
    """The `LlamaConfig` of a run."""
    shape = run.config.model.shape
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(run.tokenizer),
        "hidden_size": shape.width,
        "num_hidden_layers": len(_layers(run)),
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "intermediate_size": shape.mlp_width,
        "hidden_act": "silu",
        "rms_norm_eps": EPSILON,
        "rope_theta": 10_000.0,
        # A run has no limit: this is what it was trained on.
        "max_position_embeddings": run.config.training.context,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "dtype": "float32",
    } | _special_ids(run)


def llama_weights(run: Run) -> dict[str, Tensor]:
    """The weights by the names of `LlamaForCausalLM`, in fp32."""
    model = run.model
    weights = {
        "model.embed_tokens.weight": model.embedding_KVD[0] * model.token_scale,
        "model.norm.weight": model.norm.gain_KD[0],
        "lm_head.weight": model.unembedding_KVD[0] * model.logit_scale,
    }
    for number, layer in enumerate(_layers(run)):
        attention, mlp = layer.mixer, layer.mlp
        assert isinstance(attention, Attention)
        query, key, value = attention.qkv_KED[0].chunk(3)
        gate, up = mlp.gate_up_KMD[0].chunk(2)
        named = {
            "input_layernorm": attention.norm.gain_KD[0],
            "self_attn.q_proj": query,
            "self_attn.k_proj": key,
            "self_attn.v_proj": value,
            "self_attn.o_proj": attention.out_KDD[0],
            "post_attention_layernorm": mlp.norm.gain_KD[0],
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": mlp.down_KDM[0],
        }
        for name, weight in named.items():
            weights[f"model.layers.{number}.{name}.weight"] = weight
    return {
        name: weight.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, weight in weights.items()
    }


def _layers(run: Run) -> list[Layer]:
    """The layers between the embedding and the logits of the next token."""
    return [layer for _, layer in run.layers()]


def _special_ids(run: Run) -> dict[str, int | None]:
    end, padding = run.tokenizer.end, padding_of(run.tokenizer)
    return {"bos_token_id": None, "eos_token_id": end, "pad_token_id": padding}


def _as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"
