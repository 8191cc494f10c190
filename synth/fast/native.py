"""The passes of `kernels/`, compiled on first use and kept in the user's cache.

The library is built with the machine's own C++ compiler (`$CXX`, else c++, g++ or
clang++), in about five seconds, once for each processor type and compiler; any number of
processes may ask for it at once. `available` says whether, and if not why not. Nothing
is compiled or loaded at import.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synth.disk.cache import entry
from synth.disk.places import cache_folder

SOURCES = Path(__file__).with_name("kernels")
INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
FLAGS = ("-O3", "-std=c++17", "-march=native", "-fopenmp-simd", "-fno-math-errno")

_SIGNATURES = {
    "unit_rms": "ppppiiiif",
    "unit_rms_backward": "pppppppiiii",
    "gated": "ppii",
    "gated_backward": "ppppii",
    "attend": "pppppiiii",
    "attend_backward": "pppppppiiiii",
    "cross_entropy": "ppppii",
    "attend_registers": "ppppppiiiii",
    "attend_registers_backward": "ppppppppiiiii",
    "layers": "ppppppp",
    "layers_backward": "pppppppp",
    "kept_by_layers": "p",
}
_RESULTS = {"kept_by_layers": ctypes.c_long}
_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_long, "f": ctypes.c_float}
_TYPES = (torch.float32, torch.bfloat16)


class Native:
    """The passes of `kernels/` for one type of activations, fp32 or bf16.

    A pass is called with contiguous tensors and numbers, in the order of its C++
    parameters; nothing is checked here. Losses, rates, logarithms of sums and rotation
    tables are fp32 and targets int64, whatever the type.
    """

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.path = path
        library = ctypes.CDLL(str(path))
        addresses = ctypes.c_size_t * (len(_SIGNATURES) * len(_TYPES))
        table = addresses.in_dll(library, "passes")
        mine = table[_TYPES.index(dtype) :: len(_TYPES)]
        self._functions = {
            name: ctypes.CFUNCTYPE(
                _RESULTS.get(name), *(_KINDS[kind] for kind in kinds)
            )(address)
            for (name, kinds), address in zip(_SIGNATURES.items(), mine, strict=True)
        }
        self.block: int = ctypes.c_long.in_dll(library, "block").value
        """Positions of a block."""
        widest = (ctypes.c_long * len(_TYPES)).in_dll(library, "widest")
        self.widest: int = widest[_TYPES.index(dtype)]
        """The widest layers that are faster in one call than with products of torch."""

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Run one function; `None` is the null pointer, and what most return."""
        return self._functions[name](
            *[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        )


def available() -> tuple[bool, str]:
    """Whether the library can be used here, and the reason if it cannot."""
    try:
        load()
    except (OSError, ValueError) as error:  # no compiler, no cache folder
        return False, str(error)
    return True, ""


@functools.cache
def load(dtype: torch.dtype = torch.float32) -> Native:
    """The library, built if the cache has none for this machine.

    Raises
    ------
    OSError
        When there is no compiler, or when it fails, with its message.
    """
    compiler = find_compiler()
    if compiler is None:
        raise OSError("no C++ compiler was found (set CXX, or install g++)")
    folder = entry("native", _key(compiler), functools.partial(_build, compiler))
    return Native(folder / "native.so", dtype)


def find_compiler() -> str | None:
    """The path of the C++ compiler, if there is one."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    return None


def _flags() -> list[str]:
    wide = platform.machine() in ("x86_64", "AMD64")
    return [*FLAGS, *(["-mprefer-vector-width=512"] if wide else [])]


def _key(compiler: str) -> str:
    """A digest of what the library depends on: source, flags, compiler, processor."""
    sha = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        sha.update(source.read_bytes())
    seen = [*_flags(), compiler, _first_line(compiler), platform.machine(), _features()]
    sha.update("\0".join(seen).encode())
    return sha.hexdigest()[:32]


def _first_line(compiler: str) -> str:
    try:
        done = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, timeout=20
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{compiler} does not answer") from error
    return done.stdout.partition("\n")[0]


def _features() -> str:
    """The processor's instruction sets; the machine's name where the system lists none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.processor()} of {platform.node()}"
    wanted = ("flags", "Features", "model name", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _build(compiler: str, folder: Path) -> None:
    command = [compiler, *_flags(), "-fPIC", "-shared", str(SOURCES / "passes.cpp")]
    try:
        done = subprocess.run(
            [*command, "-o", str(folder / "native.so")],
            capture_output=True,
            text=True,
            timeout=600,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{compiler} took more than ten minutes") from error
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise OSError(f"{compiler} failed: {words[-1] if words else 'no message'}")


def prepare_torch_compile(device: str) -> tuple[bool, str]:
    """Share torch's compiled code between processes; whether it can compile here.

    Its cache of graphs and kernels (safe for any number of processes) goes to the user's
    cache folder, unless the environment names another. Once imported, torch itself names
    one in the folder of temporary files, which a machine forgets.
    """
    given = os.environ.get(INDUCTOR)
    if given is None or Path(given).parent == Path(tempfile.gettempdir()):
        os.environ[INDUCTOR] = str(cache_folder() / "inductor")
    if device == "cpu" and find_compiler() is None:
        return False, "no C++ compiler was found (set CXX, or install g++)"
    return True, ""
