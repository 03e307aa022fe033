"""What the time from the start of the operating system to its end is called."""

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["boot_name"]

LINUX = Path("/proc/sys/kernel/random/boot_id")
MAC = b"kern.bootsessionuuid"


def boot_name() -> str:
    """Return the name of the time since the system's start, another one after each; empty where it has none."""
    if sys.platform == "darwin":
        return _of_mac()
    with suppress(OSError):
        return LINUX.read_text().strip()
    return ""


def _of_mac() -> str:
    """Ask the kernel of macOS."""
    name = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(name))
    with suppress(OSError, AttributeError):  # no such library, no such function
        if ctypes.CDLL(None).sysctlbyname(MAC, name, ctypes.byref(size), None, ctypes.c_size_t(0)) == 0:
            return name.value.decode()
    return ""
