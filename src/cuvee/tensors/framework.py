"""torch, imported when it is first used.

Planning, checking a recipe or listing methods imports the primitives but computes nothing; importing torch costs over a
second and 80 MB. The rooms of this floor take `torch` from here; type checkers see the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

__all__ = ["single_threaded", "torch"]

if TYPE_CHECKING:
    import torch as torch
else:

    class _Torch:
        """Stands for the module and hands out its attributes."""

        def __getattr__(self, name: str) -> object:
            import torch as real

            return getattr(real, name)

    torch = _Torch()


@contextmanager
def single_threaded(needed: bool = True) -> Iterator[None]:
    """Let torch use one thread per calling thread inside the block.

    Then sums have one order, and workers do not fight for cores.

    Args:
        needed: do nothing, and do not import torch, if False.
    """
    if not needed:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
