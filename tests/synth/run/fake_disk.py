"""A disk that forgets what was not synced, and processes that die between two calls.

Files lie in a real folder, which is what a process sees. Beside it the fake remembers
what the disk holds for sure: the content of a file at its last fsync, the entries of a
folder at its last fsync. `power_cut` puts the folder into a state that a real disk could
be left in: for each entry and each file what is sure, what was seen, or part of it.
"""

import contextlib
import errno
import io
import itertools
import operator
import os
import shutil
import stat
from unittest import mock

import synth.run.checkpoint


class Killed(BaseException):
    """The process died here."""


class FakeDisk:
    """What of the tree below `root` would outlast a power cut."""

    CALLS = ("rename", "replace", "unlink", "rmdir", "mkdir", "truncate")
    TAKE_ROOM = ("mkdir", "open", "save_file", "fsync")

    def __init__(self, root):
        self.root = root
        root.mkdir(exist_ok=True)
        self.left, self.handles = None, {}
        self._forget()

    @contextlib.contextmanager
    def process(self, calls=None, full=False):
        """A process that dies at its `calls`-th call; it lives on if `None`.

        With `full` the disk is full from then on instead: what takes room fails.
        """
        self.left, self.dead, self.full = calls, False, full
        with contextlib.ExitStack() as stack:
            for name in self.CALLS:
                patch = mock.patch.object(os, name, self._counted(getattr(os, name)))
                stack.enter_context(patch)
            stack.enter_context(mock.patch.object(os, "fsync", self._fsync))
            stack.enter_context(mock.patch.object(io, "open", self._open(io.open)))
            save = self._counted(synth.run.checkpoint.save_file)
            stack.enter_context(
                mock.patch.object(synth.run.checkpoint, "save_file", save)
            )
            with contextlib.suppress(Killed):
                yield

    def power_cut(self, rng):
        """Leave a state that the disk could be in; `rng` chooses which."""
        tree = self._folder(os.stat(self.root).st_ino, self.root, rng)
        for entry in os.scandir(self.root):
            shutil.rmtree(entry.path)
        self._write(self.root, tree)
        self._forget()

    def close(self):
        """Let go of the files that are held open."""
        for handle in self.handles.values():
            os.close(handle)
        self.handles = {}

    def _call(self, name):
        if self.left is not None and not self.dead:
            self.left -= 1
            self.dead = self.left < 0
        if self.dead and not self.full:
            raise Killed
        if self.dead and name in self.TAKE_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _counted(self, function):
        def call(*arguments, **named):
            self._call(function.__name__)
            return function(*arguments, **named)

        return call

    def _open(self, function):
        def call(file, mode="r", *arguments, **named):
            if mode[0] in "wa" and str(file).startswith(str(self.root)):
                self._call("open")
            return function(file, mode, *arguments, **named)

        return call

    def _fsync(self, handle):
        self._call("fsync")
        found = os.fstat(handle)
        path = os.readlink(f"/proc/self/fd/{handle}")
        self._keep(path)
        if stat.S_ISDIR(found.st_mode):
            self.entries[found.st_ino] = self._listed(path)
            for name in self.entries[found.st_ino]:
                self._keep(os.path.join(path, name))
        else:
            with open(path, "rb") as file:
                self.synced[found.st_ino] = file.read()

    def _keep(self, path):
        """Hold the file open, so that its inode number is not given to another."""
        handle = os.open(path, os.O_RDONLY)
        number = os.fstat(handle).st_ino
        if number in self.handles:
            os.close(handle)
        else:
            self.handles[number] = handle

    def _forget(self):
        """All that there is now is sure."""
        self.close()
        self.handles, self.synced, self.entries = {}, {}, {}
        self.left, self.dead, self.full = None, False, False
        for path, _, files in os.walk(self.root):
            for name in (path, *(os.path.join(path, file) for file in files)):
                handle = os.open(name, os.O_RDONLY)
                self._fsync(handle)
                os.close(handle)

    @staticmethod
    def _listed(path):
        return {entry.name: entry.inode() for entry in os.scandir(path)}

    def _folder(self, number, path, rng):
        """Name -> content of a folder after the cut: bytes, or the same of a folder."""
        sure, seen = self.entries.get(number, {}), {}
        with contextlib.suppress(FileNotFoundError):
            seen = self._listed(path)
        tree = {}
        for name in sorted({*sure, *seen}):
            chosen = rng.choice([sure.get(name), seen.get(name)])
            if chosen is None:
                continue
            place = os.path.join(path, name)
            if chosen != seen.get(name):
                place = f"/proc/self/fd/{self.handles[chosen]}"
            if os.path.isdir(place):
                tree[name] = self._folder(chosen, place, rng)
            else:
                tree[name] = self._content(chosen, place, rng)
        return tree

    def _content(self, number, path, rng):
        with open(path, "rb") as file:
            seen = file.read()
        sure = self.synced.get(number, b"")
        pairs = zip(sure, seen, strict=False)
        same = sum(itertools.accumulate((a == b for a, b in pairs), operator.and_))
        # What is synced stays. Files hold times, so lengths vary, and by chance nothing may
        # differ: draws are always two, and of a share, lest they depend on the clock.
        torn = seen[: same + int(rng.random() * (len(seen) + 1 - same))]
        zeros = sure + bytes(max(0, len(seen) - len(sure)))
        return rng.choice([sure, seen, torn, zeros])

    def _write(self, path, tree):
        for name, content in tree.items():
            if isinstance(content, dict):
                (path / name).mkdir()
                self._write(path / name, content)
            else:
                (path / name).write_bytes(content)
