"""Content digests: what tells one content from another, taken from bytes as they pass, in whatever order they come.

A tensor's digest is the XXH3 hash, 128 bits, of the XXH3 hashes of its bytes in chunks of 256 KiB; that of a set of
tensors is the hash of their names, types, shapes and digests, in order of their names. So it depends on nothing but the
content: not on files, shards, block sizes, or the order of reading. A small file is hashed like a tensor of its bytes.
It finds damage and mistakes. It is no signature: who wants to can make other bytes of the same digest.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import xxhash

from cuvee.spec import Header, TensorSpec

__all__ = ["CHUNK", "Digests", "digest_of_bytes", "digest_of_set", "digests_of"]

CHUNK = 256 << 10
MOST_LOOSE = 64  # chunks of which some bytes have passed and are held until the others do
BLOCK = 16 * CHUNK  # read at a time where nothing has passed


class _Loose:
    """A chunk that has come in part."""

    def __init__(self, nbytes: int) -> None:
        self.data = bytearray(nbytes)
        self.parts: set[tuple[int, int]] = set()

    def add(self, begin: int, data: memoryview) -> bool:
        """Add some bytes; say whether all are there."""
        self.data[begin : begin + len(data)] = data
        self.parts.add((begin, begin + len(data)))
        reached = 0
        for first, last in sorted(self.parts):
            if first > reached:
                return False
            reached = max(reached, last)
        return reached == len(self.data)


class Digests:
    """The digests of some tensors. Any number of threads may add bytes at once, and the same bytes again.

    Args:
        header: what there is to digest.
        is_stored: bytes that have passed can be read again. If not, they are held until their chunk is whole, however
            many chunks have come in part: about two for each worker.
    """

    def __init__(self, header: Header, *, is_stored: bool = True) -> None:
        self._header = header
        self._is_stored = is_stored
        self._chunks: dict[str, list[bytes | None]] = {}
        self._loose: dict[tuple[str, int], _Loose] = {}  # the oldest first
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, offset: int, data: memoryview) -> None:
        """Take bytes of a tensor into account.

        Args:
            name: a tensor of the header.
            offset: first byte, counted from the tensor's beginning.
            data: contiguous bytes, which lie within the tensor.
        """
        if name in self._known:
            return
        nbytes = self._header[name].nbytes
        if len(data) == nbytes <= CHUNK:
            self._known[name] = _joined([xxhash.xxh3_128_digest(data)] if nbytes else [])
            return
        chunks = self._chunks.get(name)
        if chunks is None:
            chunks = self._chunks.setdefault(name, [None] * -(-nbytes // CHUNK))
        end = offset + len(data)
        for k in range(offset // CHUNK, -(-end // CHUNK)):
            if chunks[k] is None:
                first, last = max(offset, k * CHUNK), min(end, (k + 1) * CHUNK)
                part, size = data[first - offset : last - offset], min(CHUNK, nbytes - k * CHUNK)
                if len(part) == size:
                    chunks[k] = xxhash.xxh3_128_digest(part)
                else:
                    self._hold(chunks, name, k, size, first - k * CHUNK, part)

    def _hold(self, chunks: list[bytes | None], name: str, k: int, size: int, begin: int, part: memoryview) -> None:
        """Keep a part of a chunk until the rest comes."""
        with self._lock:
            loose = self._loose.setdefault((name, k), _Loose(size))
            if loose.add(begin, part):
                chunks[k] = xxhash.xxh3_128_digest(loose.data)
                del self._loose[name, k]
            elif self._is_stored and len(self._loose) > MOST_LOOSE:  # `complete` reads it again
                del self._loose[next(iter(self._loose))]

    def recall(self, digests: Mapping[str, str]) -> None:
        """Take over digests that are known already."""
        self._known.update(digests)

    def of(self, name: str) -> str | None:
        """Return a tensor's digest, 32 hexadecimal digits, or None while bytes are missing."""
        if name not in self._known:
            chunks = self._chunks.get(name)
            if chunks is None and self._header[name].nbytes == 0:
                chunks = []
            if chunks is None or None in chunks:
                return None
            self._known[name] = _joined(chunks)
            self._chunks.pop(name, None)
        return self._known[name]

    def complete(self, names: Iterable[str], read_into: Callable[[memoryview, str, int], None]) -> Mapping[str, str]:
        """Return the digests of tensors; what has not passed is read.

        Args:
            names: tensors of the header.
            read_into: fills a buffer with a tensor's bytes from an offset on.
        """
        lacking = [name for name in names if self.of(name) is None]
        buffer = memoryview(bytearray(BLOCK)) if lacking else memoryview(b"")
        for name in lacking:
            nbytes = self._header[name].nbytes
            chunks = self._chunks.get(name, [None] * -(-nbytes // CHUNK))
            missing = [k for k, chunk in enumerate(chunks) if chunk is None]
            for begin, end in _runs(missing):
                part = buffer[: min(end * CHUNK, nbytes) - begin * CHUNK]
                read_into(part, name, begin * CHUNK)
                self.add(name, begin * CHUNK, part)
        return {name: self._known[name] for name in names if self.of(name)}


def _runs(numbers: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Put consecutive numbers together, as many as are read at a time; yield each run's first and the one after it."""
    begin = end = -1
    for number in numbers:
        if number != end or end - begin == BLOCK // CHUNK:
            if begin >= 0:
                yield begin, end
            begin = number
        end = number + 1
    if begin >= 0:
        yield begin, end


def _joined(chunks: Iterable[bytes | None]) -> str:
    """Return the digest of a tensor, given those of its chunks."""
    return str(xxhash.xxh3_128_hexdigest(b"".join(chunk or b"" for chunk in chunks)))


def digest_of_bytes(data: bytes) -> str:
    """Return the digest of some bytes, 32 hexadecimal digits: that of a tensor which holds them."""
    return _joined(xxhash.xxh3_128_digest(data[begin : begin + CHUNK]) for begin in range(0, len(data), CHUNK))


def digests_of(header: Mapping[str, TensorSpec], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return what is recorded of some tensors: ``digest``, of all together, and ``tensors``, the digest of each.

    Args:
        header: their specifications; others may be in it.
        digests: each tensor's own.
    """
    return {"digest": digest_of_set(header, digests), "tensors": dict(digests)}


def digest_of_set(header: Mapping[str, TensorSpec], digests: Mapping[str, str]) -> str:
    """Return the digest of some tensors together, 32 hexadecimal digits.

    Args:
        header: their specifications; others may be in it.
        digests: each tensor's own.
    """
    lines = [[name, header[name].dtype.name, list(header[name].shape), digests[name]] for name in sorted(digests)]
    return str(xxhash.xxh3_128_hexdigest(json.dumps(lines, ensure_ascii=False).encode()))
