"""One thread for each call of numpy's linear algebra, as long as several workers call it at once.

Numpy's wheels bring OpenBLAS, which shares a large product or decomposition out among all cores: workers would fight
for them, and the last bits of a result would depend on their number. OpenBLAS can be told otherwise. Where numpy has
another library (Accelerate on macOS, MKL) nothing is told it, and the promise of equal bits is that library's.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["one_blas_thread"]

# What the functions are called in numpy's wheels, in builds of 64-bit integers, and elsewhere.
NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")

_lock = threading.Lock()
_before: list[int] = []  # threads before the outermost block; then one entry for each block


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let numpy's linear algebra use one thread per calling thread inside the block."""
    get, put = _functions()
    with _lock:
        _before.append(get())
        put(1)
    try:
        yield
    finally:
        with _lock:
            outermost = _before[0]
            _before.pop()
            if not _before:
                put(outermost)


@cache
def _functions() -> tuple[Callable[[], int], Callable[[int], None]]:
    """Return what tells and what sets the number of threads; what does nothing where there is no OpenBLAS."""
    from numpy.linalg import _umath_linalg

    library = ctypes.CDLL(_umath_linalg.__file__)  # its own symbols, and those of what it was linked with
    for name in NAMES:
        if hasattr(library, name.format("set")):
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return (lambda: 1), (lambda _: None)
