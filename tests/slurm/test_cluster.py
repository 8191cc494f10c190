"""The private cluster itself: up, down, both again, and after a crash."""

import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from slurm.__main__ import main
from slurm.queue import read_history
from slurm.sandbox import cluster
from slurm.sandbox.cluster_files import (
    ClusterOptions,
    config_files,
    foreign_files,
    write_files,
)
from slurm.sandbox.daemons import ClusterError, Daemon, is_ours, job_processes
from slurm.sandbox.processes import client
from tests.conftest import PATIENCE_S

from .conftest import free_base_port, until

needs_slurm = pytest.mark.skipif(
    cluster.why_unavailable() is not None, reason=str(cluster.why_unavailable())
)


@pytest.fixture
def own(tmp_path_factory):
    """A cluster of one test's own, not up yet; nothing of it is left afterwards."""
    import tempfile

    options = ClusterOptions(
        tempfile.mkdtemp(prefix="synth-up-", dir="/tmp"), free_base_port()
    )
    yield options
    cluster.down(options, purge=True)
    shutil.rmtree(options.state, ignore_errors=True)


def asked(options, *command):
    """A client's answer, however busy the machine."""
    return client(options, *command, timeout_s=PATIENCE_S)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", ["thesis.txt", "log/mine.txt", "db/mine.txt"])
def test_a_folder_of_somebody_else_is_neither_purged_nor_used(
    tmp_path, capsys, monkeypatch, name
):
    monkeypatch.setattr(cluster, "why_unavailable", lambda accounting: None)
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("data")
    for words in (["down", "--purge"], ["up"]):
        assert main(["cluster", *words, "--state", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert f"{tmp_path} holds files that are not of a private cluster" in said
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes device files")
def test_a_file_among_those_of_a_cluster_keeps_them_from_being_purged(tmp_path):
    options = ClusterOptions(tmp_path / "state")
    write_files(options)
    assert foreign_files(options) == []
    (options.state / "thesis.txt").write_text("data")
    with pytest.raises(ClusterError, match=r"thesis\.txt"):
        cluster.down(options, purge=True)
    assert cluster.down(options) is False
    (options.state / "thesis.txt").unlink()
    cluster.down(options, purge=True)
    assert not options.state.exists()


def test_a_cluster_that_another_call_holds_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "LOCK_PATIENCE_S", 0.1)
    state = tmp_path / "state"
    with cluster._lock(state):
        with pytest.raises(ClusterError, match=rf"held {state}/lock for 0 s"):  # noqa: SIM117
            with cluster._lock(state):
                pass
        shutil.rmtree(state)  # purged by the holder: the next one makes it anew
    with cluster._lock(state):
        assert (state / "lock").exists()


@pytest.mark.parametrize("writes", [True, False])
def test_a_cluster_that_another_call_is_making_is_waited_for(
    tmp_path, monkeypatch, writes
):
    """Half made it has folders without a configuration, like those of others."""
    monkeypatch.setattr(cluster, "why_unavailable", lambda accounting: None)
    options = ClusterOptions(tmp_path / "state")
    errors, waits = [], threading.Event()
    lock = cluster._lock

    def lock_seen(state):
        waits.set()
        return lock(state)

    def second() -> None:
        try:
            cluster.down(options, purge=True)
        except Exception as error:
            errors.append(str(error))

    with lock(options.state):
        monkeypatch.setattr(cluster, "_lock", lock_seen)
        (options.state / "etc").mkdir()
        caller = threading.Thread(target=second)
        caller.start()
        assert until(lambda: waits.is_set() or errors)
        if writes:
            options.conf.touch()
    caller.join()
    assert options.state.exists() is not writes
    assert len(errors) == (not writes)


@pytest.mark.cluster
@needs_slurm
def test_up_and_down_in_every_order(own):
    first = cluster.up(own)
    assert first.up
    assert cluster.up(own) == first  # the same processes
    assert all(listening(port) for port in own.ports)
    shown = asked(own, "sinfo", "-h", "-p", "low", "-o", "%D %t").stdout
    assert shown.split() == ["4", "idle"]

    os.kill(first.daemons["slurmctld"], signal.SIGKILL)
    os.kill(first.daemons["slurmd-n2"], signal.SIGKILL)
    os.kill(first.daemons["munged"], signal.SIGKILL)
    healed = cluster.up(own)
    assert healed.up
    assert healed.daemons["slurmd-n1"] == first.daemons["slurmd-n1"]
    assert healed.daemons["slurmd-n2"] != first.daemons["slurmd-n2"]

    # Another configuration means another cluster: all daemons are new.
    other = ClusterOptions(own.state, own.base_port, max_array_size=5)
    assert set(cluster.up(other).daemons.values()).isdisjoint(healed.daemons.values())
    shown = asked(other, "scontrol", "show", "config").stdout
    assert "MaxArraySize            = 5" in shown

    assert cluster.down(own) is True
    assert cluster.down(own) is False
    assert not any(cluster.status(own).daemons.values())
    assert not any(listening(port) for port in own.ports)
    assert own.conf.exists()
    cluster.down(own, purge=True)
    assert not own.state.exists()


@pytest.mark.cluster
@needs_slurm
def test_down_ends_running_jobs_and_leaves_no_process(own):
    cluster.up(own)
    wrap = ["sbatch", "--mem=100", "-o", "/dev/null", "--wrap", "srun sleep 600"]
    assert asked(own, *wrap).returncode == 0
    assert until(lambda: len(list(job_processes(own.conf))) >= 3)
    # Without a controller nobody can cancel the job: its processes go all the same.
    os.kill(cluster.status(own).daemons["slurmctld"], signal.SIGKILL)
    cluster.down(own)
    assert until(lambda: not list(job_processes(own.conf)))


@pytest.mark.cluster
@needs_slurm
def test_two_callers_at_once_make_one_cluster(own):
    found, errors = [], []

    def call() -> None:
        try:
            found.append(cluster.up(own))
        except Exception as error:
            errors.append(error)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert errors == []
    assert found[0] == found[1]


@pytest.mark.cluster
@needs_slurm
def test_a_port_that_is_taken_is_named(own):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", own.ports[-1]))
        taken.listen()
        with pytest.raises(ClusterError, match=f"Port {own.ports[-1]} is taken"):
            cluster.up(own)


@pytest.mark.cluster
@needs_slurm
def test_the_command(own, capsys):
    where = ["--state", str(own.state), "--base-port", str(own.base_port)]
    assert main(["cluster", "status", *where]) == 1
    assert main(["cluster", "up", *where]) == 0
    assert f"export SLURM_CONF={own.conf}" in capsys.readouterr().out
    assert main(["cluster", "down", "--purge", *where]) == 0
    assert main(["cluster", "down", *where]) == 0
    assert "was not running" in capsys.readouterr().out


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.skipif(
    cluster.why_unavailable(with_accounting=True) is not None,
    reason=str(cluster.why_unavailable(with_accounting=True)),
)
def test_accounting_remembers_jobs(own, monkeypatch):
    options = ClusterOptions(own.state, own.base_port, accounting=True)
    assert cluster.up(options).up
    wrap = ["sbatch", "--mem=100", "-o", "/dev/null", "--parsable", "--wrap", "exit 3"]
    job = asked(options, *wrap).stdout.strip()
    words = ["sacct", "-n", "-P", "-X", "-j", job, "-o", "State,ExitCode"]
    assert until(lambda: "FAILED|3:0" in asked(options, *words).stdout)
    assert cluster.down(options)
    assert cluster.up(options).up  # the database is there still
    monkeypatch.setenv("SLURM_CONF", str(options.conf))
    entry = read_history([job])[job]
    assert (entry.state, entry.reason) == ("FAILED", "exit 3:0")
    assert entry.name in ("wrap", "allocation")
    assert not entry.live


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"state": "/tmp/" + "x" * 90}, "at most 80 characters"),
        ({"state": "/tmp/a b"}, "no blanks"),
        ({"base_port": 80}, "from 1024 to 65000; got 80"),
        ({"max_array_size": 0}, "at least 1; got 0"),
    ],
)
def test_impossible_options_are_refused(options, words, capsys):
    with pytest.raises(ValueError, match=words):
        ClusterOptions(**options)
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    assert main(["cluster", "up", *flags]) == 2
    assert "error: ClusterOptions" in capsys.readouterr().err


def test_why_not_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in cluster.why_unavailable()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert "no munged, slurmctld" in cluster.why_unavailable()
    assert "apt-get install" in cluster.why_unavailable(with_accounting=True)


def test_every_path_of_the_configuration_is_inside_the_state_folder():
    options = ClusterOptions("/some/where", accounting=True)
    for path, text in config_files(options).items():
        assert path.is_relative_to("/some/where")
        for word in text.replace("=", " ").replace(",", " ").split():
            if word.startswith("/"):
                assert word.startswith(("/some/where/", "/bin/true")), word


def test_a_process_is_ours_only_with_our_folder(tmp_path):
    state = tmp_path / "state"
    (state / "log").mkdir(parents=True)
    sleep = ["tail", "-f", "/dev/null", f"{state}/x"]
    (state / "x").touch()
    daemon = Daemon("sleeper", sleep, state / "pid", state, detaches=False)
    assert daemon.start() is True
    assert until(lambda: daemon.pid() is not None)
    assert daemon.start() is False
    pid = daemon.pid()
    assert not is_ours(pid, "slurmctld", state)
    assert not is_ours(pid, "tail", tmp_path / "stat")
    assert daemon.stop() is True
    assert not is_ours(pid, "tail", state)
    assert daemon.stop() is False
    # A pid file that names somebody else's process is no reason to end it.
    with subprocess.Popen(["tail", "-f", "/dev/null"]) as other:
        (state / "pid").write_text(f"{other.pid}\n")
        assert daemon.pid() is None
        daemon.stop()
        assert other.poll() is None
        other.kill()
