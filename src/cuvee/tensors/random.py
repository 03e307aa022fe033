"""Random masks that do not depend on who draws them.

Philox-4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
3" (SC 2011, https://doi.org/10.1145/2063384.2063405). Its counter is the index of the element and the name of the
tensor, its key the seed and the model's label, so an element's draw is the same whatever the block size, the worker,
the order or the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Operand

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dropped", "Key", "philox"]

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Key:
    """Names one stream of draws: one model's draws for one tensor.

    Attributes:
        key: 64 bits made of the recipe's seed and the model's label.
        stream: 64 bits made of the tensor's name.
    """

    key: int
    stream: int

    @classmethod
    def of(cls, seed: int, label: str, tensor: str) -> "Key":
        """Make the key of a model's draws for a tensor."""
        return cls(_digest(f"{seed}/{label}"), _digest(tensor))


def _digest(text: str) -> int:
    """Return 64 well mixed bits of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def philox(key: Key, start: int, count: int) -> "Tensor":
    """Draw uniform 32-bit integers, one per element index.

    Args:
        key: the stream.
        start: first element index.
        count: how many.

    Returns:
        (count,) int64, each in [0, 2^32). Element i is word i % 4 of the generator's block i // 4.
    """
    first, last = start // 4, (start + count + 3) // 4
    block = torch.arange(first, last, dtype=torch.int64)
    words = [
        block & _LOW,
        (block >> 32) & _LOW,
        torch.full_like(block, key.stream & _LOW),
        torch.full_like(block, key.stream >> 32),
    ]
    drawn = bijection(words, (key.key & _LOW, key.key >> 32))
    skip = start - 4 * first
    return torch.stack(list(drawn), dim=1).flatten()[skip : skip + count]


def bijection(counter: "Sequence[Tensor]", key: tuple[int, int]) -> "Sequence[Tensor]":
    """Mix counters: ten rounds of Philox-4x32.

    Args:
        counter: four words, (blocks,) int64 each, in [0, 2^32).
        key: two words.

    Returns:
        Four words, of the counters' shape and range.
    """
    words, keys = list(counter), list(key)
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(words[0], _MULTIPLIERS[0])
        high1, low1 = _multiply(words[2], _MULTIPLIERS[1])
        words = [high1 ^ words[1] ^ keys[0], low1, high0 ^ words[3] ^ keys[1], low0]
        keys = [(k + w) & _LOW for k, w in zip(keys, _WEYL, strict=True)]
    return words


def _multiply(values: "Tensor", factor: int) -> "tuple[Tensor, Tensor]":
    """Multiply 32-bit values by a 32-bit factor; return the product's upper and lower 32 bits.

    int64 has no room for an unsigned 64-bit product, but its bits wrap around to the right ones.
    """
    product = values * factor
    return (product >> 32) & _LOW, product & _LOW


class Dropped:
    """An operand of which every entry survives with a given probability, independently; the others are zero.

    Args:
        operand: what is thinned out.
        density: probability of survival, in [0, 1], resolved to 2^-32.
        rescale: factor on the survivors.
        key: the stream of draws.
        start: index of the operand's first element within the tensor.
    """

    def __init__(self, operand: Operand, density: float, rescale: float, key: Key, start: int) -> None:
        self.operand = operand
        self.density = density
        self.rescale = rescale
        self.key = key
        self.start = start

    @cached_property
    def tensor(self) -> "Tensor":
        """The survivors, rescaled, and zeros, (rows, e) float32."""
        values = self.operand.tensor
        keep = survives(self.key, self.start, values.numel(), self.density).reshape(values.shape)
        return (values * self.rescale).where(keep, 0.0)


def survives(key: Key, start: int, count: int, density: float) -> "Tensor":
    """Return which of `count` elements survive with probability `density`, (count,) bool."""
    return philox(key, start, count) < round(density * (1 << 32))
