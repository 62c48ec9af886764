"""The libraries of operators.cpp and blur.cpp: compiled for this processor at first use, kept in the user's cache."""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import torch
from filelock import FileLock

from arcsr_lightning.errors import first_line
from arcsr_lightning.files import write_aside

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
COMPILERS = ("c++", "clang++")  # after $CXX
SECONDS = 300  # that a compiler may take

log = logging.getLogger(__name__)


class NoLibraryError(Exception):
    """Why there is no library."""


@functools.cache
def load(number: str, name: str) -> ctypes.CDLL | None:
    """Return the library of a source for "float" or "double", built first where it is not in the cache.

    None, and once a line in the log, where that cannot be. ``ARCSR_NATIVE=0`` in the environment means none.
    """
    try:
        if os.environ.get("ARCSR_NATIVE") == "0":
            raise NoLibraryError("ARCSR_NATIVE=0")
        if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
            raise NoLibraryError("this processor lacks AVX2")
        return _open(SOURCES / f"{name}.cpp", [*_compiler(), *FLAGS, f"-DNUMBER={number}"])
    except (NoLibraryError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        _say(first_line(error))
        return None


@functools.cache
def _say(reason: str) -> None:
    log.info("Nothing is compiled for this processor, PyTorch does the work at a fraction of the speed: %s", reason)


def cache_folder() -> Path:
    """Where libraries are kept: a folder of the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "arcsr_lightning"


def _compiler() -> list[str]:
    for command in (os.environ.get("CXX", ""), *COMPILERS):
        name, *options = shlex.split(command) or [""]  # "ccache g++"
        if path := shutil.which(name):
            return [path, *options]
    raise NoLibraryError("no C++ compiler is found; CXX may name one")


def _open(source: Path, command: list[str]) -> ctypes.CDLL:
    """The library of the cache, or one that is built there, or where nothing can be written there, for this process."""
    path = cache_folder() / f"{source.stem}-{_key(source, command)}.so"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    _build(source, command, path)
        except OSError:  # such as a home that is read-only
            with tempfile.TemporaryDirectory() as folder:
                _build(source, command, Path(folder) / path.name)
                return ctypes.CDLL(str(Path(folder) / path.name))  # stays mapped when its file is gone
    return ctypes.CDLL(str(path))


def _key(source: Path, command: list[str]) -> str:
    """Of everything that the library depends on."""
    code = (path.read_bytes() for path in (source, *sorted(source.parent.glob("*.hpp"))))
    parts = (*code, repr(command).encode(), _processor().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]


@functools.cache
def _processor() -> str:
    """What the processor is and can."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("vendor", "cpu family", "model", "flags"))}))


def _build(source: Path, command: list[str], path: Path) -> None:
    with write_aside(path) as aside:
        whole = [*command, str(source), "-o", str(aside)]
        nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
        with subprocess.Popen(
            whole, stdin=nothing, stdout=nothing, stderr=pipe, text=True, start_new_session=True
        ) as compiler:
            try:
                _, said = compiler.communicate(timeout=SECONDS)
            except BaseException:
                os.killpg(compiler.pid, signal.SIGKILL)  # the command is a driver, which starts others
                raise
        if compiler.returncode:
            errors = [line for line in said.splitlines() if "error" in line] or [said or "it failed"]
            raise NoLibraryError(f"{command[0]}: {first_line(Exception(errors[0]))}")
        ctypes.CDLL(str(aside))  # raises where it does not load
