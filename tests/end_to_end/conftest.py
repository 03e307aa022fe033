"""Checkpoints that tests of this folder share, each built when it is first asked for."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from models import ONE_FILE, build, save

Checkpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a function that builds and saves a tiny model, once for each set of arguments; see `models.build`."""

    @cache
    def saved(
        family: str,
        *,
        tied: bool,
        dtype: torch.dtype = torch.float32,
        expert: int = 0,
        max_shard_size: str = ONE_FILE,
    ) -> Path:
        model = build(family, tied=tied, dtype=dtype, expert=expert)
        return save(model, tmp_path_factory.mktemp(f"{family}-{expert}-"), max_shard_size)

    return saved


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Leave bytes in the system's cache: hundreds of small merges need not survive a loss of power."""
    patch = pytest.MonkeyPatch()
    patch.setattr(os, "fsync", lambda _: None)
    yield
    patch.undo()
