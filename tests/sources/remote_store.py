"""File systems for addresses: one that is slow or fails, and one of this machine."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
import safetensors.torch
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from cuvee.spec import Source

Opened = Callable[[str], Source]


class Store(MemoryFileSystem):
    """An object store: each request takes a while, and some fail. Counts requests, and how many are made at once."""

    protocol = "store"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    latency = 0.0
    failures: ClassVar[list[Exception]] = []  # raised by the next requests for content, one each
    requests: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()
    now = most = 0
    tags: ClassVar[dict[str, str]] = {}
    sends_parts = tells_versions = True

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("store://", "memory://"))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        found = super().info(path, **options)
        if not self.tells_versions:
            return {key: found[key] for key in ("name", "type", "size")}
        tag = self.tags.get(found["name"])
        return {**found, "ETag": tag} if tag else found

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        with self.lock:
            self.requests[path.rpartition("/")[2]] += 1
            Store.now += 1
            Store.most = max(Store.most, Store.now)
            failure = self.failures.pop(0) if self.failures else None
        try:
            time.sleep(self.latency)
            if failure:
                raise failure
            begin, end = (start, end) if self.sends_parts else (None, None)
            return super().cat_file(path, begin, end, **options)
        finally:
            with self.lock:
                Store.now -= 1


class Disk(LocalFileSystem):
    """fsspec's own file system of this machine, under a name that is not taken for a path."""

    protocol = "disk"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("disk://"))


@contextmanager
def empty_store() -> Iterator[type[Store]]:
    """Have fsspec know both file systems; the store is empty, at once and afterwards."""
    fsspec.register_implementation("store", Store, clobber=True)
    fsspec.register_implementation("disk", Disk, clobber=True)
    for own in (Store.store, Store.failures, Store.requests, Store.tags):
        own.clear()
    Store.most, Store.latency, Store.sends_parts, Store.tells_versions = 0, 0.0, True, True
    try:
        yield Store
    finally:
        Store.store.clear()


def read(source: Source, name: str) -> bytes:
    buffer = bytearray(source.header[name].nbytes)
    source.read_into(memoryview(buffer), name)
    return bytes(buffer)


def put(address: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        fs, path = fsspec.core.url_to_fs(f"{address}/{name}")
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.pipe_file(path, data)


def model(value: float = 1.0) -> dict[str, bytes]:
    tensors = {"a": torch.full((4, 4), value), "b": torch.arange(5, dtype=torch.int32)}
    return {
        "model.safetensors": safetensors.torch.save(tensors),
        "config.json": b'{"hidden_size": 4}',
        "README.md": b"---\nlicense: mit\n---\n",
        "tokenizer.json": b"{}",
        "notes.txt": b"",
        "modeling_x.py": b"x = 1\n",
    }


def numbers(count: int) -> bytes:
    """Return a weight file with one tensor of so many bytes, in which any eight bytes tell where they are."""
    return safetensors.torch.save({"w": torch.arange(count // 8, dtype=torch.int64)})
