"""Safetensors files made by hand, byte by byte, so that they can be wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
