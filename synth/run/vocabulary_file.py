"""What the tokens of a run stand for, kept in its folder: it loads without its corpus.

`vocabulary.json` holds the symbols of a task or the characters of a text. Of a run with
byte pairs it holds the digest of `tokenizer.json`, which lies beside it as the
`tokenizers` library reads it. Both are data: the identity of a run already decides them.
"""

import hashlib
import json

from synth.disk.files import read_regular, unseal, write_atomically
from synth.disk.files import seal as sealed
from synth.run.store import RunFolder
from synth.tasks.symbols import Symbols
from synth.tasks.task import Task
from synth.tasks.text.tokenizer import BytePairs, Characters, Tokenizer

NAME, TOKENIZER = "vocabulary.json", "tokenizer.json"


def tokenizer_of(task: Task) -> Tokenizer | Symbols:
    """The tokeniser of a task on text; the symbols of any other task."""
    if task.tokenizer is not None:
        return task.tokenizer
    return Symbols(task.vocabulary, task.end_token)


def keep(folder: RunFolder, task: Task) -> None:
    """Write the vocabulary of a run, unless it lies there already."""
    files = _files(tokenizer_of(task))
    # The file that names the other one comes last.
    for name, content in files.items():
        path = folder.path / name
        try:
            if read_regular(path) == content:
                continue
        except FileNotFoundError:
            pass
        write_atomically(path, content)


def _files(tokenizer: Tokenizer | Symbols) -> dict[str, bytes]:
    if isinstance(tokenizer, BytePairs):
        content: dict[str, object] = {
            "kind": "byte pairs",
            "tokenizer_sha256": tokenizer.digest,
        }
        files = {TOKENIZER: tokenizer.stored.encode()}
    else:
        kind = "characters" if isinstance(tokenizer, Characters) else "symbols"
        content = {"kind": kind, "vocabulary": list(tokenizer.vocabulary)}
        content |= {"end": tokenizer.end}
        files = {}
    return files | {NAME: json.dumps(sealed(content), indent=1).encode() + b"\n"}


def read(folder: RunFolder) -> Tokenizer | Symbols | None:
    """The tokeniser or the symbols of a run; `None` in folders of older code.

    Raises `ValueError`, naming a file that was changed after it was written.
    """
    path = folder.path / NAME
    stored = folder.read_json(NAME)
    if stored is None:
        return None
    content = unseal(stored, path, ())
    if content["kind"] == "byte pairs":
        return _byte_pairs(folder, content["tokenizer_sha256"])
    vocabulary = content["vocabulary"]
    if content["kind"] == "symbols":
        return Symbols(vocabulary, content["end"])
    return Characters(word for word in vocabulary if len(word) == 1)


def _byte_pairs(folder: RunFolder, digest: str) -> BytePairs:
    path = folder.path / TOKENIZER
    try:
        stored = read_regular(path)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; {NAME} says that it was there.") from None
    if hashlib.sha256(stored).hexdigest() != digest:
        raise ValueError(f"{path} was changed after it was written.")
    return BytePairs(stored.decode())
