"""The processes of the private cluster: its daemons, their clients, job processes.

Nothing here is ended by name alone: a daemon is ours by its state folder, a step by the
node's log that it holds open, a job's process by the cluster named in its environment.
"""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from slurm.clients import clean_environment
from slurm.sandbox import accounting
from slurm.sandbox.cluster_files import ClusterOptions
from slurm.sandbox.daemons import Daemon, path_of, search_path


def cluster_daemons(options: ClusterOptions) -> list[Daemon]:
    """Every daemon of the cluster, in the order in which they start."""
    state = options.state
    munged = Daemon(
        "munged",
        [
            path_of("munged"),
            f"--key-file={state}/munge/munge.key",
            f"--socket={state}/run/munge.socket",
            f"--pid-file={state}/run/munged.pid",
            f"--log-file={state}/munge/munged.log",
            f"--seed-file={state}/munge/munged.seed",
            "--num-threads=2",
        ],
        state / "run" / "munged.pid",
        state,
    )
    database = accounting.daemons(options) if options.accounting else []
    nodes = [node_daemon(options, node) for node in options.nodes]
    return [munged, *database, controller_daemon(options), *nodes]


def controller_daemon(options: ClusterOptions) -> Daemon:
    """The slurmctld of the cluster."""
    return Daemon(
        "slurmctld",
        [path_of("slurmctld"), "-f", str(options.conf)],
        options.state / "run" / "slurmctld.pid",
        options.state,
        {"SLURM_CONF": str(options.conf)},
    )


def node_daemon(options: ClusterOptions, node: str) -> Daemon:
    """The slurmd that plays `node`."""
    return Daemon(
        f"slurmd-{node}",
        [path_of("slurmd"), "-N", node, "-f", str(options.conf)],
        options.state / "run" / f"slurmd-{node}.pid",
        options.state,
        {"SLURM_CONF": str(options.conf)},
        stop_timeout_s=6.0,  # one that reports to a dead controller takes longer
    )


def client(
    options: ClusterOptions, *command: str, timeout_s: float = 5.0
) -> subprocess.CompletedProcess[str]:
    """Run one SLURM client against this cluster; a client that hangs gives code 124."""
    try:
        return subprocess.run(
            command,
            env=environment(options),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "no answer in time")


def environment(options: ClusterOptions) -> dict[str, str]:
    """This process's environment, with the cluster's configuration in it."""
    own = {"SLURM_CONF": str(options.conf), "PATH": search_path()}
    return clean_environment(os.environ) | own


def step_daemons(options: ClusterOptions, node: str | None = None) -> list[int]:
    """The slurmstepd of this cluster, known by the node's log that they hold open."""
    names = [node] if node else options.nodes
    logs = {str(options.state / "log" / f"slurmd-{name}.log") for name in names}
    pids = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().strip() == "slurmstepd" and any(
                os.readlink(link) in logs for link in (folder / "fd").iterdir()
            ):
                pids.append(int(folder.name))
    return pids


def kill(pid: int) -> None:
    """Kill a process, if it still exists."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
