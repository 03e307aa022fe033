"""The compiled kernels as one function: compiled once for a machine, then loaded as machine code.

numba compiles the loop of this room to machine code, which is kept in the user's cache folder. Loading it takes
llvmlite, numba's own dependency, and some milliseconds; importing numba to find a cached function takes over half a
second.
"""

import ctypes
import hashlib
import logging
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import ModuleType

from cuvee.errors import CuveeWarning

__all__ = ["MISSING", "UNUSED", "cache_folder", "is_missing", "kernel", "on_compile", "write"]

Kernel = Callable[[int, int], int]
"""Takes an operation and the address of a frame; returns what went wrong, 0 if nothing. Others may run meanwhile."""

VARIABLE = "CUVEE_CACHE"
SOURCES = "elements.py", "frame.py", "loop.py", "measures.py", "merges.py", "stages.py"
COMPILER = "cuvee.tensors.kernels.compiler"
MISSING = (
    "numba is not installed: everything is computed in torch, which takes about ten times longer, and several times "
    "the memory. Install it: pip install numba."
)
PATIENCE = 600  # seconds for compiling, which takes 7 on a laptop
DIGEST_BYTES = 32
SEPARATOR = b"\0"  # between the function's name and its machine code
# numba's code for raising Python errors names these; kernels raise none, so they are never called.
UNUSED = (
    "NRT_Free", "NRT_MemInfo_call_dtor", "numba_do_raise", "numba_gil_ensure", "numba_gil_release",
    "numba_runtime_build_excinfo_struct", "numba_unpickle",
)  # fmt: skip
# What may go wrong on a machine that is not as we think. AttributeError: another llvmlite, whose functions differ.
FAILURES = AttributeError, OSError, RuntimeError, ValueError, subprocess.SubprocessError

_listeners: list[Callable[[], None]] = []
_found: list[Kernel | None] = []  # once it has been looked for
_lock = Lock()
_loaded: list[object] = []  # machine code lives as long as its engine


def on_compile(tell: Callable[[], None]) -> None:
    """Have `tell` called before kernels are compiled, which happens once for a machine and takes some seconds.

    Where nobody asked to be told, the logger "cuvee" says it at level INFO, which Python does not show unless asked to.
    `tell` must not use kernels itself.
    """
    _listeners.append(tell)


def cache_folder() -> Path:
    """Return where compiled kernels are kept: $CUVEE_CACHE, or a folder of the user's cache.

    Raises:
        RuntimeError: the user's home folder is unknown.
    """
    # What is found there is executed, so an empty or relative variable must not lead to the current folder by accident.
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cuvee"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "cuvee"


def kernel() -> Kernel | None:
    """Return the compiled loop, or None where everything is to be computed in torch.

    That is where numba or llvmlite is missing, and, with a CuveeWarning, where kernels cannot be compiled or loaded.
    The answer stays the same as long as the process lives.

    Compiles it if this machine, these versions of numba and llvmlite and this version of the source have not been seen
    before; one thread does, the others wait. Where the cache cannot be read or written it is compiled in every process.
    """
    if not _found:
        with _lock:
            if not _found:
                _found.append(_find())
    return _found[0]


def is_missing() -> bool:
    """Say whether kernels cannot be had because their libraries are not installed."""
    return any(find_spec(library) is None for library in ("numba", "llvmlite"))


def _find() -> Kernel | None:
    """Find the compiled loop for `kernel`."""
    try:
        import llvmlite.binding as llvm

        metadata.version("numba")
        return _kept_or_new(llvm)
    except ImportError:  # which a missing package's metadata are, too
        return None
    except FAILURES as error:
        message = f"Kernels could not be compiled or loaded ({error}); computing in torch, which takes longer."
        warnings.warn(message, CuveeWarning, stacklevel=3)
        return None


def _kept_or_new(llvm: ModuleType) -> Kernel:
    """Load the kept machine code, or compile it where it is missing, damaged or cannot be loaded."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    path = None
    with suppress(OSError, RuntimeError):  # no home folder, no source files, no name for the processor: keep nothing
        path = cache_folder() / f"kernels-{_fingerprint(llvm)}.o"
    if path:
        with suppress(*FAILURES):
            return _load(llvm, *_read(path))
    name, code = _compile()
    function = _load(llvm, name, code)
    if path:
        try:
            write(path, name, code)
        except OSError as error:
            message = (
                f"Compiled kernels cannot be kept in {path.parent} ({error.strerror}): every process compiles them "
                f"anew, which takes seconds. Set ${VARIABLE} to a folder that can be written."
            )
            warnings.warn(message, CuveeWarning, stacklevel=2)
    return function


def _fingerprint(llvm: ModuleType) -> str:
    """Name what machine code depends on: source, versions, processor."""
    here = Path(__file__).parent
    parts = [
        *((here / source).read_bytes() for source in SOURCES),
        *(metadata.version(package).encode() for package in ("numba", "llvmlite")),
        platform.machine().encode(),
        llvm.get_host_cpu_name().encode(),
        llvm.get_host_cpu_features().flatten().encode(),
        *(f"{key}={value}".encode() for key, value in sorted(os.environ.items()) if key.startswith("NUMBA_")),
    ]
    return hashlib.blake2b(b"\0".join(parts), digest_size=12).hexdigest()


def _compile() -> tuple[str, bytes]:
    """Compile the loop; return its name and machine code.

    In a process of its own: compiling takes more memory than most merges. It starts in an empty folder and takes
    nothing from the current one, which may be a downloaded model's: no module, and no numba settings. It hands over a
    file, as anything may print.

    Raises:
        OSError: Python cannot be started, or there is no folder for temporary files.
        RuntimeError: no Python is known, or it made no machine code.
        subprocess.TimeoutExpired: it took too long.
    """
    for tell in _listeners or [_log]:
        tell()
    if not sys.executable or getattr(sys, "frozen", False):  # a frozen program would start itself
        raise RuntimeError("there is no Python to compile with")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "kernels.o"
        done = subprocess.run(
            [sys.executable, "-P", "-m", COMPILER, str(path)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": _search_path()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode == 0 and path.exists():
            return _read(path)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    raise RuntimeError(said[-1] if said else f"{sys.executable} made none and gave exit code {done.returncode}")


def _log() -> None:
    """Tell the log that kernels are compiled."""
    logging.getLogger("cuvee").info("Compiling kernels for this machine; this happens once and takes some seconds.")


def _search_path() -> str:
    """Return $PYTHONPATH for the compiler: where this cuvee was found, then what was given.

    Site-packages are searched anyway; named here they would come before the standard library. An empty part is left
    out: it means the current folder, mostly by accident, as in "$PYTHONPATH:/more".
    """
    here = Path(__file__).absolute().parents[3]
    searched = {sysconfig.get_path(scheme) for scheme in ("purelib", "platlib")}
    given = [Path(part).absolute() for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return os.pathsep.join(str(folder) for folder in [here, *given] if folder != here or str(here) not in searched)


def _read(path: Path) -> tuple[str, bytes]:
    """Read a function's name and machine code.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged. LLVM would crash on it.
    """
    data = path.read_bytes()
    digest, rest = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if hashlib.blake2b(rest, digest_size=DIGEST_BYTES).digest() != digest:
        raise ValueError(f"{path} is damaged")
    name, _, code = rest.partition(SEPARATOR)
    return name.decode(), code


def write(path: Path, name: str, code: bytes) -> None:
    """Write a function's name and machine code; other processes see all of it or nothing.

    Raises:
        OSError: the file cannot be written.
    """
    rest = name.encode() + SEPARATOR + code
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.blake2b(rest, digest_size=DIGEST_BYTES).digest() + rest)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink()
        raise


def _load(llvm: ModuleType, name: str, code: bytes) -> Kernel:
    """Put machine code into memory and return its function.

    Raises:
        RuntimeError: it has no such function.
    """
    never = ctypes.cast(ctypes.pythonapi.Py_FatalError, ctypes.c_void_p).value
    for symbol in UNUSED:
        # One table serves the whole process: numba's own functions, which others may use, stay. A numba that is
        # imported later puts its own in our place.
        if llvm.address_of_symbol(symbol) is None:
            llvm.add_symbol(symbol, never)
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    _loaded.extend([engine, machine, code])
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(name)
    if not address:
        raise RuntimeError(f"the machine code has no function {name!r}")
    function: Kernel = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(address)
    return function
