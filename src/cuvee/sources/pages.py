"""Pages of files that are mapped into memory: letting them go, so that reading a file does not fill the memory with it.

The system keeps what was read of a mapped file, and counts it as memory of this process, until it needs the room. Where
the system says what is mapped where (Linux), pages can be dropped at once; they are read again when they are needed.
Elsewhere they stay as long as there is room. Knows nothing of tensors.
"""

import ctypes
import mmap
import os
from collections.abc import Collection
from functools import cache
from pathlib import Path

__all__ = ["MappedPages"]

MAPS = Path("/proc/self/maps")


class MappedPages:
    """Where files are mapped now.

    Nothing may have been written to the mappings: what is dropped is read from the files again.

    Args:
        files: the files; one that is not mapped has no pages.
    """

    def __init__(self, files: Collection[Path]) -> None:
        self._ranges: list[tuple[int, int]] = []
        if not MAPS.exists():
            return
        names = {os.path.realpath(file) for file in files}
        # First and last address, rights, offset, device, inode, path.
        lines = (line.split(maxsplit=5) for line in os.fsdecode(MAPS.read_bytes()).splitlines())
        for addresses in (parts[0] for parts in lines if len(parts) == 6 and parts[5] in names):
            begin, _, end = addresses.partition("-")
            self._ranges.append((int(begin, 16), int(end, 16)))

    def let_go(self, address: int, nbytes: int) -> None:
        """Drop the pages that hold some bytes, if those lie in one of the files; nothing is dropped elsewhere.

        Args:
            address: of the first byte.
            nbytes: how many.
        """
        for begin, end in self._ranges:
            if begin <= address and address + nbytes <= end:
                first = address - address % mmap.PAGESIZE
                # Advice: if the system does not take it, nothing is lost but room.
                _c_library().madvise(first, address + nbytes - first, mmap.MADV_DONTNEED)
                return


@cache
def _c_library() -> ctypes.CDLL:
    """Return the C library, with the one function that is used of it."""
    library = ctypes.CDLL(None)
    library.madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return library
