"""Makes each training step last STEP_SECONDS, while the file STEP_BRAKE exists.

On PYTHONPATH of processes that a test wants to interrupt: they cannot come to an end
before the test has done its part, on a fast machine or a slow one, and cost little of
it. Without STEP_BRAKE the steps are slow to the end. See `tests.conftest.Brake`.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time


def wait() -> None:
    """The pause before a step."""
    brake = os.environ.get("STEP_BRAKE")
    if brake is None or os.path.exists(brake):
        time.sleep(float(os.environ["STEP_SECONDS"]))


class Finder(importlib.abc.MetaPathFinder):
    """Wraps `synth.pack` when it is imported, and nothing else."""

    def find_spec(self, name, path, target=None):
        if name != "synth.pack":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        genuine = spec.loader.exec_module

        def slowed(module):
            genuine(module)
            step = module.Pack.train_step

            def train_step(self, clock):
                wait()
                step(self, clock)

            module.Pack.train_step = train_step

        spec.loader.exec_module = slowed
        return spec


if os.environ.get("STEP_SECONDS"):
    sys.meta_path.insert(0, Finder())
