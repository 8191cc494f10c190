"""States of any causal language model that `transformers` can load.

`transformers` is an optional extra: it is imported when a model is loaded. The
architecture only has to return hidden states, the embedding first. The last layer's state
is taken at the input of the final norm, since hidden states hold the norm's output.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from synth.probes.layer_states import BATCH_TOKENS, Last, Norm, StateBatch, normalised
from synth.tasks.text.corpus import read_documents
from synth.tasks.text.corpus_files import format_of


def load_language_model(name: str, device: str = "cpu") -> tuple[Any, Any]:
    """Model and tokeniser by name or path, in fp32.

    Raises `ValueError` when `transformers` is missing, or the model cannot be loaded.
    """
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise ValueError(
            "--model needs the package 'transformers'. Install it with "
            "pip install --editable '.[language-models]' in the folder of synth."
        ) from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"--model {name!r} cannot be loaded: {error}") from None
    return model.to(device).requires_grad_(False).eval(), tokenizer


def read_corpus(path: Path) -> list[str]:
    """Texts of a file: each row of .jsonl or .parquet, a .txt divided by blank lines.

    Raises `ValueError` when the file is missing, damaged, has no text, or a row is not
    as expected.
    """
    if not path.is_file():
        raise ValueError(f"--corpus {path} is not a file.")
    kind, _ = format_of(path)
    texts: list[str] = []
    for document in read_documents(path):
        texts += document.text.split("\n\n") if kind == ".txt" else [document.text]
    return [text.strip() for text in texts if text.strip()]


def sample_texts(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the texts, without replacement, in random order; all if fewer."""
    order = np.random.default_rng(seed).permutation(len(texts))
    return [texts[index] for index in order[:count]]


class LanguageModelStates:
    """States of a causal language model over tokenised texts, cut at `context`."""

    def __init__(
        self,
        model: Any,
        ids: Sequence[Sequence[int]],
        norm: Norm = "fresh",
        last: Last = "trained",
        context: int = 512,
        lens: bool = True,
    ) -> None:
        self.model, self.norm, self.last = model, norm, last
        self.ids = [list(text[:context]) for text in ids if len(text[:context]) > 1]
        if not self.ids:
            raise ValueError("The corpus has no text of two tokens or more.")
        self.final_norm = find_final_norm(model)
        self.norm_kind = norm_kind(self.final_norm or find_any_norm(model))
        self.unembedding = model.get_output_embeddings()
        size = int(self.unembedding.weight.shape[0])
        everything = np.concatenate([np.array(text) for text in self.ids])
        self.token_counts = np.bincount(everything, minlength=size)
        probe, logits = self._states(torch.tensor([self.ids[0][:2]]), None)
        self.width = int(probe[0].shape[-1])
        self.paths = {
            "stack": [self._name(i, len(probe)) for i in range(len(probe))],
        }
        if lens and not torch.allclose(self._lens(probe[-1]), logits, atol=1e-4):
            raise ValueError(
                f"{type(model).__name__} does more than norm and unembedding to its "
                "last state, so a logit lens would not be its own. Use --no-lens."
            )

    def batches(self) -> Iterator[StateBatch]:
        """Texts in batches of similar length, padded on the right."""
        order = sorted(range(len(self.ids)), key=lambda i: len(self.ids[i]))
        start = 0
        while start < len(order):
            longest = len(self.ids[order[start]])
            stop = start + 1
            while stop < len(order):
                longest = len(self.ids[order[stop]])
                if longest * (stop + 1 - start) > BATCH_TOKENS:
                    break
                stop += 1
            yield self._batch([self.ids[i] for i in order[start:stop]])
            start = stop

    def _name(self, index: int, count: int) -> str:
        if index == 0:
            return "embedding"
        return f"layer {index}" + (" (last)" if index == count - 1 else "")

    @torch.no_grad()
    def _batch(self, texts: list[list[int]]) -> StateBatch:
        longest = max(map(len, texts))
        tokens_BT = torch.zeros(len(texts), longest, dtype=torch.long)
        example_BT = torch.zeros_like(tokens_BT)
        for row, text in enumerate(texts):
            tokens_BT[row, : len(text)] = torch.tensor(text)
            example_BT[row, : len(text)] = 1
        device = self.unembedding.weight.device
        tokens_BT, example_BT = tokens_BT.to(device), example_BT.to(device)
        raw, _ = self._states(tokens_BT, example_BT)
        names = self.paths["stack"]
        states = {
            name: normalised(state, self.norm, *self.norm_kind)
            for name, state in zip(names, raw, strict=True)
        }
        if self.last == "trained":
            states[names[-1]] = self._finally(raw[-1])
        by_name = dict(zip(names, raw, strict=True))

        def logits(name: str) -> Tensor:
            return self._lens(by_name[name])

        return StateBatch(tokens_BT, example_BT, states, logits)

    def _finally(self, raw_BTD: Tensor) -> Tensor:
        return raw_BTD if self.final_norm is None else self.final_norm(raw_BTD)

    def _lens(self, raw_BTD: Tensor) -> Tensor:
        logits: Tensor = self.unembedding(self._finally(raw_BTD))
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _states(
        self, tokens_BT: Tensor, example_BT: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Embedding and raw output of every layer, the last before its norm; logits."""
        seen: list[Tensor] = []

        def remember(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        hooked = self.final_norm or nn.Identity()
        hook = hooked.register_forward_pre_hook(remember)
        device = self.unembedding.weight.device
        arguments: dict[str, Any] = {"input_ids": tokens_BT.to(device)}
        if example_BT is not None and bool((example_BT == 0).any()):
            arguments["attention_mask"] = (example_BT > 0).long()
        try:
            with torch.no_grad():
                output = self.model(
                    **arguments, output_hidden_states=True, use_cache=False
                )
        finally:
            hook.remove()
        states = list(output.hidden_states)
        if self.final_norm is None:
            return states, output.logits
        if len(seen) != 1:
            raise ValueError(
                f"The final norm of {type(self.model).__name__} ran {len(seen)} times "
                "in one pass; this architecture cannot be probed."
            )
        return [*states[:-1], seen[0]], output.logits


def find_final_norm(model: Any) -> nn.Module | None:
    """The norm between the last layer and the unembedding, if there is one.

    The last child of the model's body, outside its layers, whose class is a norm; none
    where layers end in norms themselves (GPT-1).
    """
    body = model.base_model
    # An OPT-like model keeps its layers in a decoder below the body.
    norms = [m for m in body.children() if _is_norm(m)]
    for child in body.children():
        if not norms and not isinstance(child, nn.ModuleList):
            norms = [m for m in child.children() if _is_norm(m)]
    return norms[-1] if norms else None


def find_any_norm(model: Any) -> nn.Module:
    """Any norm of the model, as an example of its kind."""
    for module in model.modules():
        if _is_norm(module):
            return module
    raise ValueError(
        f"{type(model).__name__} has no norm, so no fresh one can be made of its kind. "
        "Use an architecture with norms."
    )


def norm_kind(norm: nn.Module) -> tuple[Literal["rms", "layer"], float]:
    """Whether a norm centres (layer) or not (rms), and its epsilon."""
    epsilon = next(
        (
            float(getattr(norm, name))
            for name in ("eps", "variance_epsilon", "epsilon")
            if hasattr(norm, name)
        ),
        1e-6,
    )
    return ("rms" if "rms" in type(norm).__name__.lower() else "layer"), epsilon


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()
