"""Character-level text models: how many drafted tokens of look-ahead heads are accepted.

The runs of github.com/ysjprojects/awesome-mtp's README on Tiny Shakespeare, arm by arm:

| row of the source | arm |
|---|---|
| next token | `n1` |
| 3 parallel blocks | `n4_added_w0.3` |
| 2 DeepSeek modules | `chain2_added` |
| 1 shared module, 3 depths | `chain3_shared_added` |

Further heads come beside a head 1 of full depth; they share the weight 0.3. At `paper`,
sizes and schedule are the source's; the five seeds are ours. Parallel blocks of the source
read the state after its six layers, as `transfer4_w0.3` does; those of `n4_added_w0.3`
branch off one layer before. Each block and module of the source has a last norm of its
own, here they share one. The source's text does not
come with the suite: set the environment variable `SYNTH_TEXT` to its file
(karpathy/char-rnn, data/tinyshakespeare/input.txt). Without it the text is a megabyte of
generated stories, whose numbers are not comparable with the source's. Acceptance by depth
is measured on the checkpoints:

    SYNTH_TEXT=input.txt python -m sweeps run characters --scale paper
    python -m synth probe speculation runs/characters-paper/* --save
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, takewhile
from pathlib import Path

from sweeps.catalogue.factorial import Factorial, sized_models
from sweeps.sweep import sweep
from synth.command_words import as_typed
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.disk.cache import entry
from synth.identity import digest
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.running_text import TextConfig
from synth.tasks.text.grammar import grammar
from synth.tasks.text.vocabularies import generated_texts

CHARACTERS = 1_100_000
"""Length of the generated text: about that of Tiny Shakespeare."""
NEXT_TOKEN = MultiTokenConfig()
PARALLEL = MultiTokenConfig(horizon=4, budget="added", weight=0.3)
CHAIN = ChainConfig(depth=2, budget="added")
SHARED = ChainConfig(depth=3, modules="shared", budget="added")
ARMS = (NEXT_TOKEN, PARALLEL, CHAIN, SHARED)

QUICK_TRAINING = TrainingConfig(
    steps=100,
    batch_rows=16,
    context=97,
    learning_rate=6e-3,
    warmup_steps=10,
    decay_ratio=0.1,
    evaluate_every_steps=50,
    evaluation_examples=64,
    final_examples=256,
)
TRAINING = replace(
    QUICK_TRAINING,
    steps=1200,
    batch_rows=32,
    warmup_steps=60,
    evaluate_every_steps=100,
)
SCALES = {
    "quick": Factorial(
        models=sized_models("d64-L3-h4"), arms=ARMS, seeds=3, training=QUICK_TRAINING
    ),
    "night": Factorial(
        models=sized_models("d128-L6-h4"),
        arms=ARMS,
        seeds=5,
        training=replace(TRAINING, context=129, learning_rate=2e-3, precision="bf16"),
    ),
    # 32 rows of 256 predicted characters.
    "paper": Factorial(
        models=(ModelConfig(scale="d256-L6-h8", embeddings="tied"),),
        arms=ARMS,
        seeds=5,
        training=replace(TRAINING, context=257, learning_rate=1e-3, warmup_steps=100),
    ),
}


def corpus() -> str:
    """Path of the file named by `SYNTH_TEXT`, else of generated stories."""
    return os.environ.get("SYNTH_TEXT") or str(_generate_stories() / "stories.txt")


def _generate_stories() -> Path:
    def write(folder: Path) -> None:
        texts = list(generated_texts(["story"]))
        ends = accumulate(len(text) + 1 for text in texts)
        few = takewhile(lambda end: end <= CHARACTERS, ends)
        whole = "\n".join(text for text, _ in zip(texts, few, strict=False))
        (folder / "stories.txt").write_bytes(whole.encode())

    return entry("texts", digest([grammar("story").digest, CHARACTERS]), write)


@sweep(
    figure="acceptance by depth",
    answers=f"the README of ysjprojects/awesome-mtp: {as_typed('analysis beside')} "
    "characters characters-drafts",
    scales=tuple(SCALES),
    metric="test/loss/horizon=1",
)
def characters(scale: str) -> Iterator[RunConfig]:
    """Text by characters: next token, three parallel blocks, chains; drafts of each."""
    design = SCALES[scale]
    text = TextConfig(corpus=corpus(), evaluation_length=design.training.context)
    yield from replace(design, tasks=(text,)).runs()
