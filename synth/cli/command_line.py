"""What the four command lines share: streams, Ctrl-C, errors, exit status.

Only modules that Python has loaded anyway are imported here. A command imports the rest
in `parse`, where Ctrl-C ends the process at once and a file called `json.py` in the
current folder does not shadow the library's.
"""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder of `synth`."""
READER_GONE = 128 + signal.SIGPIPE
"""Exit status when the reader of a pipe closed it before the command had finished."""

Mistakes = Callable[[], tuple[type[Exception], ...]]
"""Gives further exceptions that are a user's mistake; called when one is raised."""


def run(
    parse: Callable[[list[str] | None], Any],
    arguments: list[str] | None,
    mistakes: Mistakes = tuple,
) -> int:
    """Parse the arguments, run the command, return its exit status; see `status`."""

    def call() -> int:
        with _ended_by_ctrl_c():
            from synth.families.plugins import take_options

            # Before the commands are imported, whose options they may add to.
            words = sys.argv[1:] if arguments is None else arguments
            command = parse(take_options(words))
        return int(command.run())

    open_streams()
    _prefer_library()
    return status(call, mistakes)


def status(call: Callable[[], int], mistakes: Mistakes = tuple) -> int:
    """The exit status of a command; a user's mistake is one message and status 2.

    A `ValueError` is a mistake, and so is an `OSError` (a folder that may not be
    written, a full disk), one of `mistakes` or what a person's own file raises. A closed
    pipe is no error; Ctrl-C has its usual status, 130.
    """
    exit_status: int | None = None
    try:
        exit_status = call()
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
        return exit_status
    except BrokenPipeError:
        return READER_GONE if exit_status is None else exit_status
    except Exception as error:
        said = mistake(error, mistakes)
        if said is None:
            raise
        what = "standard output: " if exit_status is not None else ""
        _complain(f"error: {what}{said}")
        return 2
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    finally:
        _flush_or_drop()


def mistake(error: Exception, mistakes: Mistakes = tuple) -> str | None:
    """What to tell the user whose mistake an error is; else `None`. See `status`."""
    from synth.families.own_errors import in_own_file

    blamed = in_own_file(error)
    if blamed or isinstance(error, (ValueError, OSError, *mistakes())):
        return blamed or describe(error)
    return None


def _complain(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # standard error is closed
        print(message, file=sys.stderr, flush=True)


def open_streams() -> None:
    """Replace closed standard streams by the null device; escape what cannot be encoded.

    A closed descriptor would be given to the next file that is opened, and what is
    printed would be written into it.
    """
    while True:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle > 2:
            os.close(handle)
            break
        os.set_inheritable(handle, True)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a latin-1 terminal lacks most letters
            stream.reconfigure(errors="backslashreplace")


def _flush_or_drop() -> None:
    """Flush; where that fails, drop the rest, so that Python's flush at exit succeeds."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


@contextlib.contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C kill the process while modules are imported, without an exception.

    One raised in the middle of an import leaves half a module, or a traceback.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except ValueError:  # not in the main thread
        handler = None
    try:
        yield
    finally:
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, handler)


def _prefer_library() -> None:
    """Search the standard library first: `-m` puts the current folder before it.

    Not searched at all is the current folder, unless this code lies in it: a file of the
    user's called `numpy.py` would take the place of the package.
    """
    with contextlib.suppress(OSError):  # the current folder is gone
        here, code = os.getcwd(), os.path.dirname(_PACKAGE)
        if sys.path[0] == here and not os.path.samefile(here, code):
            del sys.path[0]
    library = os.path.dirname(os.__file__)
    inside = (library, os.path.join(library, "lib-dynload"))
    sys.path.sort(key=lambda path: path not in inside)


_ADVICE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room, then call again.")
_ADVICE[errno.EEXIST] = "Choose another name, or move what is there."
_ADVICE |= dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS),
    "Choose a place that you may read and write, or ask for the right to.",
)


def describe(error: Exception) -> str:
    """The message of an error; for one of the system: file, reason, advice."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    said = f"{error.strerror}."
    if error.filename is not None:
        said = f"{error.filename}: {said}"
    return " ".join([said, _ADVICE.get(error.errno or 0, "")]).rstrip()
