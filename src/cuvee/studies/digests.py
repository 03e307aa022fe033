"""Digests of a suite's data, compared with those that are shipped: the same suite everywhere, or an error."""

import hashlib
from collections.abc import Mapping

from torch import Tensor

from cuvee.errors import StudyError

__all__ = ["checked", "digest_of"]

LENGTH = 16  # hexadecimal digits: enough to see any change


def digest_of(*tensors: Tensor) -> str:
    """Return a digest of tensors of whole numbers: shapes, types and content."""
    digest = hashlib.sha256()
    for each in tensors:
        digest.update(f"{each.dtype} {tuple(each.shape)}".encode())
        digest.update(each.contiguous().numpy().tobytes())
    return digest.hexdigest()[:LENGTH]


def checked(suite: str, found: Mapping[str, str], expected: Mapping[str, str]) -> Mapping[str, str]:
    """Return digests if they are those expected.

    Raises:
        StudyError: they differ; names the parts.
    """
    wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if wrong:
        raise StudyError(
            f"{suite}: {len(wrong)} of {len(expected)} parts of its data differ from those that the suite is made of, "
            f"first '{wrong[0]}' ({found.get(wrong[0])}, expected {expected.get(wrong[0])}). Results from here cannot "
            "be compared with others; please report the versions of Python, torch and the processor."
        )
    return found
