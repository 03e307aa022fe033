"""Strict surroundings for every test: fixed seeds, no network, one thread.

Environment variables are set on import, before any test module can load torch or transformers, and processes that tests
start inherit them.
"""

import ipaddress
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# Processes that tests start inherit what is ignored: a shell ignores Ctrl-C for what it runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.update(
    {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",  # its thread pool warns, and our warnings are errors, when a test forks
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "NO_COLOR": "1",  # rich and typer print the same text on every terminal
        "COLUMNS": "120",
    }
)
os.environ.pop("FORCE_COLOR", None)

# Same examples on every run; time limits belong to the suite, not to an example on a busy machine.
settings.register_profile("cuvee", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("cuvee")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where there is no GPU; torch is loaded only to answer that."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Start each test from the same random state. (A torch that a test loads itself starts from torch's fixed seed.)"""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Let sockets reach this machine only, by address; names other than localhost are not looked up."""
    patch = pytest.MonkeyPatch()
    look_up = socket.getaddrinfo

    def guarded_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        refuse_unless_local(host)
        return look_up(host, *arguments, **options)

    patch.setattr(socket, "getaddrinfo", guarded_look_up)
    patch.setattr(socket, "socket", LocalSocket)
    yield
    patch.undo()


class LocalSocket(socket.socket):
    """A socket that connects within this machine only."""

    def connect(self, address: Any) -> None:
        """Connect, or fail the test."""
        self.refuse_unless_local(address)
        super().connect(address)

    def connect_ex(self, address: Any) -> int:
        """Connect and return an error number, or fail the test."""
        self.refuse_unless_local(address)
        return super().connect_ex(address)

    def refuse_unless_local(self, address: Any) -> None:
        """Pass local families (Unix sockets) and loopback addresses."""
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse_unless_local(address[0])


def refuse_unless_local(host: str | bytes | None) -> None:
    """Raise for a host that is not this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return
    try:
        is_local = ipaddress.ip_address(name).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise RuntimeError(f"a test tried to reach {name!r}; tests do not use the network")


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back the methods that a test declares."""
    from cuvee.methods.declare import METHODS

    monkeypatch.setattr(METHODS, "_declared", dict(METHODS.all()))
