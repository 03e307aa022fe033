"""Seeds of everything random, each with a purpose of its own."""

import hashlib

import torch

__all__ = ["generator_for", "seed_for"]


def seed_for(seed: int, purpose: str) -> int:
    """Return a seed of its own for each purpose, so that adding one changes no other; any whole number has them."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def generator_for(seed: int, purpose: str) -> torch.Generator:
    """Return torch's generator with a seed of its own for a purpose."""
    return torch.Generator().manual_seed(seed_for(seed, purpose))
