"""The compiled kernels as one function: compiled once for a machine, then loaded as machine code.

numba compiles the loop of this room to machine code, which is kept in the user's cache folder. Loading it takes
llvmlite, numba's own dependency, and some milliseconds; importing numba to find a cached function takes over half a
second.
"""

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from cuvee.errors import CuveeWarning

__all__ = ["SEPARATOR", "cache_folder", "kernel", "on_compile"]

Kernel = Callable[[int, int], int]
"""Takes an operation and the address of a frame; returns what went wrong, 0 if nothing. Others may run meanwhile."""

VARIABLE = "CUVEE_CACHE"
SOURCES = "elements.py", "frame.py", "loop.py", "measures.py", "merges.py", "stages.py"
DIGEST_BYTES = 32
SEPARATOR = b"\0"  # between the function's name and its machine code
# numba's code for raising Python errors names these; kernels raise none, so they are never called.
UNUSED = (
    "NRT_Free", "NRT_MemInfo_call_dtor", "numba_do_raise", "numba_gil_ensure", "numba_gil_release",
    "numba_runtime_build_excinfo_struct", "numba_unpickle",
)  # fmt: skip

_listeners: list[Callable[[], None]] = []


def on_compile(tell: Callable[[], None]) -> None:
    """Have `tell` called before kernels are compiled, which happens once for a machine and takes some seconds."""
    _listeners.append(tell)


def cache_folder() -> Path:
    """Return where compiled kernels are kept: $CUVEE_CACHE, or a folder of the user's cache."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cuvee"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cuvee"


@cache
def kernel() -> Kernel | None:
    """Return the compiled loop, or None where numba is missing.

    Compiles it if this machine, these versions of numba and llvmlite and this version of the source have not been seen
    before. Where the cache cannot be written it is compiled in every process.
    """
    try:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        path = cache_folder() / f"kernels-{_fingerprint(llvm)}.o"
    except (ImportError, metadata.PackageNotFoundError, RuntimeError):
        return None
    name, code = _read(path) or ("", b"")
    if not code:
        compiled = _compile()
        if compiled is None:
            return None
        name, code = compiled
        _write(path, name, code)
    return _load(llvm, name, code)


def _fingerprint(llvm: object) -> str:
    """Name what machine code depends on: source, versions, processor."""
    here = Path(__file__).parent
    parts = [
        *((here / source).read_bytes() for source in SOURCES),
        *(metadata.version(package).encode() for package in ("numba", "llvmlite")),
        platform.machine().encode(),
        llvm.get_host_cpu_name().encode(),  # type: ignore[attr-defined]
        llvm.get_host_cpu_features().flatten().encode(),  # type: ignore[attr-defined]
        *(f"{key}={value}".encode() for key, value in sorted(os.environ.items()) if key.startswith("NUMBA_")),
    ]
    return hashlib.blake2b(b"\0".join(parts), digest_size=12).hexdigest()


def _compile() -> tuple[str, bytes] | None:
    """Compile the loop; return its name and machine code, or None where that fails, which is warned of.

    In a process of its own: compiling takes more memory than most merges.
    """
    for tell in _listeners:
        tell()
    command = [sys.executable, "-m", "cuvee.tensors.kernels.compiler"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        cause = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        warnings.warn(f"Kernels could not be compiled ({cause[0]}); computing in torch.", CuveeWarning, stacklevel=2)
        return None
    name, _, code = done.stdout.partition(SEPARATOR)
    return name.decode(), code


def _read(path: Path) -> tuple[str, bytes] | None:
    """Read what was kept, if it is there and whole."""
    with suppress(OSError):
        data = path.read_bytes()
        digest, rest = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        name, _, code = rest.partition(SEPARATOR)
        if hashlib.blake2b(rest, digest_size=DIGEST_BYTES).digest() == digest:
            return name.decode(), code
    return None


def _write(path: Path, name: str, code: bytes) -> None:
    """Keep machine code, if the folder can be written; other processes see all of it or nothing."""
    rest = name.encode() + SEPARATOR + code
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.blake2b(rest, digest_size=DIGEST_BYTES).digest() + rest)
        Path(temporary).replace(path)


_loaded: list[object] = []  # machine code lives as long as its engine


def _load(llvm: object, name: str, code: bytes) -> Kernel:
    """Put machine code into memory and return its function."""
    binding: object = llvm
    never = ctypes.cast(ctypes.pythonapi.Py_FatalError, ctypes.c_void_p).value
    for symbol in UNUSED:
        binding.add_symbol(symbol, never)  # type: ignore[attr-defined]
    machine = binding.Target.from_default_triple().create_target_machine()  # type: ignore[attr-defined]
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)  # type: ignore[attr-defined]
    engine.add_object_file(binding.ObjectFileRef.from_data(code))  # type: ignore[attr-defined]
    engine.finalize_object()
    _loaded.extend([engine, machine, code])
    function: Kernel = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(
        engine.get_function_address(name)
    )
    return function
