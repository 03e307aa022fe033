"""Finds methods: those in this folder, and those of other packages under the entry-point group ``cuvee.methods``."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from cuvee.errors import RecipeError, nearest
from cuvee.methods.declare import Method, declared

__all__ = ["find_method", "methods"]

ENTRY_POINTS = "cuvee.methods"


@cache
def _discover() -> None:
    """Import every module of this folder and every entry point; importing declares."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{package}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()


def methods() -> Mapping[str, Method]:
    """Return every known method by name, in alphabetical order. Adding one is adding its file."""
    _discover()
    return dict(sorted(declared().items()))


def find_method(name: str) -> Method:
    """Return a method by name.

    Raises:
        RecipeError: there is none; the message has the nearest name.
    """
    known = methods()
    if name not in known:
        raise RecipeError(
            f"method '{name}' is not known.{nearest(name, known)} `cuvee methods` lists them: {', '.join(known)}."
        )
    return known[name]
