"""Storms of kills and signals, as many as wanted; results are compared byte by byte.

    python -m tests.storms local --rounds 10 --faults 12
    python -m tests.storms cluster --rounds 3 --faults 15

`local` hits `python -m sweeps run` and its workers on this machine, `cluster` the jobs,
nodes and daemons of a private cluster of its own (root, SLURM installed). Ends with
status 1 if any run is not done, or not what an undisturbed run is.
"""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from slurm.sandbox import cluster
from slurm.sandbox.cluster_files import ClusterOptions
from sweeps.sweep_lookup import find_sweep
from synth.run.code_copy import HERE
from synth.training import train
from tests.conftest import SLOW_STEPS, Brake
from tests.slurm.conftest import MAX_ARRAY_SIZE, Site, free_base_port, tiny
from tests.storms.on_cluster import Storm
from tests.storms.on_this_machine import aftermath, storm
from tests.sweeps.conftest import content, write_sweep


@dataclass(frozen=True)
class Arguments:
    """Which storms, how many, how long."""

    where: tyro.conf.Positional[Literal["local", "cluster"]]
    """On this machine, or on a private cluster."""
    rounds: int = 3
    """Sweeps, each through a storm of its own."""
    faults: int = 10
    """Faults of each."""
    seed: int = 0
    """Of the first round; each round has the next."""


def local(arguments: Arguments, seed: int) -> list[str]:
    """One storm over a sweep of eight runs; what is wrong afterwards."""
    with tempfile.TemporaryDirectory(prefix="storm-") as name:
        cwd = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(cwd / "cache")
        path = write_sweep(cwd, seeds=4, steps=40, layers=(3,))
        configs = find_sweep(str(path))("quick")
        root = cwd / "runs" / "depths-quick"
        for line in storm(seed, arguments.faults, path, root, cwd):
            print(f"  {line}", flush=True)
        problems = aftermath(configs, path, root, cwd)
        for config in configs:
            train([config], cwd / "calm")
            if content(root, config) != content(cwd / "calm", config):
                problems.append(f"{config.run_id} differs from an undisturbed run")
        return problems


def on_cluster(arguments: Arguments, seed: int) -> list[str]:
    """One storm over three packs on a cluster of its own; what is wrong afterwards."""
    with tempfile.TemporaryDirectory(prefix="synth-storm-", dir="/tmp") as name:
        folder = Path(name)
        # Not inside that folder: munge's socket must be reachable by all.
        state = Path(tempfile.mkdtemp(prefix="synth-slurm-", dir="/tmp"))
        options = ClusterOptions(state, free_base_port(), max_array_size=MAX_ARRAY_SIZE)
        os.environ["SLURM_CONF"] = str(options.conf)
        site = Site(options, folder / "runs", Brake(folder / "brake"))
        packs = [[tiny(2 * i, 60), tiny(2 * i + 1, 60)] for i in range(3)]
        try:
            cluster.up(options)
            blowing = Storm(site, packs, seed)
            try:
                blowing.blow(arguments.faults)
                blowing.calm()
            except AssertionError as error:
                return [str(error)]
            finally:
                for line in blowing.story:
                    print(f"  {line}", flush=True)
        finally:
            cluster.down(options, purge=True)
        problems = []
        for config in (config for pack in packs for config in pack):
            train([config], folder / "calm")
            if content(site.root, config) != content(folder / "calm", config):
                problems.append(f"{config.run_id} differs from an undisturbed run")
        return problems


def main() -> int:
    """All rounds; a line for each fault and each problem."""
    arguments = tyro.cli(Arguments, description=__doc__)
    reason = cluster.why_unavailable() if arguments.where == "cluster" else None
    if reason:
        print(reason, file=sys.stderr)
        return 2
    os.environ["OMP_NUM_THREADS"] = "1"
    paths = [str(HERE), str(SLOW_STEPS)]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    call = local if arguments.where == "local" else on_cluster
    wrong = 0
    for number in range(arguments.rounds):
        seed = arguments.seed + number
        print(f"round {number + 1}, seed {seed}", flush=True)
        problems = call(arguments, seed)
        wrong += len(problems)
        for problem in problems:
            print(f"  WRONG: {problem}", flush=True)
    print(f"{arguments.rounds} rounds, {wrong} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
