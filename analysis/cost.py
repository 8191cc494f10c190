"""The cost of a run, from its configuration."""

import json
from functools import lru_cache
from typing import Any

from synth.config import ModelConfig, RunConfig
from synth.families.family import member
from synth.identity import canonical_json
from synth.models.describe import SPARSE_VOCABULARY, describe_model, describe_run

FITTED = ("stories", "text")
"""Tasks whose vocabulary is fitted to a corpus, which is too slow during collection."""
ODD = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
"""What reading a configuration of another version, or an edited one, may raise."""


def flops_per_token(config: dict[str, Any], result: dict[str, Any]) -> float | None:
    """Executed training FLOP a token of a stored run; None if unknown.

    Computed by `synth.models.describe`. `result` has the vocabulary's size and the number
    of unembeddings a token, as the run measured them; the tasks in `FITTED` need both.
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
            description = describe_run(RunConfig.from_dict(stored))
            return float(description["training_flops_per_token"])
        model = ModelConfig.from_dict(stored["model"])
        objective = member("objective", stored["objective"], "objective")
        context = int(stored["training"]["context"])
        if unembeddings is None:  # the run did not count them
            all_of_them = stored["objective"]["scored"] != "answer"
            if not all_of_them and vocabulary >= SPARSE_VOCABULARY:
                return None
            unembeddings = objective.unembeddings()
        description = describe_model(
            model, objective, int(vocabulary), context, unembeddings
        )
        return float(description["training_flops_per_token"])
    except ODD:  # its cost is unknown
        return None
