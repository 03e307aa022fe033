"""torch and numpy, imported when they are first used.

Planning, checking a recipe or listing methods imports the primitives but computes nothing; importing torch costs over a
second and 80 MB, and numpy a tenth of that. The rooms of this floor take `torch` from here, and sources that compute
take `np`; type checkers see the real ones.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

__all__ = ["np", "single_threaded", "torch"]

_threads_before: list[int | None] = []  # of each single-threaded block; None while torch is not imported
_lock = threading.Lock()

if TYPE_CHECKING:
    import numpy as np
    import torch as torch
else:

    class _Numpy:
        """Stands for the module and hands out its attributes."""

        def __getattr__(self, name: str) -> object:
            import numpy as real

            return getattr(real, name)

    np = _Numpy()

    class _Torch:
        """Stands for the module and hands out its attributes."""

        def __getattr__(self, name: str) -> object:
            import torch as real

            if None in _threads_before:
                _limit(real)
            return getattr(real, name)

    torch = _Torch()


def _limit(real: Any) -> None:
    """Make torch, imported just now, use one thread."""
    with _lock:
        if None in _threads_before:
            _threads_before[:] = [real.get_num_threads() if n is None else n for n in _threads_before]
            real.set_num_threads(1)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let torch use one thread per calling thread inside the block, whether it is imported before or in it.

    Then sums have one order, and workers do not fight for cores.
    """
    _threads_before.append(None)
    if "torch" in sys.modules:
        _limit(sys.modules["torch"])
    try:
        yield
    finally:
        before = _threads_before.pop()
        if before is not None:
            torch.set_num_threads(before)
