"""What a run costs, from its configuration alone."""

import json
from functools import lru_cache
from typing import Any

from synth.config import RunConfig
from synth.describe import describe_run
from synth.identity import canonical_json

FITTED = ("stories", "text")
"""Tasks whose vocabulary is fitted to a corpus: too dear to build while collecting."""


def flops_per_token(config: dict[str, Any]) -> float | None:
    """Training FLOP a token of a stored configuration; null when it cannot be known.

    The cost is that of `synth.describe`: unembeddings count once a head, so a longer
    horizon costs more at equal tokens.
    """
    if (config.get("task") or {}).get("kind") in (None, *FITTED):
        return None
    return _flops_per_token(canonical_json(config | {"seed": 0, "data_seed": None}))


@lru_cache(maxsize=4096)
def _flops_per_token(config: str) -> float | None:
    try:
        run = RunConfig.from_dict(json.loads(config))
        return float(describe_run(run)["training_flops_per_token"])
    except (ValueError, TypeError):  # of another version of the suite
        return None
