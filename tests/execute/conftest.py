"""Both ways to compute, and a look at what is read."""

import pytest

from cuvee.sources.memory import Memory
from cuvee.tensors.kernels import program


@pytest.fixture(params=["kernels", "torch"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute with compiled kernels, and in torch."""
    if request.param == "torch":
        monkeypatch.setattr(program, "kernel", lambda: None)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """A list of what is read: tensor, first byte, bytes."""
    done: list[tuple[str, int, int]] = []
    read_into = Memory.read_into

    def watched(source: Memory, buffer: memoryview, name: str, offset: int = 0) -> None:
        done.append((name, offset, buffer.nbytes))
        read_into(source, buffer, name, offset)

    monkeypatch.setattr(Memory, "read_into", watched)
    return done
