"""Systems that are not Linux: what only Linux has is taken away, and a run trains still.

macOS itself is not tested here.
"""

import errno
import os
import platform
import select
import shutil
import signal
import stat
import sys
from pathlib import Path

import pytest

from slurm.__main__ import main as slurm
from sweeps.packs import memory_per_slot
from synth.fast import native
from synth.run.execution import Execution
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.test_training import content

LINUX_ALONE = (
    (os, "sched_getaffinity sched_setaffinity sched_getparam sched_setscheduler"),
    (os, "posix_fadvise posix_fallocate copy_file_range splice eventfd memfd_create"),
    (os, "pidfd_open setns unshare getrandom O_PATH O_TMPFILE O_NOATIME O_DIRECT"),
    (os, "fork forkpty setresuid getresuid listxattr getxattr setxattr"),
    (signal, "SIGRTMIN SIGRTMAX SIGPWR SIGSTKFLT pidfd_send_signal sigtimedwait"),
    (select, "epoll"),
)


def without_linux_functions(patch, tmp_path):
    for module, names in LINUX_ALONE:
        for name in names.split():
            patch.delattr(module, name, raising=False)
    patch.setattr(sys, "platform", "darwin")


def without_proc(patch, tmp_path):
    opened = Path.open

    def refuse(path, *arguments, **options):
        if str(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return opened(path, *arguments, **options)

    patch.setattr(Path, "open", refuse)
    assert platform.node() in native._features()  # another processor, another key


def without_a_compiler(patch, tmp_path):
    patch.setattr(shutil, "which", lambda name: None)


def with_a_compiler_that_knows_no_flag(patch, tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text('#!/bin/sh\necho "unsupported option $*" >&2\nexit 1\n')
    compiler.chmod(0o755)
    patch.setenv("CXX", str(compiler))


def without_sync_of_folders(patch, tmp_path):
    sync = os.fsync

    def refuse(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        sync(handle)

    patch.setattr(os, "fsync", refuse)


TAKE_AWAY = (
    without_linux_functions,
    without_proc,
    without_a_compiler,
    with_a_compiler_that_knows_no_flag,
    without_sync_of_folders,
)


@pytest.fixture
def fresh_caches():
    """What a process finds out once is found out here, and forgotten after it."""
    native.load.cache_clear()
    yield
    native.load.cache_clear()


@pytest.mark.filterwarnings("ignore:The step is not compiled")
@pytest.mark.parametrize("take_away", TAKE_AWAY, ids=lambda one: one.__name__)
def test_a_run_trains_without(take_away, tmp_path, monkeypatch, fresh_caches):
    config = tiny_run()
    eager = Execution(compile="off")
    (whole,) = train([config], tmp_path / "linux", eager)
    take_away(monkeypatch, tmp_path)
    execution = Execution(compile="on") if "compiler" in take_away.__name__ else eager
    (outcome,) = train([config], tmp_path / "other", execution)
    assert outcome.state == whole.state == "done", outcome.message
    assert content(tmp_path / "other", config) == content(tmp_path / "linux", config)


def test_memory_of_workers_where_the_free_part_is_unknown(monkeypatch):
    known = os.sysconf

    def ask(name):
        if name == "SC_AVPHYS_PAGES":
            raise ValueError("unrecognized configuration name")
        return known(name)

    monkeypatch.setattr(os, "sysconf", ask)
    total = known("SC_PHYS_PAGES") * known("SC_PAGE_SIZE")
    assert memory_per_slot(Execution(), slots=2) == pytest.approx(0.2 * total)


def test_the_private_cluster_is_refused_elsewhere(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert slurm(["cluster", "up"]) == 2
    assert "needs Linux" in capsys.readouterr().err
