"""The known small-GPT setting on a text of yours: this model beside plain GPT-2.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_characters TEXT [--characters N]

TEXT is anything that `--corpus` takes; its first N characters (by default as many as
Tiny Shakespeare has) are learnt by characters: 4 layers, 4 heads, width 128, rows of 64
inputs, batch 12, 2000 steps, rate 1e-3 to 1e-4, no dropout. On Tiny Shakespeare itself a
GPT-2 block is known to end at a validation loss of about 1.88. Both models train on the
first nine tenths and are scored on the same windows of the last tenth. The GPT-2 is that
of `transformers`; its batches are windows at random places, as usual for it.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.run.execution import Execution
from synth.tasks.running_text import TextConfig
from synth.tasks.text.corpus import read_documents
from synth.training import train

SHAKESPEARE = 1_115_394
TARGETS = 64
FINAL_ROWS = 2000


def small_gpt(steps: int) -> TrainingConfig:
    """The training of the README's command."""
    return TrainingConfig(
        steps=steps,
        batch_rows=12,
        context=TARGETS + 1,
        learning_rate=1e-3,
        warmup_steps=min(100, steps // 2),
        decay_ratio=0.1,
        beta2=0.99,
        evaluate_every_steps=max(1, steps // 8),
        evaluation_examples=200,
        final_examples=FINAL_ROWS,
    )


def ours(task: TextConfig, training: TrainingConfig, folder: Path) -> list[float]:
    """Losses on the held-out text at every evaluation."""
    run = RunConfig(task=task, model=ModelConfig(scale="d128-L4-h4"), training=training)
    (outcome,) = train([run], folder, Execution())
    assert outcome.state == "done", outcome.message
    lines = (folder / run.run_id / "metrics.jsonl").read_text().splitlines()
    rows = map(json.loads, lines)
    return [r["value"] for r in rows if (r["suite"], r["metric"]) == ("test", "loss")]


def gpt2(task: TextConfig, training: TrainingConfig) -> list[float]:
    """First and last loss of the reference on the same windows."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    text = task.build()
    tokens = torch.from_numpy(text._parts[0].tokens_S.astype(np.int64))
    (held,) = text.evaluation_sets(FINAL_ROWS)
    held_RT = torch.from_numpy(held.rows.tokens_RT.astype(np.int64))
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(text.vocabulary),
            n_positions=TARGETS,
            n_embd=128,
            n_layer=4,
            n_head=4,
            bos_token_id=None,
            eos_token_id=None,
            **dropout,
        )
    )
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        weight_decay=training.weight_decay,
    )

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        logits = model(rows[:, :-1]).logits.flatten(0, 1)
        return torch.nn.functional.cross_entropy(logits, rows[:, 1:].flatten())

    @torch.no_grad()
    def held_out() -> float:
        parts = [loss_of(part).item() for part in held_RT.split(100)]
        return sum(parts) / len(parts)

    rng = torch.Generator().manual_seed(0)
    losses = [held_out()]
    for step in range(training.steps):
        warm = min(1.0, (step + 1) / training.warmup_steps)
        past = (step - training.warmup_steps) / (training.steps - training.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * max(0.0, past)))
        share = training.decay_ratio + (1 - training.decay_ratio) * cosine
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * warm * share
        places = (training.batch_rows,)
        start = torch.randint(len(tokens) - TARGETS, places, generator=rng)
        rows = tokens[start[:, None] + torch.arange(TARGETS + 1)]
        optimizer.zero_grad()
        loss_of(rows).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
        optimizer.step()
    return [*losses, held_out()]


def main() -> None:
    """Train both and print their losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--characters", type=int, default=SHAKESPEARE)
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    training = small_gpt(given.steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.txt"
        left = given.characters
        with path.open("w", newline="") as file:
            for document in read_documents(given.text):
                left -= file.write((document.text + "\n\n")[:left])
                if not left:
                    break
        task = TextConfig(corpus=str(path))
        size = len(task.build().vocabulary)
        characters = path.stat().st_size
        print(f"{characters:,} bytes, {size} tokens, log {size} = {math.log(size):.3f}")
        for name, measure in (
            ("this model", lambda: ours(task, training, Path(folder) / "runs")),
            ("GPT-2 of transformers", lambda: gpt2(task, training)),
        ):
            began = time.process_time()
            losses = measure()
            seconds = time.process_time() - began
            print(
                f"{name:<24}{losses[0]:>8.3f} at the start{losses[-1]:>8.3f} held out"
                f"{seconds:>8.0f} CPU s",
                flush=True,
            )


if __name__ == "__main__":
    main()
