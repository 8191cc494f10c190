"""Accounting for the private cluster: MariaDB, slurmdbd, one account, one user."""

import os
import shutil
import subprocess
from pathlib import Path

from slurm.clients import clean_environment
from slurm.sandbox.cluster_files import ClusterOptions
from slurm.sandbox.daemons import ClusterError, Daemon, path_of, tail, wait_until

PROGRAMS = ["slurmdbd", "sacctmgr", "mariadbd", "mariadb", "mariadb-install-db"]


def daemons(options: ClusterOptions) -> list[Daemon]:
    """MariaDB and slurmdbd, in the order in which they start."""
    state, data = options.state, options.state / "db"
    database = Daemon(
        "mariadbd",
        [
            path_of("mariadbd"),
            "--no-defaults",
            "--user=mysql",
            f"--datadir={data}/data",
            f"--socket={data}/mysql.sock",
            f"--pid-file={data}/mariadbd.own.pid",
            "--skip-networking=0",
            "--bind-address=127.0.0.1",
            f"--port={options.base_port + 2}",
            f"--log-error={data}/mariadbd.log",
            "--innodb-buffer-pool-size=64M",
            "--innodb-lock-wait-timeout=900",
            "--innodb-log-file-size=32M",
        ],
        state / "run" / "mariadbd.pid",
        state,
        detaches=False,
        stop_timeout_s=30.0,
    )
    dbd = Daemon(
        "slurmdbd",
        [path_of("slurmdbd")],
        state / "run" / "slurmdbd.pid",
        state,
        {"SLURM_CONF": str(options.conf)},
    )
    return [database, dbd]


def start(options: ClusterOptions) -> None:
    """Create the database if it is missing, and start both daemons."""
    database, dbd = daemons(options)
    data = options.state / "db" / "data"
    if not (data / "mysql").exists():
        _create(data)
    database.start()
    log = options.state / "db" / "mariadbd.log"
    if not wait_until(lambda: _sql(options, "select 1"), 90):
        raise ClusterError(f"MariaDB does not answer.\n{tail(log)}")
    statements = ["create database if not exists slurm_acct"]
    for host in ("127.0.0.1", "localhost"):
        user = f"'slurm'@'{host}'"
        statements += [
            f"create user if not exists {user} identified by 'slurm'",
            f"grant all on slurm_acct.* to {user}",
        ]
    if not _sql(options, "; ".join(statements)):
        raise ClusterError(f"MariaDB refused to make the user.\n{tail(log)}")
    dbd.start()
    if not wait_until(lambda: _sacctmgr(options, "-n", "show", "cluster"), 90):
        log = options.state / "log" / "slurmdbd.log"
        raise ClusterError(f"slurmdbd does not answer.\n{tail(log)}")


def register(options: ClusterOptions) -> None:
    """Create the account and the user, unless they exist."""
    note = ("Description=sim", "Organization=sim")
    _sacctmgr(options, "-i", "add", "account", "sim", *note)
    _sacctmgr(options, "-i", "add", "user", "root", "Account=sim")


def _create(data: Path) -> None:
    shutil.chown(data.parent, "mysql", "mysql")
    command = [
        path_of("mariadb-install-db"),
        "--user=mysql",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if made.returncode:
        raise ClusterError(f"mariadb-install-db failed:\n{made.stdout}{made.stderr}")


def _sql(options: ClusterOptions, statements: str) -> bool:
    address = f"--socket={options.state}/db/mysql.sock"
    command = [path_of("mariadb"), "--no-defaults", address, "-u", "root"]
    return _succeeds([*command, "-e", statements], {})


def _sacctmgr(options: ClusterOptions, *words: str) -> bool:
    return _succeeds([path_of("sacctmgr"), *words], {"SLURM_CONF": str(options.conf)})


def _succeeds(command: list[str], extra: dict[str, str]) -> bool:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=10,
            env=clean_environment(os.environ) | extra,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
