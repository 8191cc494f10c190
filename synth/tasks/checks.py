"""What a task of one's own may get wrong, refused in words that name its class.

Each is a `ValueError`. Rows are checked when they are drawn or before a run begins, and
names of metrics at each evaluation, of which the first comes before the first step.
Letters in names: E examples of length L, D draws.
"""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from synth.identity import require
from synth.metrics import Metric, Score

if TYPE_CHECKING:
    from synth.tasks.exact import DrawnTask
    from synth.tasks.task import EvaluationSet, Rows, Task, TaskConfig


def drawn(
    task: "DrawnTask", rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """`task.draw(rng, count)`, if it is what the rest of the task announces."""
    name = type(task).__name__
    for needed in ("vocabulary", "length"):
        if not hasattr(task, needed):
            raise ValueError(f"{name} has no {needed}: set self.{needed} in __init__.")
    length, start = task.length, task.answer_start
    allowed = f"from 1 to length - 1 = {length - 1}, where the answer begins"
    require(1 <= start < length, f"{name}.answer_start", allowed, start)
    found: Any = task.draw(rng, count)
    pair = isinstance(found, tuple) and len(found) == 2
    allowed = "two values, the examples and what identifies their problems (or None)"
    require(pair, f"{name}.draw", allowed, type(found).__name__)
    tokens_EL, problem_ED = found
    shape = np.shape(tokens_EL)
    fits = len(shape) == 2 and shape[1] == length
    allowed = f"examples of {length} tokens, its `length`: an array (count, {length})"
    require(fits, f"{name}.draw", allowed, f"shape {shape}")
    of_problems = None if problem_ED is None else np.shape(problem_ED)
    fits = of_problems is None or (len(of_problems) == 2 and of_problems[0] == shape[0])
    allowed = f"problems as an array ({shape[0]}, ...), a row for each example"
    require(fits, f"{name}.draw", allowed, f"shape {of_problems}")
    _require_tokens(task, "draw", tokens_EL, 1)
    return tokens_EL, problem_ED


def require_fitting(task: "Task", method: str, rows: "Rows") -> None:
    """Refuse rows with a token that the vocabulary does not have."""
    _require_tokens(task, method, rows.tokens_RT, 0)


def nothing_to_train(task: "Task", blocks: int, context: int) -> ValueError:
    """The error of a task whose training stream holds no rows."""
    return ValueError(
        f"{type(task).__name__} has no training rows of {context} tokens in {blocks} "
        "blocks one after another: its problems are too few, or none is for training. "
        "Give it more of them (more symbols, longer problems), or use a longer context."
    )


def require_answers(task: "Task", rows: "Rows") -> None:
    """Refuse rows without a target for a loss on answers alone."""
    same_RT = rows.example_RT[:, 1:] == rows.example_RT[:, :-1]
    if not (same_RT & rows.answer_RT[:, 1:]).any():
        raise ValueError(
            f"With scored 'answer' nothing would be trained: no token in the first rows of "
            f"{type(task).__name__} ({rows.tokens_RT.shape[1]} tokens each) is an answer. "
            "Use scored 'all', or a longer context if answers come later in an example."
        )


def require_dummy(task: "Task", rows: "Rows") -> None:
    """Refuse examples with id 0, which stands for blanked answers (teacherless)."""
    if rows.answer_RT.any() and (rows.tokens_RT[rows.example_RT > 0] == 0).any():
        raise ValueError(
            f"Examples of {type(task).__name__} hold the token of id 0, "
            f"{task.vocabulary[0]!r}, which the objective puts in the place of answers: it "
            "would mean two things. Use a tokenizer whose id 0 is not in the text, such as "
            "a trained one, or another objective."
        )


def _require_tokens(task: "Task", method: str, tokens: np.ndarray, least: int) -> None:
    """Refuse tokens that are no whole numbers, or are no ids from `least` on."""
    name, most = f"{type(task).__name__}.{method}", len(task.vocabulary) - 1
    whole = np.issubdtype(tokens.dtype, np.integer)
    require(whole, name, "an array of whole numbers", tokens.dtype)
    for token in (tokens.min(initial=least), tokens.max(initial=least)):
        if not least <= token <= most:
            raise ValueError(
                f"{name} returned token {token}; the vocabulary has ids 1 to {most} "
                "(0 is padding)."
            )


def evaluated(task: "Task", examples: int) -> list["EvaluationSet"]:
    """`task.evaluation_sets(examples)`, if each set has something to be judged on."""
    name = f"{type(task).__name__}.evaluation_sets({examples})"
    sets = task.evaluation_sets(examples)
    if not sets:
        raise ValueError(
            f"{name} returned no set, so nothing would be measured. Return at least one."
        )
    for chosen in sets:
        require_fitting(task, "evaluation_sets", chosen.rows)
        if not chosen.rows.example_RT.any():
            raise ValueError(
                f"{name} returned the set {chosen.suite!r} without examples, so its "
                "scores would be NaN. Return examples, or leave the set out."
            )
    return sets


def require_metrics(config: type["TaskConfig"]) -> None:
    """Refuse declared metrics that are none, or with bounds that nothing measures."""
    owner, metrics = f"{config.__name__}.metrics", config.metrics
    are_metrics = isinstance(metrics, tuple) and all(
        isinstance(one, Metric) for one in metrics
    )
    require(are_metrics, owner, "a tuple of Metric", metrics)
    names = [one.name for one in metrics]
    for one in metrics:
        for bound in ("floor", "ceiling"):
            value = getattr(one, bound)
            known = not isinstance(value, str) or value in names
            allowed = f"a number, or one of {', '.join(names)}"
            require(known, f"{owner}: {bound} of {one.name!r}", allowed, value)


def scores_of(task: "Task", method: str, returned: object) -> list[Score]:
    """What `score` or `verify` returned, if it is a list of `Score` of numbers."""
    if not isinstance(returned, list):
        wrong = [returned]
    else:
        wrong = [one for one in returned if not isinstance(one, Score)]
    name = f"{type(task).__name__}.{method}"
    if wrong:
        raise ValueError(f"{name} must return a list of Score; got {wrong[0]!r}.")
    scores = cast(list[Score], returned)
    for one in scores:
        words = all(
            isinstance(word, str) for word in (one.suite, one.metric, one.slice)
        )
        numbers = isinstance(one.value, Real) and isinstance(one.count, Real)
        allowed = "words for suite, metric and slice, a number, and a count from 0"
        require(words and numbers and one.count >= 0, f"{name}: a Score", allowed, one)
    return scores


def require_measured(
    task: "Task", metrics: Sequence[Metric], scores: Iterable[Score]
) -> None:
    """Refuse scores of one evaluation that are none, not declared, or there twice."""
    name, declared = type(task).__name__, [metric.name for metric in metrics]
    seen: dict[tuple[str, str, str], float] = {}
    for score in scores:
        if score.metric not in declared:
            raise ValueError(
                f"{name} measures {score.metric!r}, which its configuration "
                f"does not declare. Declared in `metrics`: {', '.join(declared) or 'none'}."
            )
        key = (score.suite, score.metric, score.slice)
        if key in seen:
            raise ValueError(
                f"{name} measures {'/'.join(filter(None, key))} twice in one evaluation: "
                f"{seen[key]} and {score.value}. Give one of them another slice, or its "
                "evaluation set another suite."
            )
        seen[key] = score.value
    if not seen:
        raise ValueError(
            f"{name} returned no score of any evaluation set, so nothing would be "
            "measured. Return at least one from `score`."
        )
