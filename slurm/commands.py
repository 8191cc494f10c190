"""The commands of `python -m slurm`, each a dataclass with a `run` method."""

import dataclasses
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from slurm.job_record import RECORD, read_record
from slurm.profile import available_profiles, load_profile, read_profile
from slurm.sandbox import cluster
from slurm.sandbox.cluster_files import DEFAULT_STATE, ClusterOptions
from slurm.status import cancel
from synth.cli.command_line import describe
from synth.cli.run_names import OneRun, SomeRuns
from synth.identity import require
from synth.run.finding import MARKS

SENT = (*MARKS, RECORD)
"""Files of a run that was sent to a cluster: one that never began has the second only."""


@dataclass(frozen=True)
class ClusterCommand:
    """Start or stop the private test cluster of this machine, or show its state."""

    action: Annotated[
        Literal["up", "down", "status"],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="{up,down,status}"),
    ]
    """What to do; each action may be repeated at any time."""
    state: Path = DEFAULT_STATE
    """The folder of all files of the cluster."""
    base_port: int = 17000
    """Port of slurmctld; up to 14 ports above it are used too."""
    accounting: bool = False
    """With slurmdbd and MariaDB, so that sacct works."""
    max_array_size: int = 1001
    """Maximum number of elements in a job array."""
    grace_time_s: int = 10
    """Seconds between the warning of a preempted job and its end."""
    purge: bool = False
    """With `down`: remove the state folder as well."""

    def run(self) -> int:
        """Run the action, and print daemons and nodes."""
        if sys.platform != "linux":
            raise ValueError(
                "The private test cluster needs Linux: it reads /proc and ends process "
                "groups. Clusters are reached with `sweeps run --on slurm`."
            )
        options = ClusterOptions(
            self.state,
            self.base_port,
            self.accounting,
            self.max_array_size,
            self.grace_time_s,
        )
        if self.action == "down":
            ran = cluster.down(options, self.purge)
            print("The cluster is down." if ran else "The cluster was not running.")
            return 0
        if self.action == "up":
            cluster.up(options)
        status = cluster.status(options)
        for name, pid in status.daemons.items():
            print(f"{name:12} {'down' if pid is None else f'process {pid}'}")
        for name, state in status.nodes.items():
            print(f"{name:12} {state}")
        if status.up:
            print(f"To use it: export SLURM_CONF={options.conf}")
        return 0 if status.up else 1


@dataclass(frozen=True)
class Profiles:
    """List the cluster profiles, or show one with all its values."""

    name: tyro.conf.Positional[str] = ""
    """A profile's name, or the path of its TOML file; all are listed without one."""

    def run(self) -> int:
        """Print the profiles; status 2 if one is invalid."""
        if self.name:
            for key, value in dataclasses.asdict(load_profile(self.name)).items():
                print(f"{key:18} {value!r}")
            return 0
        errors: list[str] = []
        for name, path in available_profiles().items():
            mark = ""
            try:
                read_profile(path)
            except (ValueError, OSError) as error:
                errors.append(describe(error))
                mark = "  (invalid)"
            print(f"{name:12} {path}{mark}")
        for words in errors:
            print(f"error: {words}", file=sys.stderr)
        return 2 if errors else 0


@dataclass(frozen=True, kw_only=True)
class Logs(OneRun):
    """Print the log of a run's job."""

    lines: int = 50
    """Number of lines from the end; 0 for all."""

    def run(self) -> int:
        """Print the path of the log, then its last lines."""
        require(self.lines >= 0, "--lines", "at least 0 (0 for all)", self.lines)
        path = self.find(SENT)
        record = read_record(path.parent, path.name)
        if record is None:
            raise ValueError(f"{path.name} was never submitted to a cluster.")
        log = record.log(path)
        print(log)
        if not log.exists():
            print("(nothing yet: the job has not started)")
            return 0
        text = log.read_text(errors="replace").splitlines()
        print("\n".join(text[-self.lines :] if self.lines else text))
        return 0


@dataclass(frozen=True, kw_only=True)
class Cancel(SomeRuns):
    """Cancel the jobs of runs; a new launch continues from checkpoints.

    Runs that share a job are cancelled together.
    """

    states: tuple[Literal["queued", "running", "held"], ...] = ()
    """Only runs in these states; all that have a job by default."""

    def run(self) -> int:
        """Cancel, and print every run that lost its job."""
        folders = defaultdict(list)
        for path in self.find(SENT):
            folders[path.parent].append(path.name)
        ended = 0
        for root, run_ids in folders.items():
            for run in cancel(root, run_ids, self.states or None):
                print(f"cancelled  {run.run_id}  job {run.job_id}")
                ended += 1
        print(f"{ended} runs lost their job")
        return 0
