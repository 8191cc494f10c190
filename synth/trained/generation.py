"""What a trained model writes after a prompt, and whether an answer is right.

Of a task, prompts are questions: a person's own, or those of its test set. Its verifier
judges an answer; where there is none, the one right answer does, if it is known.
Letters: B batch, V vocabulary, C tokens of a continuation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from synth.decoding import answer_places, continue_greedily, why_no_drafts
from synth.evaluation import why_not_decoded
from synth.identity import require
from synth.models.decoder import PredictionModel
from synth.seeding import generator
from synth.tasks.checks import evaluated
from synth.tasks.exact import DrawnTask
from synth.tasks.packing import PADDING
from synth.tasks.task import EvaluationSet, Task


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; each row has random numbers of its own."""

    temperature: float = 1.0
    """Logits are divided by it."""
    top_k: int | None = None
    """Draw from so many likeliest tokens; from all if not given."""
    seed: int = 0
    """Row r draws by (seed, r), whatever the number of rows."""

    def __post_init__(self) -> None:
        require(self.temperature > 0, "temperature", "above 0", self.temperature)
        require(self.seed >= 0, "seed", "at least 0", self.seed)
        if self.top_k is not None:
            require(self.top_k >= 1, "top_k", "at least 1", self.top_k)

    def choose(self, logits_BV: Tensor, chance_B: Tensor) -> Tensor:
        """The token of each row at which the distribution passes `chance`, (B,)."""
        # The likeliest token stays 0, so that no temperature makes it infinite.
        wide_BV = logits_BV.double()
        scaled_BV = (wide_BV - wide_BV.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < scaled_BV.shape[-1]:
            kept = scaled_BV.topk(self.top_k)
            dropped_BV = torch.full_like(scaled_BV, -torch.inf)
            scaled_BV = dropped_BV.scatter(-1, kept.indices, kept.values)
        passed_BV = scaled_BV.softmax(-1).cumsum(-1)
        # The sum may end below 1, or stay there over tokens that cannot be drawn.
        chance_B1 = (chance_B * passed_BV[:, -1])[:, None]
        return torch.searchsorted(passed_BV, chance_B1, right=True)[:, 0]


@torch.no_grad()
def sample(
    model: PredictionModel,
    prompts_BT: Tensor,
    count: int,
    sampling: Sampling,
    end_token: int | None = None,
) -> Tensor:
    """`count` tokens drawn after prompts of one length, by a model of one lane, (B, count).

    Given an end token, those after it are padding.

    Raises `ValueError` when the model decodes answers in one pass, in which tokens do
    not depend on those before them.
    """
    if model.objective.decodes_at_once:
        raise ValueError(
            f"{model.objective.kind} decodes an answer in one pass, greedily: leave "
            "temperature and top_k out."
        )
    rows = range(len(prompts_BT))
    chance_BC = torch.from_numpy(
        np.stack([generator(sampling.seed, "sample", r).random(count) for r in rows])
    ).to(prompts_BT.device)
    cache = model.start_decoding()
    new_BC = prompts_BT.new_full((len(prompts_BT), count), PADDING)
    active_B = torch.ones_like(new_BC[:, 0], dtype=torch.bool)
    read_KBT = prompts_BT[None]
    for place in range(count):
        (logits_BV,) = model.decode(read_KBT, cache)
        chosen_B = sampling.choose(logits_BV, chance_BC[:, place])
        new_BC[:, place] = chosen_B.where(active_B, PADDING)
        active_B &= chosen_B != end_token
        if not active_B.any():
            break
        read_KBT = chosen_B[None, :, None]
    return new_BC


@dataclass(frozen=True)
class Written:
    """One continuation of one prompt."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    """What the model wrote, its end token included."""
    text: str = ""
    """The tokens as text, where a run wrote them."""
    right: bool | None = None
    """Whether it is a right answer; `None` where nobody can tell."""
    passes: int | None = None
    """Passes of the trunk that gave the tokens, where drafts saved some."""
    drafts: tuple[tuple[str, tuple[int | None, ...]], ...] = ()
    """For each prediction further ahead, its name and what it said of each token."""


def write(
    model: PredictionModel,
    prompt: Sequence[int],
    count: int,
    end_token: int | None = None,
    sampling: Sampling | None = None,
    samples: int = 1,
) -> list[Written]:
    """Continue a prompt, greedily or by sampling, by at most `count` tokens.

    Greedy continuations are all the same, so there is one.

    Raises `ValueError` when the prompt is empty, or the model cannot be sampled from.
    """
    if not prompt:
        raise ValueError("The prompt has no tokens. Give at least one.")
    prompt_BT = torch.tensor([prompt], device=model.embedding_KVD.device)
    passes = None
    if sampling is not None:
        prompts_BT = prompt_BT.expand(samples, -1)
        new_BC = sample(model, prompts_BT, count, sampling, end_token)
    else:
        drafts = not why_no_drafts(model.objective)
        found = continue_greedily(model, prompt_BT[None], count, end_token, drafts)
        (new_BC,) = found.tokens_KBC
        passes = int(found.counts.passes_K[0]) if drafts else None
    written = []
    for new_C in new_BC.tolist():
        ended = end_token in new_C
        tokens = new_C[: new_C.index(end_token) + 1] if ended else new_C
        said = _drafts(model, prompt, tokens)
        written.append(
            Written(tuple(prompt), tuple(tokens), passes=passes, drafts=said)
        )
    return written


@torch.no_grad()
def _drafts(
    model: PredictionModel, prompt: Sequence[int], tokens: Sequence[int]
) -> tuple[tuple[str, tuple[int | None, ...]], ...]:
    """What each further prediction said of the tokens that were then written."""
    if model.num_heads == 1 or model.objective.decodes_at_once:
        return ()
    row = torch.tensor([[[*prompt, *tokens]]], device=model.embedding_KVD.device)
    states = model.head_states(model.run_trunk(row), row)
    found = []
    for said, state in list(zip(model.predictions, states, strict=True))[1:]:
        ids_T = model.unembed(state)[0, 0].argmax(-1).tolist()
        first = len(prompt) - said.offset
        places = range(first, first + len(tokens))
        words = tuple(ids_T[place] if place >= 0 else None for place in places)
        found.append((said.label, words))
    return tuple(found)


def questions(task: Task, count: int) -> list[EvaluationSet]:
    """The first questions of the task's first test set, a set of one row each.

    Raises `ValueError` when its rows are not each a question and an answer.
    """
    chosen = evaluated(task, count)[0]
    if reason := why_not_decoded(chosen.rows):
        raise ValueError(f"The test set {chosen.suite!r} has no prompts: {reason}.")
    rows = range(min(count, len(chosen.rows)))
    return [
        EvaluationSet(
            chosen.suite,
            chosen.rows[r : r + 1],
            {name: label[r : r + 1] for name, label in chosen.labels.items()},
        )
        for r in rows
    ]


def answers(
    model: PredictionModel,
    task: Task,
    question: EvaluationSet,
    sampling: Sampling | None = None,
    samples: int = 1,
) -> list[Written]:
    """What a model answers to a question, each answer judged."""
    (start,), (room,) = answer_places(question.rows, task.end_token)
    prompt = question.rows.tokens_RT[0, :start].tolist()
    found = write(model, prompt, int(room), task.end_token, sampling, samples)
    return [replace(one, right=judge(task, question, one.tokens)) for one in found]


def judge(task: Task, question: EvaluationSet, tokens: Sequence[int]) -> bool | None:
    """Whether an answer is right; `None` where the task cannot tell."""
    (start,), _ = answer_places(question.rows)
    decoded_RT = question.rows.tokens_RT.copy()
    decoded_RT[0, start:] = PADDING
    decoded_RT[0, start : start + len(tokens)] = tokens
    if task.verifies:
        return task.verify(question, decoded_RT)[0].value == 1
    if isinstance(task, DrawnTask) and task.answer_start == 1:
        return None  # nothing was asked: the example that was drawn is one of many
    answer_RT = question.rows.answer_RT
    right = question.rows.tokens_RT[answer_RT]
    if (right == PADDING).any():
        return None
    return bool(np.array_equal(decoded_RT[answer_RT], right))
