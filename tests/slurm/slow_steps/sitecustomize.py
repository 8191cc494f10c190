"""Makes each training step of a job last STEP_SECONDS, by sleeping.

On PYTHONPATH of the cluster tests' jobs: runs that have to be interrupted then last as
long on a busy machine as on an idle one, and cost little of it.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time


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
                time.sleep(float(os.environ["STEP_SECONDS"]))
                step(self, clock)

            module.Pack.train_step = train_step

        spec.loader.exec_module = slowed
        return spec


if os.environ.get("STEP_SECONDS"):
    sys.meta_path.insert(0, Finder())
