"""What is read of a run's folder: its model, its numbers, its task with moved files."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from synth.config import RunConfig
from synth.metrics import SCHEMA
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes
from synth.run import checkpoint as checkpoints
from synth.run.metrics_file import damaged_line, whole_lines
from synth.run.store import RunFolder

if TYPE_CHECKING:
    import polars as pl


def restore(
    folder: RunFolder,
    config: RunConfig,
    vocab_size: int,
    device: torch.device,
    step: int | None = None,
) -> tuple[PredictionModel, int]:
    """The fp32 model of a run, a single lane, and the step of its checkpoint.

    It is the newest checkpoint that can be used, or the one of `step`. Those that cannot
    be used are passed over and named on standard error.

    Raises `ValueError` when there is no such checkpoint, with the steps there are, or
    none that can be used, with the reason.
    """
    steps = checkpoints.saved_steps(folder)
    if not steps:
        raise ValueError(
            f"{folder.path} has no checkpoint; the run's state is {folder.state()}."
        )
    if step is not None and step not in steps:
        raise ValueError(
            f"{folder.path} has no checkpoint at step {step}; it has {steps}."
        )
    with device:
        model = PredictionModel(
            config.model, config.objective, vocab_size, 1, config.training.context
        )
        lanes = FlatLanes(model, torch.float32)
    weights = lanes.lane(lanes.master_KP, 0)
    problems: list[str] = []
    for chosen in reversed(steps) if step is None else [step]:
        try:
            saved = checkpoints.load(folder, chosen)
            place = str(checkpoints.path_at(folder, chosen))
            checkpoints.fill(weights, saved, place)
        except ValueError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            print(f"skipped: {problem}", file=sys.stderr)
        return model.requires_grad_(False).eval(), chosen
    raise ValueError(f"No checkpoint can be used: {problems[0]}")


def read_metrics(folder: RunFolder) -> "pl.DataFrame":
    """The rows of `metrics.jsonl`; see `synth.trained.loading.Run.metrics`."""
    import polars as pl

    for problem in folder.damage():
        print(f"warning: {problem}", file=sys.stderr)
    path = folder.metrics_path
    lines, table = whole_lines(path), pl.DataFrame(schema=SCHEMA)
    try:
        table = pl.read_ndjson(lines, schema=table.schema) if lines else table
    except pl.exceptions.PolarsError as error:
        raise damaged_line(path, error) from None
    for name in SCHEMA.keys() - {"value"}:
        if table[name].has_nulls():
            raise damaged_line(path, f"without {name!r}")
    return table


def with_files_at(config: RunConfig, moved: Mapping[str, str]) -> RunConfig:
    """The configuration with other places of its task's files, by field name.

    Raises `ValueError`, naming a field that the run does not have, or files of other
    content.
    """
    task: Any = config.task
    for name, path in moved.items():
        owner: Any = (
            getattr(task, "tokenizer", None) if name == "tokenizer_file" else task
        )
        if not getattr(owner, name, ""):
            raise ValueError(f"{name} has no meaning: the run was made without one.")
        changed = replace(owner, **{name: path})
        whole = owner is task
        task = changed if whole else replace(task, tokenizer=changed)
    return replace(config, task=task) if moved else config
