"""Reads a tokenizer.json, and decides whether tiktoken can encode with it.

A piece is the bytes of a token.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import pairwise
from typing import Any

_OTHER_FILES = (
    ("added_tokens_decoder", "a tokenizer_config.json"),
    ("tokenizer_class", "a tokenizer_config.json"),
    ("eos_token", "a special_tokens_map.json"),
    ("architectures", "the config.json of a model"),
)


def parse_tokenizer(stored: str) -> dict[str, Any]:
    """The content of a tokenizer.json.

    Raises `ValueError`, saying which other file of a model it is, if it is one.
    """
    try:
        content = json.loads(stored)
    except (ValueError, RecursionError) as error:
        merges = " (a merges.txt or vocab.txt, perhaps)" if stored[:1] != "{" else ""
        raise ValueError(
            f"This is not JSON, so not a tokenizer.json{merges}: {error}. {_ADVICE}"
        ) from None
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or "vocab" not in model:
        raise ValueError(f"This is {_kind(content)}, not a tokenizer.json. {_ADVICE}")
    return content


_ADVICE = (
    "Give the file tokenizer.json of the same model; transformers' "
    "AutoTokenizer.from_pretrained(...).save_pretrained(folder) writes one."
)


def _kind(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a JSON {type(content).__name__}"
    for field, name in _OTHER_FILES:
        if field in content:
            return name
    if content and all(isinstance(value, int) for value in content.values()):
        return "a vocab.json, which lacks the merges,"
    return "JSON without a model and its vocabulary"


def spells_bytes(described: Mapping[str, Any]) -> bool:
    """Whether tokens are written in GPT-2's stand-ins for bytes."""
    steps = (described.get("pre_tokenizer"), described.get("decoder"))
    return "ByteLevel" in json.dumps(steps)


def token_bytes(token: str, special: Set[str]) -> bytes:
    """The bytes that a token stands for; of special tokens, those of its name."""
    if token in special or any(c not in _BYTE_OF for c in token):
        return token.encode()
    return bytes(_BYTE_OF[c] for c in token)


def is_gpt2(described: Mapping[str, Any]) -> bool:
    """Whether it is a BPE over bytes, cut by GPT-2's pattern, and nothing else."""
    before, model = described.get("pre_tokenizer") or {}, described["model"]
    return (
        model.get("type") == "BPE"
        and not described.get("normalizer")
        and not model.get("ignore_merges")
        and not model.get("dropout")
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
        and before.get("type") == "ByteLevel"
        and before.get("use_regex", True)
        and not before.get("add_prefix_space")
        # Other added tokens are looked for in the text before it is cut.
        and all(t.get("special") for t in described.get("added_tokens") or [])
    )


def merges_in_order(
    described: Mapping[str, Any], ordinary: Set[int], ranks: Mapping[bytes, int]
) -> bool:
    """Whether merging the smallest id first equals merging by the list of merges.

    It does if every byte has a token and every other token one merge, with ids in the
    order of the merges. Tiktoken uses ids only.
    """
    vocab = described["model"]["vocab"]
    merged = [vocab.get("".join(pair)) for pair in _merges(described)]
    bytes_known = sum(len(piece) == 1 for piece in ranks)
    return (
        bytes_known == 256
        and len(ranks) == len(ordinary) == 256 + len(merged)
        and all(number in ordinary for number in merged)
        and all(a < b for a, b in pairwise(merged))
    )


def _merges(described: Mapping[str, Any]) -> Iterator[list[str]]:
    """Pairs of tokens; older files hold each as one string."""
    for pair in described["model"].get("merges") or []:
        yield pair.split(" ") if isinstance(pair, str) else list(pair)


def lost_bytes(described: Mapping[str, Any], pieces: Iterable[bytes]) -> frozenset[int]:
    """Bytes that a byte-level BPE would drop silently, as it has no token for them and
    none for unknown bytes."""
    model = described["model"]
    if model.get("type") != "BPE" or model.get("unk_token"):
        return frozenset()
    if "ByteLevel" not in json.dumps(described.get("pre_tokenizer")):
        return frozenset()
    return frozenset(
        set(range(256)) - {piece[0] for piece in pieces if len(piece) == 1}
    )


def _byte_table() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in kept}
    moved = [byte for byte in range(256) if byte not in kept]
    return table | {chr(256 + place): byte for place, byte in enumerate(moved)}


_BYTE_OF = _byte_table()
