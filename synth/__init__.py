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
    from synth.library import train as train
    from synth.run.loading import Run as Run
    from synth.run.loading import load as load

_HOMES = {"Run": "synth.run.loading", "load": "synth.run.loading"}
_HOMES |= {"train": "synth.library"}
__all__ = ["Run", "load", "train"]


def __getattr__(name: str) -> Any:
    """Import what is used, when it is used: torch takes a second."""
    if name not in _HOMES:
        raise AttributeError(f"module 'synth' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
