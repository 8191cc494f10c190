"""Commands on a trained run: what it writes, and a copy for other programs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from synth.cli.moved import MovedFiles
from synth.cli.run_names import OneRun

if TYPE_CHECKING:
    from synth.trained.generation import Written
    from synth.trained.loading import Run

LINE = 88
"""Columns of a line of drafts."""


@dataclass(frozen=True, kw_only=True)
class Generate(OneRun, MovedFiles):
    """Print what a trained model writes after a prompt, and whether an answer is right."""

    prompt: str | None = None
    """A text, or a question of the task; the first of the test set if not given."""
    most: int = 100
    """Longest text in tokens; the task says how long an answer is."""
    temperature: float = 0.0
    """Sample from softmax(logits / temperature); 0 takes the likeliest token."""
    top_k: int | None = None
    """Sample among the k likeliest tokens."""
    seed: int = 0
    """Seed of the samples."""
    count: int = 1
    """Samples after the prompt (with --temperature or --top-k), or questions of the test
    set."""
    step: int | None = None
    """Checkpoint step; the newest one if not given."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to generate."""
    json: bool = False
    """One JSON object a line."""

    def run(self) -> int:
        """Generate and print."""
        from synth.run.environment import require_device
        from synth.trained.loading import load

        require_device(self.device)
        run = load(self.find(), step=self.step, device=self.device, moved=self.moved())
        written = run.generate(
            self.prompt,
            most=self.most,
            temperature=self.temperature,
            top_k=self.top_k,
            seed=self.seed,
            count=self.count,
        )
        for one in written:
            print(_record(run, one) if self.json else "\n".join(_lines(run, one)))
        return 0


def _record(run: "Run", one: "Written") -> str:
    prompt = run.text(one.prompt)
    drafts = {name: list(ids) for name, ids in one.drafts}
    return json.dumps(vars(one) | {"prompt_text": prompt, "drafts": drafts})


def _lines(run: "Run", one: "Written") -> Iterator[str]:
    """The prompt and what follows it; drafts below the tokens that they are about."""
    yield run.text(one.prompt)
    words = {None: "", True: "  (right)", False: "  (wrong)"}
    yield f"  {one.text}{words[one.right]}"
    if one.drafts:
        rows: dict[str, Sequence[int | None]] = {
            "tokens": one.tokens,
            **dict(one.drafts),
        }
        yield from _columns(rows, run.tokenizer.vocabulary)
    if one.passes is not None:
        yield f"  {len(one.tokens)} tokens in {one.passes} passes"
    yield ""


def _columns(
    rows: dict[str, Sequence[int | None]], names: Sequence[str]
) -> Iterator[str]:
    """Rows of tokens, one below the other, in pieces of a line's length."""
    cells = {
        title: ["-" if i is None else repr(names[i])[1:-1] for i in ids]
        for title, ids in rows.items()
    }
    first = max(map(len, cells)) + 2
    width = 1 + max(len(cell) for row in cells.values() for cell in row)
    at_once = max(1, (LINE - first - 2) // width)
    for start in range(0, len(rows["tokens"]), at_once):
        for title, row in cells.items():
            part = row[start : start + at_once]
            line = "".join(cell.ljust(width) for cell in part)
            yield f"  {title.ljust(first)}{line}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Export(OneRun):
    """Write a run as a folder that another library loads."""

    folder: tyro.conf.Positional[Path]
    """The folder to write; nothing may lie there."""
    to: Literal["transformers"] = "transformers"
    """A LlamaForCausalLM with its tokeniser and a model card, for `from_pretrained`."""
    step: int | None = None
    """Checkpoint step; the newest one if not given."""

    def run(self) -> int:
        """Write and say where."""
        from synth.export.llama import export
        from synth.trained.loading import load

        run = load(self.find(), step=self.step)
        export(run, self.folder)
        print(f"{run.run_id} at step {run.step}: {self.folder}")
        return 0
