"""Safetensors files made by hand, byte by byte, so that they can be wrong."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cuvee.sources import ahead, remote
from cuvee.sources.open import open_source
from cuvee.spec import Source
from sources.hub_models import empty_cache
from sources.hub_server import Hub, running_hub
from sources.remote_store import Opened, Store, empty_store

WriteFile = Callable[..., Path]


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """Return a function that writes a file of any header (object, text or bytes), any data and any claimed length."""

    def write(header: object, data: bytes = b"", *, length: int | None = None, name: str = "bad.safetensors") -> Path:
        if isinstance(header, bytes):
            raw = header
        else:
            raw = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8", "surrogatepass")
        path = tmp_path / name
        path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
        return path

    return write


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Return what opens a reference; it is closed when the test is over."""
    with contextlib.ExitStack() as stack:

        def open_it(reference: str) -> Source:
            return stack.enter_context(contextlib.closing(open_source(reference)))

        yield open_it


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Store]]:
    """Return a store that is empty."""
    monkeypatch.setattr(remote, "WAITS", (0.001, 0.002, 0.004))
    with empty_store() as found:
        yield found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of downloads, empty; the hub may not be asked."""
    monkeypatch.chdir(tmp_path)
    return empty_cache(tmp_path, monkeypatch)


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a hub that may be asked."""
    with running_hub(monkeypatch) as server:
        yield server


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let chunks that are fetched from afar have a thousand bytes."""
    monkeypatch.setattr(ahead, "CHUNK", 1000)
