"""The versions of what computes. Its results may depend on them."""

import platform
from contextlib import suppress
from importlib import metadata

from cuvee.version import __version__

__all__ = ["versions"]

LIBRARIES = "numpy", "torch", "numba", "llvmlite"


def versions() -> dict[str, str]:
    """Return the versions of cuvee, of Python, and of the libraries that are installed."""
    found = {"cuvee": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found
