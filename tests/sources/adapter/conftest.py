"""A small adapter on a small base, to be bent by each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from peft import LoraConfig

from sources.adapter.adapters import MODELS, OPENED, make


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a base, an adapter and what peft merges them to, once."""
    folder = tmp_path_factory.mktemp("llama")
    make(folder, MODELS["llama"], LoraConfig(target_modules=["q_proj", "embed_tokens"], r=4, lora_alpha=6))
    return folder


@pytest.fixture
def llama(made: Path, tmp_path: Path) -> Path:
    """Return a folder with a base, an adapter and a merged model of one's own."""
    folder = tmp_path / "llama"
    shutil.copytree(made, folder)
    return folder
