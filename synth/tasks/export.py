"""Examples of a task as Arrow batches, for trainers that know nothing of this one.

Letters in names: R rows, T positions, S tokens of a batch one after another, E examples.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from synth.tasks.checks import evaluated
from synth.tasks.exact import ExactTask
from synth.tasks.symbols import Symbols
from synth.tasks.task import (
    MOST_EMPTY_BLOCKS,
    SAMPLE_CONTEXT,
    EvaluationSet,
    Rows,
    Sample,
    Split,
    Task,
)

ExportSplit = Literal["train", "validation", "test"]

SCHEMA = pa.schema(
    {
        "tokens": pa.list_(pa.int32()),
        "text": pa.string(),
        "answers": pa.list_(pa.bool_()),
        "roles": pa.list_(pa.string()),
        "labels": pa.string(),
        "suite": pa.string(),
        "split": pa.string(),
    }
)
"""One row is one example. Lists, not arrays of one length: splits differ in theirs."""
BATCH_ROWS = 4096


def batches(
    task: Task, split: ExportSplit, count: int, data_seed: int, context: int
) -> Iterator[pa.RecordBatch]:
    """The examples of a split: `count` for training, or in each slice of a test set.

    Training examples are those of neither the test nor the validation side.

    Raises `ValueError` when the task has no such split, or no training example is
    found.
    """
    config = getattr(task, "config", None)
    known: tuple[Split, ...] = getattr(config, "splits", ("test",))
    if split == "train":
        held_out: Split = "validation" if "validation" in known else "test"
        yield from _training(task.judged_on(held_out), count, data_seed, context)
        return
    # Tasks with a single split may name validation sets within it (stories).
    judged = task.judged_on(split) if split in known else task
    found = False
    for chosen in evaluated(judged, count):
        own = "validation" if chosen.suite.startswith("validation") else "test"
        if own == split:
            found = True
            for start in range(0, len(chosen.rows), BATCH_ROWS):
                rows = slice(start, start + BATCH_ROWS)
                yield _batch(judged, _part(chosen, rows), split)
    if not found:
        raise ValueError(f"The task has no {split} set; it has {', '.join(known)}.")


def held_out_samples(task: Task, split: ExportSplit, count: int) -> list[Sample]:
    """`count` examples of a held-out split to look at, spread evenly over its sets.

    Raises `ValueError` when the task has no such split.
    """
    rows = [
        row
        for batch in batches(task, split, count, 0, SAMPLE_CONTEXT)
        for row in batch.to_pylist()
    ]
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    samples = []
    for row in (rows[place] for place in places):
        words = [task.vocabulary[token] for token in row["tokens"]]
        said = {
            "split": split,
            "suite": row["suite"],
            **json.loads(row["labels"] or "{}"),
        }
        text = row["text"] if task.tokenizer else ""
        samples.append(Sample({"tokens": words, **said}, words, row["answers"], text))
    return samples


def _training(
    task: Task, count: int, data_seed: int, context: int
) -> Iterator[pa.RecordBatch]:
    left = count
    empty = 0
    for block in itertools.count():
        rows = task.train_rows(data_seed, block, context)
        batch = _batch(task, EvaluationSet("train", rows), "train")[:left]
        left -= len(batch)
        empty = 0 if len(batch) else empty + 1
        if empty == MOST_EMPTY_BLOCKS:
            raise ValueError("No training examples: the problem space is too small.")
        if len(batch):
            yield batch
        if not left:
            return


def _part(chosen: EvaluationSet, rows: slice) -> EvaluationSet:
    labels = {
        name: values[rows]
        for name, values in chosen.labels.items()
        if len(values) == len(chosen.rows)
    }
    return EvaluationSet(chosen.suite, chosen.rows[rows], labels)


def _batch(task: Task, chosen: EvaluationSet, split: ExportSplit) -> pa.RecordBatch:
    """The examples of some rows, each on its own."""
    rows = chosen.rows
    tokens_S, answer_S, offsets, row_E = _examples(rows)
    lists = pa.array(offsets, pa.int32())
    flat = tokens_S.tolist()
    decode = (task.tokenizer or Symbols(task.vocabulary)).decode
    bounds = itertools.pairwise(offsets.tolist())
    number = len(row_E)
    columns = [
        pa.ListArray.from_arrays(lists, pa.array(tokens_S, pa.int32())),
        pa.array([decode(flat[a:b]) for a, b in bounds], pa.string()),
        pa.ListArray.from_arrays(lists, pa.array(answer_S)),
        _roles(task, tokens_S, offsets),
        pa.array(_labels(chosen, row_E), pa.string()),
        pa.repeat(pa.scalar(chosen.suite), number),
        pa.repeat(pa.scalar(split), number),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _examples(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tokens and answer marks in a flat sequence, E + 1 bounds, the row of each."""
    inside_RT = rows.example_RT > 0
    row_S = np.nonzero(inside_RT)[0]
    example_S = rows.example_RT[inside_RT]
    new_S = np.ones(len(row_S), bool)
    new_S[1:] = (np.diff(row_S) != 0) | (np.diff(example_S) != 0)
    starts_E = np.flatnonzero(new_S)
    offsets = np.append(starts_E, len(row_S))
    marks_S = rows.answer_RT[inside_RT]
    return rows.tokens_RT[inside_RT], marks_S, offsets, row_S[starts_E]


def _roles(task: Task, tokens_S: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """What each token is about, where the task declares it; null elsewhere."""
    number = len(offsets) - 1
    if not isinstance(task, ExactTask) or not number:
        return pa.nulls(number, SCHEMA.field("roles").type)
    tokens_EL = tokens_S.reshape(number, -1)
    labels = task.labels(tokens_EL)
    chosen = EvaluationSet("", task.one_per_row(tokens_EL), labels)
    role_EL = np.full(tokens_EL.shape, -1)
    role_EL[:, 1:] = task.role(chosen, 1)[:, :-1]  # that of predicting the token
    names = [*task.roles, None]
    values = pa.array([names[role] for role in role_EL.ravel().tolist()], pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _labels(chosen: EvaluationSet, row_E: np.ndarray) -> list[str | None]:
    """What the test set says of each example as a whole, as JSON; null without any."""
    whole = {
        name: values[row_E].tolist()
        for name, values in chosen.labels.items()
        if values.ndim == 1
    }
    if not whole:
        return [None] * len(row_E)
    each: Iterator[tuple[Any, ...]] = zip(*whole.values(), strict=True)
    return [json.dumps(dict(zip(whole, values, strict=True))) for values in each]
