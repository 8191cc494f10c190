"""What a run costs, from its configuration alone."""

import json
from functools import lru_cache
from typing import Any

from synth.config import ModelConfig, RunConfig
from synth.describe import describe_model, describe_run
from synth.identity import canonical_json

FITTED = ("stories", "text")
"""Tasks whose vocabulary is fitted to a corpus: too dear to build while collecting."""


def flops_per_token(
    config: dict[str, Any], vocabulary: int | None = None
) -> float | None:
    """Training FLOP a token of a stored configuration; null when it cannot be known.

    The cost is that of `synth.describe`: unembeddings count once a head, so a longer
    horizon costs more at equal tokens. `vocabulary` is the size that the run found; the
    tasks in `FITTED` cannot be counted without it.
    """
    fitted = (config.get("task") or {}).get("kind") in (None, *FITTED)
    if fitted and vocabulary is None:
        return None
    kept = config | {"seed": 0, "data_seed": None}
    return _flops_per_token(canonical_json(kept), vocabulary)


@lru_cache(maxsize=4096)
def _flops_per_token(config: str, vocabulary: int | None) -> float | None:
    stored = json.loads(config)
    try:
        if vocabulary is None:
            found = describe_run(RunConfig.from_dict(stored))
        else:
            model = ModelConfig.from_dict(stored["model"])
            horizon = int(stored["objective"]["horizon"])
            context = int(stored["training"]["context"])
            found = describe_model(model, horizon, int(vocabulary), context)
        return float(found["training_flops_per_token"])
    except (ValueError, TypeError, KeyError):  # of another version of the suite
        return None
