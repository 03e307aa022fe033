"""Where the parity suite's modules are found."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARITY = ROOT / "parity"

Import = Callable[[str], ModuleType]


@pytest.fixture(scope="session")
def module() -> Iterator[Import]:
    """Return a function that imports one of the parity suite's modules."""
    sys.path.insert(0, str(PARITY))
    yield importlib.import_module
    sys.path.remove(str(PARITY))
    for file in PARITY.glob("*.py"):
        sys.modules.pop(file.stem, None)
