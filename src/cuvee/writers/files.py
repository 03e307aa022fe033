"""Making files and folders that last. Knows nothing of tensors."""

import errno
import io
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["create", "is_full", "sync_folder"]

# The file system cannot reserve space; the space is then taken as it is written.
CANNOT_RESERVE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


def is_full(error: OSError) -> bool:
    """Say whether an error means that there is no space left, on the disk or for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a loss of power, where the file system can."""
    # Network file systems may refuse this, and a folder may be closed to reading; the files themselves are safe by
    # then.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create(path: Path, nbytes: int) -> None:
    """Make a file that did not exist before, of a given size, reserved at once where the file system can.

    Raises:
        OSError: it exists already, cannot be made, or the disk is full.
    """
    with io.FileIO(path, "xb") as file:
        _reserve(file.fileno(), nbytes)


def _reserve(descriptor: int, nbytes: int) -> None:
    if nbytes and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
        except OSError as error:
            if error.errno not in CANNOT_RESERVE:
                raise
        else:
            return
    os.truncate(descriptor, nbytes)
