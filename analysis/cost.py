"""What a run costs, from its configuration alone."""

import json
from functools import lru_cache
from typing import Any

from synth.config import ModelConfig, RunConfig
from synth.families.family import member
from synth.identity import canonical_json
from synth.models.describe import SPARSE_VOCABULARY, describe_model, describe_run

FITTED = ("stories", "text")
"""Tasks whose vocabulary is fitted to a corpus: too dear to build while collecting."""


def flops_per_token(config: dict[str, Any], result: dict[str, Any]) -> float | None:
    """Executed training FLOP a token of a stored run; null when they cannot be known.

    The cost is that of `synth.models.describe`. `result` is what the run found itself:
    the size of its vocabulary, and how many times it unembedded a token. The tasks in
    `FITTED` cannot be counted without them.
    """
    task = config.get("task")
    kind = task.get("kind") if isinstance(task, dict) else None
    vocabulary = _number(result.get("vocabulary"))
    unembeddings = _number(result.get("unembeddings_per_token"))
    if kind in (None, *FITTED) and vocabulary is None:
        return None
    kept = config | {"seed": 0, "data_seed": None}
    return _flops_per_token(canonical_json(kept), vocabulary, unembeddings)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and value > 0 else None


@lru_cache(maxsize=4096)
def _flops_per_token(
    config: str, vocabulary: float | None, unembeddings: float | None
) -> float | None:
    stored = json.loads(config)
    try:
        if vocabulary is None:
            found = describe_run(RunConfig.from_dict(stored))
            return float(found["training_flops_per_token"])
        model = ModelConfig.from_dict(stored["model"])
        objective = member("objective", stored["objective"], "objective")
        context = int(stored["training"]["context"])
        if unembeddings is None:  # of a run that did not count them
            all_of_them = stored["objective"]["scored"] != "answer"
            if not all_of_them and vocabulary >= SPARSE_VOCABULARY:
                return None
            unembeddings = objective.unembeddings()
        found = describe_model(model, objective, int(vocabulary), context, unembeddings)
        return float(found["training_flops_per_token"])
    # Of another version of the suite, or edited: such a run has no known cost.
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
