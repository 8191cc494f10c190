"""One run: what is trained, on what, towards what.

```python
import synth

run = synth.train(config)       # or synth.load("runs/ID")
run.logits(run.tokens("..."))
```

Knows nothing of sweeps, clusters or plots. See README.md for the map of the rooms.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synth.trained.loading import Run as Run
    from synth.trained.loading import load as load
    from synth.trained.loading import train as train

__all__ = ["Run", "load", "train"]


def __getattr__(name: str) -> Any:
    """Import what is used, when it is used: torch takes a second."""
    if name not in __all__:
        raise AttributeError(f"module 'synth' has no attribute {name!r}")
    from synth.trained import loading

    return getattr(loading, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
