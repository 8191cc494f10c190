"""A private SLURM cluster on this machine, for tests and experiments.

munge, slurmctld and four slurmd run as root, without systemd, with all their state in
one folder; optionally slurmdbd and MariaDB for accounting. `up` takes about a second
and may be called at any time: it starts missing daemons and resumes crashed nodes.
`down` ends only the daemons of this state folder.

    python -m slurm cluster up
    export SLURM_CONF=/run/synth-slurm/etc/slurm.conf
    sinfo
    python -m slurm cluster down --purge
"""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slurm.sandbox import accounting
from slurm.sandbox.cluster_files import (
    LOCK,
    ClusterOptions,
    files_differ,
    foreign_files,
    write_files,
)
from slurm.sandbox.daemons import (
    ClusterError,
    job_processes,
    search_path,
    tail,
    wait_until,
)
from slurm.sandbox.processes import (
    client,
    cluster_daemons,
    kill,
    node_daemon,
    step_daemons,
)
from synth.identity import first_few

PACKAGES = "munge slurmctld slurmd slurm-client"
ACCOUNTING_PACKAGES = "slurmdbd mariadb-server"
PATIENCE_S = 90.0
"""Maximum wait for a daemon to answer; usually a second, longer on a busy machine."""
LOCK_PATIENCE_S = 4 * PATIENCE_S
"""Maximum wait for another call that changes the cluster."""


@dataclass(frozen=True)
class ClusterStatus:
    """Process ids by daemon name, None if it does not run; states by node name."""

    daemons: dict[str, int | None]
    nodes: dict[str, str]

    @property
    def up(self) -> bool:
        """Whether every daemon runs and every node takes jobs."""
        return all(self.daemons.values()) and all(
            _takes_jobs(state) for state in self.nodes.values()
        )


def why_unavailable(with_accounting: bool = False) -> str | None:
    """Why no private cluster can run here, in one sentence; None if one can."""
    if os.geteuid() != 0:
        return "The private SLURM cluster needs root: its daemons act for any user."
    programs = ["munged", "slurmctld", "slurmd", "scontrol", "sbatch", "srun"]
    packages = PACKAGES
    if with_accounting:
        programs += accounting.PROGRAMS
        packages += f" {ACCOUNTING_PACKAGES}"
    missing = [
        name for name in programs if shutil.which(name, path=search_path()) is None
    ]
    if missing:
        return (
            f"SLURM is not installed (no {', '.join(missing)}): "
            f"apt-get install --no-install-recommends {packages}"
        )
    host = _host()
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return f"The host name {host} does not resolve: add it to /etc/hosts."
    return None


def up(options: ClusterOptions) -> ClusterStatus:
    """Start the missing daemons of the cluster; returns when it accepts jobs.

    Raises `ClusterError`, naming what is missing or did not start, with the ends of the
    logs.
    """
    reason = why_unavailable(options.accounting)
    if reason:
        raise ClusterError(reason)
    with _lock_own_folder(options):
        if files_differ(options):
            _stop_all(options)
        write_files(options)
        _refuse_taken_ports(options)
        _start_all(options)
        _resume_nodes(options)
        if not wait_until(lambda: _nodes_ready(options), PATIENCE_S):
            raise ClusterError(_error_with_logs(options, "The nodes take no jobs"))
    return status(options)


def down(options: ClusterOptions, purge: bool = False) -> bool:
    """End the jobs and daemons of this cluster; returns whether any daemon ran.

    `purge` also removes the state folder.

    Raises `ClusterError` when `purge` would remove files of somebody else.
    """
    if not options.state.exists():
        return False
    with _lock_own_folder(options) if purge else _lock(options.state):
        ran = _stop_all(options)
        if purge:
            shutil.rmtree(options.state)
    return ran


def status(options: ClusterOptions) -> ClusterStatus:
    """The state of the daemons and the nodes; takes at most 5 s."""
    pids = {daemon.name: daemon.pid() for daemon in cluster_daemons(options)}
    return ClusterStatus(pids, _node_states(options) if pids["slurmctld"] else {})


def _start_all(options: ClusterOptions) -> None:
    """Start the daemons that do not run, and repeat until the controller answers.

    A daemon that was just killed still has a process for a moment, so starting is
    repeated while waiting; it has no effect on running daemons.
    """
    munged, *database, controller = cluster_daemons(options)[: -len(options.nodes)]
    nodes = [node_daemon(options, node) for node in options.nodes]

    def authentication_is_up() -> bool:
        socket_file = options.state / "run" / "munge.socket"
        if munged.pid() is None:
            socket_file.unlink(missing_ok=True)
            Path(f"{socket_file}.lock").unlink(missing_ok=True)
            munged.start()
        # A munged that has died leaves a socket on which other daemons would hang.
        ask = ["munge", "--no-input", f"--socket={socket_file}"]
        return subprocess.run(ask, capture_output=True).returncode == 0

    def controller_answers() -> bool:
        if not authentication_is_up():
            return False
        for daemon in (controller, *nodes):
            daemon.start()
        return client(options, "scontrol", "ping").returncode == 0

    if not wait_until(authentication_is_up, PATIENCE_S):
        raise ClusterError(_error_with_logs(options, "munged opens no socket"))
    if database:
        accounting.start(options)
    if not wait_until(controller_answers, PATIENCE_S):
        raise ClusterError(_error_with_logs(options, "slurmctld does not answer"))
    if database:
        accounting.register(options)


def _resume_nodes(options: ClusterOptions) -> None:
    """Resume nodes that a crash left down or drained."""
    for node, state in _node_states(options).items():
        if state.rstrip("*") in ("down", "drain", "drained", "drng", "fail", "unk"):
            # Refused, harmlessly, for a node that came back by itself.
            update = f"nodename={node}", "state=resume"
            client(options, "scontrol", "update", *update)


def _stop_all(options: ClusterOptions) -> bool:
    daemons = cluster_daemons(options)
    if (options.state / "db" / "data").exists() and not options.accounting:
        daemons[1:1] = accounting.daemons(options)
    running = [daemon for daemon in daemons if daemon.pid() is not None]
    if any(daemon.name == "slurmctld" for daemon in running):
        client(options, "scancel", "-f", "-u", getpass.getuser(), timeout_s=20)
        wait_until(lambda: not client(options, "squeue", "-h").stdout.strip(), 15)
    # Processes that scancel did not reach, for instance without a controller, and for
    # which the nodes would wait.
    for pid in [*step_daemons(options), *(p for p, _ in job_processes(options.conf))]:
        if pid != os.getpid():
            kill(pid)
    # Nodes first, munged last: each daemon needs those that started before it.
    for daemon in reversed(daemons):
        daemon.stop()
    return bool(running)


def _node_states(options: ClusterOptions) -> dict[str, str]:
    shown = client(options, "sinfo", "-h", "-N", "-p", "low", "-o", "%N %t").stdout
    pairs = (line.split() for line in shown.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _takes_jobs(state: str) -> bool:
    return state in ("idle", "mix", "alloc", "comp")


def _nodes_ready(options: ClusterOptions) -> bool:
    states = _node_states(options)
    return len(states) == len(options.nodes) and all(map(_takes_jobs, states.values()))


def _refuse_taken_ports(options: ClusterOptions) -> None:
    if any(daemon.pid() is not None for daemon in cluster_daemons(options)):
        return  # this cluster itself uses some of the ports
    for port in options.ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise ClusterError(
                    f"Port {port} is taken by another program, or by another cluster: "
                    "choose another --base-port."
                ) from None


@contextlib.contextmanager
def _lock(state: Path) -> Iterator[None]:
    """Allow one caller at a time to change the cluster in `state`.

    Raises `ClusterError` when another process holds the lock for longer than
    `LOCK_PATIENCE_S`.
    """
    from filelock import FileLock, Timeout

    # A kernel lock: released when its holder dies, and not inherited by the daemons.
    lock = FileLock(state / LOCK, timeout=LOCK_PATIENCE_S)
    while not lock.is_locked:
        state.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            lock.acquire()
        except FileNotFoundError:
            continue  # the previous holder has removed the folder
        except Timeout:
            raise ClusterError(
                f"Another process has held {lock.lock_file} for "
                f"{LOCK_PATIENCE_S:.0f} s (`fuser {lock.lock_file}` names it). Wait for "
                "it or end it, then call again."
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _lock_own_folder(options: ClusterOptions) -> Iterator[None]:
    """`_lock`; refuses files that `up` would mix with its own, and `purge` remove.

    Before the lock only a folder without a lock file is refused, and none is put there:
    with one, the files may be those of a call that has yet to write its configuration.
    """
    foreign = foreign_files(options)  # before the look at the lock, which is older
    if foreign and not (options.state / LOCK).exists():
        raise _not_ours(options, foreign)
    with _lock(options.state):
        if foreign := foreign_files(options):
            raise _not_ours(options, foreign)
        yield


def _not_ours(options: ClusterOptions, foreign: list[str]) -> ClusterError:
    return ClusterError(
        f"{options.state} holds files that are not of a private cluster: "
        f"{first_few(foreign)}. Name another folder with --state."
    )


def _error_with_logs(options: ClusterOptions, what: str) -> str:
    logs = sorted((options.state / "log").glob("*"))
    return "\n".join([f"{what}.", *(tail(log) for log in logs if log.stat().st_size)])


def _host() -> str:
    return socket.gethostname().split(".")[0]
