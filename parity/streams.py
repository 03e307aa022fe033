"""Streams of random numbers by name, so that what is drawn depends on no order."""

import hashlib

import numpy as np

__all__ = ["stream"]


def stream(seed: int, *names: str) -> np.random.Generator:
    """Return the stream that belongs to a seed and names."""
    text = "/".join((str(seed), *names)).encode()
    return np.random.Generator(np.random.Philox(int.from_bytes(hashlib.sha256(text).digest()[:8])))
