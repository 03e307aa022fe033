"""Finds methods: those in this folder, and those of other packages under the entry-point group ``cuvee.methods``."""

import importlib
import pkgutil
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from cuvee.errors import CuveeWarning, RecipeError, nearest
from cuvee.methods.declare import Method, declared
from cuvee.sources.strict_json import shown

__all__ = ["find_method", "methods"]

ENTRY_POINTS = "cuvee.methods"


@cache
def _discover() -> None:
    """Import every module of this folder and every entry point; importing declares."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{package}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001 - other people's code: it may not take all methods down with it
            origin = f" of {entry.dist.name}" if entry.dist else ""
            warnings.warn(
                f"the method '{entry.name}'{origin} cannot be loaded ({type(error).__name__}: {error}). "
                "It is left out. Update or remove that package.",
                CuveeWarning,
                stacklevel=2,
            )


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
            f"method {shown(name)} is not known.{nearest(name, known)} `cuvee methods` lists them: {', '.join(known)}."
        )
    return known[name]
