"""Whether files are still what they were when they were opened, told by their size and the time of their last change.

Knows nothing of what is in them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from cuvee.errors import SourceError

__all__ = ["Stamp", "check_stamps", "stamp"]

Stamp = tuple[int, int]
"""Size in bytes, and time of the last change in nanoseconds."""


def stamp(status: os.stat_result) -> Stamp:
    """Return the stamp of a file.

    Args:
        status: what the system says of it.
    """
    return status.st_size, status.st_mtime_ns


def check_stamps(stamps: Mapping[Path, Stamp]) -> None:
    """Verify that files are still what they were.

    Args:
        stamps: each file, and its stamp when it was opened.

    Raises:
        SourceError: one is not, or is gone; names it.
    """
    for file, unchanged in stamps.items():
        try:
            status = file.stat()
        except OSError as error:
            raise SourceError(f"{file} was there when the merge began and is not now: {error.strerror}.") from None
        if stamp(status) != unchanged:
            raise SourceError(
                f"{file} was changed during the merge: the result would be neither of the old model nor of the new "
                "one. Merge again when nothing writes to it."
            )
