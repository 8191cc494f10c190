"""How fast this machine trains a shape, as measured: the base of plans and of lanes.

One file a machine (`~/.cache/synth/calibration-<digest>.json`), for each shape the
tokens per second of all lanes together, by number of lanes. It is filled by
`python -m sweeps plan NAME --calibrate`, by launches that are long enough to pay for it,
and by every pack that trains.
"""

import contextlib
import fcntl
import json
import math
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sweeps.costs import described, flops_per_token, tokens
from synth.compilation import step_form
from synth.config import RunConfig
from synth.environment import package_versions
from synth.execution import Execution
from synth.identity import canonical_json, digest
from synth.store import write_atomically

Speeds = dict[int, float]
"""Lanes to tokens per second of the whole pack."""
Basis = Literal["measured", "nearest", "rule"]
"""What a number of lanes rests on: this shape, one of like cost, or none."""
NEAR = 3.0
"""Shapes whose cost of a token differs by no more than this gain alike from lanes."""
QUIET = 0.9
"""Share of a core below which a measurement was disturbed by other work."""


def machine() -> dict[str, str]:
    """What a measurement is valid for."""
    return {
        "host": platform.node(),
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "torch": package_versions()["torch"],
    }


def cache_folder() -> Path:
    """Where measurements lie: `$XDG_CACHE_HOME/synth`."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "synth"


def shape(config: RunConfig, execution: Execution) -> str:
    """Everything that decides about the speed of a step."""
    training, task = config.training, config.task
    return canonical_json(
        {
            "task": task.kind,
            "vocabulary": described(config)["vocabulary"],
            "model": config.model.canonical(),
            "horizon": config.objective.horizon,
            "rows": training.batch_rows,
            "context": training.context,
            "precision": training.precision,
            "device": execution.device,
            "threads": execution.threads,
            "step": step_form(execution, tokens(config), flops_per_token(config)),
        }
    )


@dataclass
class Calibration:
    """Measured speeds by shape; `flops` keeps the cost of a token beside each.

    `shares` keeps the share of a core that the measurement got: speeds are those of a
    quiet machine, and a low share says that this one was not.
    """

    path: Path
    shapes: dict[str, Speeds] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | None = None) -> "Calibration":
        """What is known of this machine; nothing, if the file is damaged or absent."""
        name = f"calibration-{digest(machine())[:12]}.json"
        found = cls((folder or cache_folder()) / name)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            stored = json.loads(found.path.read_bytes())
            for entry in stored["shapes"]:
                speeds = {int(k): float(v) for k, v in entry["speeds"].items()}
                found.shapes[entry["shape"]] = speeds
                found.flops[entry["shape"]] = float(entry["flops_per_token"])
                found.shares[entry["shape"]] = float(entry.get("share", 1.0))
        return found

    def speeds(self, config: RunConfig, execution: Execution) -> Speeds:
        """Tokens per second by lanes, for exactly this shape; empty if unknown."""
        return self.shapes.get(shape(config, execution), {})

    def speed(
        self, config: RunConfig, execution: Execution, lanes: int
    ) -> tuple[float, bool] | None:
        """Tokens per second of a pack, and whether its shape itself was measured.

        Otherwise the FLOP rate of the measured shape of nearest cost is taken, on the
        same device and threads; `None` when there is none.
        """
        known = self.speeds(config, execution)
        if known:
            nearest = min(known, key=lambda k: abs(math.log(k / lanes)))
            return known[nearest], True
        cost = flops_per_token(config)
        here = json.loads(shape(config, execution))
        close = [
            (abs(math.log(self.flops[key] / cost)), key)
            for key in self.shapes
            if all(json.loads(key)[n] == here[n] for n in ("device", "threads"))
        ]
        if not close:
            return None
        key = min(close)[1]
        speeds = self.shapes[key]
        nearest = min(speeds, key=lambda k: abs(math.log(k / lanes)))
        return speeds[nearest] * self.flops[key] / cost, False

    def lane_speeds(
        self, config: RunConfig, execution: Execution
    ) -> tuple[Speeds, Basis]:
        """Speeds to choose lanes by, at two numbers of lanes at least, or none.

        Those of the shape itself, or else of the calibrated shape of nearest cost that
        runs the same way: what lanes gain depends on the size of the products, hardly
        on the task. Only their ratios hold for another shape.
        """
        own = self.speeds(config, execution)
        if len(own) > 1:
            return own, "measured"
        same = ("device", "threads", "step", "precision")
        here, cost = json.loads(shape(config, execution)), flops_per_token(config)
        close = []
        for key, speeds in self.shapes.items():
            there, distance = json.loads(key), abs(math.log(self.flops[key] / cost))
            # Files of earlier versions lack some names.
            alike = all(there.get(name) == here[name] for name in same)
            mixer = there["model"].get("mixer") == here["model"].get("mixer")
            if len(speeds) > 1 and alike and mixer and distance <= math.log(NEAR):
                close.append((distance, key))
        return (self.shapes[min(close)[1]], "nearest") if close else ({}, "rule")

    def share(self, config: RunConfig, execution: Execution) -> float:
        """Share of a core that the measurement of this shape got; 1 if unknown."""
        return self.shares.get(shape(config, execution), 1.0)

    def learn(
        self,
        config: RunConfig,
        execution: Execution,
        lanes: int,
        speed: float,
        share: float = 1.0,
    ) -> None:
        """Take a measurement up; `save` writes it."""
        key = shape(config, execution)
        self.shapes.setdefault(key, {})[lanes] = speed
        self.flops[key] = flops_per_token(config)
        self.shares[key] = share

    def observe(
        self, config: RunConfig, execution: Execution, lanes: int, speed: float
    ) -> None:
        """Take up what a real pack reached, unless the shape was calibrated.

        One number of lanes is kept: packs that trained at other times, beside other
        work, do not compare.
        """
        known = self.shapes.setdefault(shape(config, execution), {})
        if len(known) < 2:
            known.clear()
            self.learn(config, execution, lanes, speed)

    def save(self) -> None:
        """Merge with what other launches wrote meanwhile, and write."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = Calibration.load(self.path.parent)
            for key, speeds in self.shapes.items():
                theirs = known.shapes.get(key, {})
                # What was only observed (one entry) gives way to a calibration.
                if len(speeds) > 1 or len(theirs) < 2:
                    known.shapes[key] = speeds
                    known.shares[key] = self.shares.get(key, 1.0)
                known.flops[key] = self.flops[key]
            entries = [
                {
                    "shape": key,
                    "flops_per_token": known.flops[key],
                    "share": known.shares.get(key, 1.0),
                    "speeds": {str(k): v for k, v in sorted(speeds.items())},
                }
                for key, speeds in sorted(known.shapes.items())
            ]
            content = {"machine": machine(), "shapes": entries}
            write_atomically(self.path, json.dumps(content, indent=1).encode() + b"\n")
