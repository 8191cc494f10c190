"""`python -m synth export-data`: examples of a task for other trainers, with a card."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synth.cli.commands import AnyTask
from synth.config import MAX_TOKENS_PER_STEP, check_examples
from synth.disk.files import whole_folder
from synth.identity import require
from synth.run.defining_code import code_state
from synth.tasks.export import SCHEMA, ExportSplit, batches
from synth.tasks.task import build_task

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["parquet", "jsonl"]
VOCABULARY = "vocabulary.json"
GROUP_ROWS = 8192
"""Examples that are held in memory and written together as a group of parquet."""


@dataclass(frozen=True, kw_only=True)
class ExportData:
    """Write examples of a task as parquet or JSON lines, with a card that says which."""

    task: AnyTask
    """What the data are."""
    folder: Path
    """A new folder for the files and their card."""
    to: Format = "parquet"
    """Format of the files."""
    split: tuple[ExportSplit, ...] = ("train", "validation", "test")
    """Which splits, a file each."""
    count: int = 10_000
    """Training examples."""
    test_examples: int = 1000
    """Examples of each group of the validation and test sets, such as each number of
    operations."""
    data_seed: int = 0
    """Seed of the training examples; the other sets have none."""
    context: int = 1024
    """Tokens of the rows that training examples are cut from: the longest there can be."""

    def run(self) -> int:
        """Write everything beside the folder, then give it its name."""
        require(self.count >= 1, "--count", "at least 1", self.count)
        check_examples("--test-examples", self.test_examples)
        most = MAX_TOKENS_PER_STEP
        fits = 2 <= self.context <= most
        require(fits, "--context", f"from 2 to {most}", self.context)
        require(bool(self.split), "--split", "at least one split", self.split)
        _require_new(self.folder)
        with whole_folder(self.folder) as folder:
            rows = self._write(folder)
        for name, number in rows.items():
            print(f"{name}: {number:,} examples")
        print(f"folder: {self.folder}")
        return 0

    def _write(self, folder: Path) -> dict[str, int]:
        """All files, the card last; the number of examples of each split."""
        task = build_task(self.task)
        rows: dict[str, int] = {}
        for split in dict.fromkeys(self.split):
            number = self.count if split == "train" else self.test_examples
            found = batches(task, split, number, self.data_seed, self.context)
            rows[split] = _writers[self.to](folder / self._file(split), found)
        words = json.dumps(list(task.vocabulary), ensure_ascii=False) + "\n"
        (folder / VOCABULARY).write_text(words, encoding="utf-8")
        digests = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        (folder / "README.md").write_text(self._card(rows, digests), encoding="utf-8")
        return rows

    def _file(self, split: str) -> str:
        return f"{split}.{self.to}"

    def _card(self, rows: dict[str, int], digests: dict[str, str]) -> str:
        """What the data are and how to make them again, for people and for `datasets`.

        Plain text: `huggingface_hub.DatasetCard` comes with the `hub` extra alone.
        """
        files = [f"  - split: {split}\n    path: {self._file(split)}" for split in rows]
        reader = "scan_parquet" if self.to == "parquet" else "scan_ndjson"
        settings = json.dumps(self.task.canonical(), indent=1)
        origin = code_state()
        counts = "\n".join(f"| {split} | {n:,} |" for split, n in rows.items())
        sums = "\n".join(f"{digest}  {name}" for name, digest in digests.items())
        return CARD.format(
            kind=self.task.kind,
            purpose=self.task.purpose(),
            configs="\n".join(files),
            counts=counts,
            reader=reader,
            pattern=f"*.{self.to}",
            commit=origin.get("commit") or "unknown",
            code=origin.get("synth_sha256"),
            data_seed=self.data_seed,
            context=self.context,
            settings=settings,
            sums=sums,
        )


CARD = """---
pretty_name: synth {kind}
configs:
- config_name: default
  data_files:
{configs}
---
# synth: {kind}

{purpose}

| split | examples |
|---|---|
{counts}

The splits are disjoint by a hash of the problem (for running text: of the document).
Where a task draws from a distribution and has no problems, such as `sources`, they are
independent draws. Training examples are those of neither validation nor test.

```python
datasets.load_dataset("THIS_FOLDER")  # all splits
polars.{reader}("THIS_FOLDER/{pattern}").collect()
```

One row is one example:

| column | content |
|---|---|
| tokens | token ids; `vocabulary.json` lists what they stand for, by id |
| text | the example as text, or its symbols divided by spaces |
| answers | whether each token belongs to the answer |
| roles | what each token is about; null where the task declares no roles |
| labels | what the test set says of the example, as JSON (the number of operations, say) |
| suite | which test set it belongs to |
| split | train, validation or test |

## Made by

- synth at commit {commit}, sha256 of its code {code}
- data seed {data_seed} (training; the other sets are fixed), rows of {context} tokens
- the task and its settings, `version` being that of its generator:

```json
{settings}
```

SHA-256 of the files:

```
{sums}
```
"""


def _require_new(path: Path) -> None:
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(
            f"--folder must be new or empty; {path} is there. Choose another name, or "
            "move it away."
        )


def _write_parquet(path: Path, found: "Iterator[pa.RecordBatch]") -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    waiting: list[pa.RecordBatch] = []

    def write() -> None:
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))
            waiting.clear()

    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for batch in found:
            rows += len(batch)
            waiting.append(batch)
            if sum(map(len, waiting)) >= GROUP_ROWS:
                write()
        write()
    return rows


def _write_jsonl(path: Path, found: "Iterator[pa.RecordBatch]") -> int:
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        for batch in found:
            for row in batch.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows += len(batch)
    return rows


_writers: dict[Format, Callable[[Path, Any], int]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
