"""Random masks that do not depend on who draws them.

Philox-4x32-7, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
3" (SC 2011, https://doi.org/10.1145/2063384.2063405), with the fewest rounds that pass all of their tests. Its counter
is the index of the element and the name of the tensor, its key the seed and the model's label, so an element's draw is
the same whatever the block size, the worker, the order or the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from cuvee.tensors.framework import torch
from cuvee.tensors.kernels import frame
from cuvee.tensors.kernels.program import Chain, Stage
from cuvee.tensors.operands import Operand

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dropped", "Key", "drawn_in", "philox", "survives", "survives_in"]

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 7
_TOP = 1 << 31
_BATCH = 1 << 61  # between the counters of four bits of the draws and of the next four
GROUP, COUNTERS = 1024, 32  # elements that share counters, and how many counters give them four bits each


@dataclass(frozen=True, slots=True)
class Key:
    """Names streams of draws: one model's draws for one tensor, or for several that lie one after the other.

    Attributes:
        key: 64 bits made of the recipe's seed and the model's label.
        streams: for each tensor, 64 bits made of its name.
        each: elements in each tensor; None where there is but one.
    """

    key: int
    streams: tuple[int, ...]
    each: int | None = None

    @classmethod
    def of(cls, seed: int, label: str, tensors: Sequence[str], each: int | None = None) -> "Key":
        """Make the key of a model's draws for tensors."""
        return cls(_digest(f"{seed}/{label}"), tuple(map(_digest, tensors)), each)


@lru_cache(1 << 14)  # the names of a strip's tensors are asked for once per model and pass
def _digest(text: str) -> int:
    """Return 64 well mixed bits of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def philox(key: int, stream: int, first: int, count: int) -> "Sequence[Tensor]":
    """Draw four uniform 32-bit integers for each of `count` consecutive counters.

    Args:
        key: 64 bits.
        stream: 64 bits.
        first: first counter, below 2^64.
        count: how many.

    Returns:
        Four words, (count,) int64 each, in [0, 2^32).
    """
    counter = torch.arange(count, dtype=torch.int64) + (first - (first >> 63 << 64))  # wraps around, as int64 does
    words = [
        counter & _LOW,
        (counter >> 32) & _LOW,
        torch.full_like(counter, stream & _LOW),
        torch.full_like(counter, stream >> 32),
    ]
    return bijection(words, (key & _LOW, key >> 32))


def bijection(counter: "Sequence[Tensor]", key: tuple[int, int], rounds: int = _ROUNDS) -> "Sequence[Tensor]":
    """Mix counters by rounds of Philox-4x32.

    Args:
        counter: four words, (blocks,) int64 each, in [0, 2^32).
        key: two words.
        rounds: how often.

    Returns:
        Four words, of the counters' shape and range.
    """
    words, keys = list(counter), list(key)
    for _ in range(rounds):
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


def drawn_in(key: int, stream: int, start: int, count: int) -> "Tensor":
    """Draw a uniform 32-bit integer for each of `count` elements of one tensor, (count,) int64 in [0, 2^32).

    Element i takes word i % 4 of counter i // 4.
    """
    first, last = start // 4, -(-(start + count) // 4)
    words = torch.stack(list(philox(key, stream, first, last - first)), dim=1)
    return words.reshape(-1)[start - 4 * first :][:count]


class Dropped:
    """An operand of which every entry survives with a given probability, independently; the others are zero.

    Args:
        operand: what is thinned out.
        density: probability of survival, in [0, 1], resolved to 2^-32.
        rescale: factor on the survivors.
        key: the streams of draws.
        start: index of the operand's first element within the tensor; 0 where there are several.
    """

    def __init__(self, operand: Operand, density: float, rescale: float, key: Key, start: int) -> None:
        self.operand = operand
        self.density = density
        self.rescale = rescale
        self.key = key
        self.start = start

    @property
    def chain(self) -> Chain | None:
        """The operand's, with a drop after it."""
        chain: Chain | None = getattr(self.operand, "chain", None)
        if chain is None or (chain.draws and (chain.stream, chain.segment) != (self.start, self.key.each)):
            return None
        rescale = int(np.float32(self.rescale).view(np.uint32))
        names = np.array(self.key.streams, np.uint64).view(np.int64)
        numbers = int(np.uint64(self.key.key).astype(np.int64)), round(self.density * (1 << 32)), rescale
        stages = (*chain.stages, Stage(frame.DROP, names, numbers))
        return replace(chain, stages=stages, stream=self.start, segment=self.key.each)

    @cached_property
    def tensor(self) -> "Tensor":
        """The survivors, rescaled, and zeros, (rows, e) float32."""
        values = self.operand.tensor
        keep = survives(self.key, self.start, values.numel(), self.density).reshape(values.shape)
        return (values * self.rescale).where(keep, 0.0)


def survives(key: Key, start: int, count: int, density: float) -> "Tensor":
    """Return which of `count` elements survive with probability `density`, (count,) bool.

    Each tensor draws from a stream of its own, from its first element on; see `survives_in`.
    """
    if key.each is None:
        return survives_in(key.key, key.streams[0], start, count, density)
    return torch.cat([survives_in(key.key, stream, start, key.each, density) for stream in key.streams])


def survives_in(key: int, stream: int, start: int, count: int, density: float) -> "Tensor":
    """Return which elements of one tensor survive, (count,) bool.

    Element i survives if its draw, a number of 32 bits, is below density * 2^32. Elements go by groups of 1024: element
    32 b + c of group g takes bit b of word w of counter k 2^61 + 32 g + c as the bit 4 k + w of its draw, counted from
    the highest. Most draws differ from the threshold in one of their first bits; the others are not drawn for nothing.
    """
    threshold = round(density * (1 << 32))
    first, last = start // GROUP, -(-(start + count) // GROUP)
    below = torch.zeros((last - first) * COUNTERS, dtype=torch.int64)  # 32 bits in each
    level = torch.full_like(below, _LOW)
    if threshold > _LOW:
        return torch.ones(count, dtype=torch.bool)
    for place in range(32):
        if not threshold << place & _LOW or not level.any():
            break  # those that are level so far are not below, or there are none
        if place % 4 == 0:
            drawn = philox(key, stream, place // 4 * _BATCH + first * COUNTERS, below.numel())
        side = _LOW if threshold << place & _TOP else 0
        lower = drawn[place % 4] ^ side  # a bit that differs from the threshold's
        below |= level & lower & side
        level &= ~lower
    bits = below.reshape(-1, 1, COUNTERS) >> torch.arange(32).reshape(1, -1, 1) & 1
    return bits.reshape(-1)[start - first * GROUP :][:count].bool()
