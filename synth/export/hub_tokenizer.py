"""The tokeniser of a run as the files that `AutoTokenizer.from_pretrained` reads.

Text becomes the same ids there and here, with two exceptions: the name of a special token
that stands in a text is that token there and plain text here, and what has no token is
refused here and an error of the library there.
"""

import json
from typing import Any

from synth.tasks.symbols import Symbols
from synth.tasks.text.tokenizer import PADDING, BytePairs, Tokenizer


def padding_of(tokenizer: Tokenizer | Symbols) -> int:
    """The id that fills rows up; that of the end where a given file has none."""
    given = isinstance(tokenizer, BytePairs) and tokenizer.vocabulary[0] != PADDING
    return tokenizer.end if given else 0  # type: ignore[return-value]


def tokenizer_files(tokenizer: Tokenizer | Symbols) -> dict[str, str]:
    """`tokenizer.json` and `tokenizer_config.json`, by name."""
    if isinstance(tokenizer, BytePairs):
        # Rows have no beginning, and an end only between documents.
        stored = json.loads(tokenizer.stored) | {
            "post_processor": None,
            "truncation": None,
            "padding": None,
        }
    else:
        stored = _one_symbol_a_token(tokenizer)
    end, padding = tokenizer.end, padding_of(tokenizer)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "pad_token": tokenizer.vocabulary[padding],
        "eos_token": None if end is None else tokenizer.vocabulary[end],
    }
    files = {"tokenizer.json": stored, "tokenizer_config.json": settings}
    return {name: json.dumps(value, indent=1) + "\n" for name, value in files.items()}


def _one_symbol_a_token(tokenizer: Tokenizer | Symbols) -> dict[str, Any]:
    """A tokenizer.json that looks symbols, or characters, up in a list."""
    import tokenizers
    from tokenizers import Regex, decoders, models, pre_tokenizers

    number = {word: id_ for id_, word in enumerate(tokenizer.vocabulary)}
    found = tokenizers.Tokenizer(models.WordLevel(number, unk_token=""))
    if isinstance(tokenizer, Symbols):
        symbol = pre_tokenizers.Split(Regex(tokenizer.pattern), "isolated")
        found.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), symbol]
        )
    else:
        found.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        found.decoder = decoders.Fuse()
    return json.loads(found.to_str())  # type: ignore[no-any-return]
