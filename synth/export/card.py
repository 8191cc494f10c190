"""The model card of an exported run: what it was trained on, towards what, how well."""

import json

from synth.config import RunConfig
from synth.export.train_command import train_command
from synth.families.file_names import name_files, name_files_in
from synth.run.result_file import NAME as RESULT
from synth.trained.loading import Run

MOST_NUMBERS = 40
USE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
"""


def model_card(run: Run) -> str:
    """A README.md with what the hub reads at its top."""
    config, stored = run.config, run.config.to_dict()
    task, objective = type(config.task), type(config.objective)
    parameters = sum(weight.numel() for weight in run.model.parameters())
    predictions = [head.prediction.label for head in config.objective.heads()]
    left_out = ", ".join(predictions[1:])
    others = f" Left out: {left_out}." if left_out else ""
    sessions = (run.folder.read_json("environment.json") or {}).get("sessions")
    session = sessions[-1] if sessions else {}
    commit = session.get("code", {}).get("commit") or "unknown"
    tokens = run.step * config.training.tokens_per_step
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags:
- synth
- {config.task.kind}
---

# {run.run_id}

A small decoder that `synth` trained on the task below, and on nothing else, converted to
`LlamaForCausalLM`.

- **Task** `{config.task.kind}`: {task.purpose()}
- **Data**: generator version {task.version}, data seed {config.resolved_data_seed}; \
{len(run.tokenizer)} tokens in the vocabulary
- **Objective** `{config.objective.arm}` ({config.objective.kind}): {objective.purpose()} \
This model is the prediction of the next token.{others}
- **Size**: {config.model.scale}, {parameters:,} parameters in the run
- **Training**: {run.step:,} of {config.training.steps:,} steps, {tokens:,} tokens
- **Positions**: rotary, without a limit; trained on rows of {config.training.context}
- **Split held out**: {config.split}.
- **Commit**: {commit}

## Scores at step {run.step}

{_scores(run)}

## How it was trained

```
{name_files_in(train_command(config), RunConfig, stored)}
```

## Use

```python
{USE}```

{_ends(run)}

## Configuration

```json
{json.dumps(name_files(RunConfig, stored), indent=1)}
```
"""


def _scores(run: Run) -> str:
    """A table of the numbers of the last evaluation."""
    rows = [
        row
        for row in run.metrics.filter(step=run.step).iter_rows(named=True)
        if row["suite"] != "train" and row["value"] is not None
    ]
    if not rows:
        return "This checkpoint was not evaluated."
    lines = ["| set | metric | slice | value | examples |", "|---|---|---|---|---|"]
    for row in rows[:MOST_NUMBERS]:
        cells = (row["suite"], row["metric"], row["slice"], f"{row['value']:.4f}")
        lines.append(f"| {' | '.join(cells)} | {row['count']} |")
    if len(rows) > MOST_NUMBERS:
        lines.append(f"\nand {len(rows) - MOST_NUMBERS} more in `metrics.jsonl`.")
    whole = (run.path / RESULT).exists()
    return "\n".join(lines) + ("" if whole else "\n\nThe run was not done.")


def _ends(run: Run) -> str:
    end = run.tokenizer.end
    if end is None:
        return (
            "No token ends every answer: generate as many tokens as the answers of the "
            "task have. No token begins a text."
        )
    name = run.tokenizer.vocabulary[end]
    return f"The token `{name}` ends a text or an answer. No token begins one."
