"""Faults of a node of the private cluster."""

import os
import signal

from slurm.sandbox.cluster_files import ClusterOptions
from slurm.sandbox.daemons import job_processes
from slurm.sandbox.processes import client, kill, node_daemon, step_daemons


def crash_node(options: ClusterOptions, node: str) -> None:
    """End a node as a power cut would: daemon and job processes, without warning.

    `scontrol update state=down` alone does not simulate that: the daemon would go on
    running the job.
    """
    pid = node_daemon(options, node).pid()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    for _ in range(3):  # a dying slurmstepd may leave a child for the next turn
        for victim in step_daemons(options, node):
            kill(victim)
        for victim, words in job_processes(options.conf):
            if words.get("SLURMD_NODENAME") == node:
                kill(victim)
    update = f"nodename={node}", "state=down", "reason=crash"
    client(options, "scontrol", "update", *update, timeout_s=10)
