"""Finds scores: those in the folder ``scores``, and those of other packages (entry-point group ``cuvee.scores``)."""

import importlib
import pkgutil
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from cuvee.errors import CuveeWarning, ScoreError, nearest
from cuvee.evaluate.declare import Score, declared
from cuvee.sources.strict_json import shown

__all__ = ["find_score", "scores"]

ENTRY_POINTS = "cuvee.scores"
FOLDER = "scores"


@cache
def _discover() -> None:
    """Import every module of the folder and every entry point; importing declares."""
    package = f"{__name__.rpartition('.')[0]}.{FOLDER}"
    for module in pkgutil.iter_modules([str(Path(__file__).parent / FOLDER)]):
        importlib.import_module(f"{package}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001 - other people's code: it may not take all scores down with it
            origin = f" of {entry.dist.name}" if entry.dist else ""
            warnings.warn(
                f"the score '{entry.name}'{origin} cannot be loaded ({type(error).__name__}: {error}). "
                "It is left out. Update or remove that package.",
                CuveeWarning,
                stacklevel=2,
            )


def scores() -> Mapping[str, Score]:
    """Return every known score by name, in alphabetical order. Adding one is adding its file."""
    _discover()
    return dict(sorted(declared().items()))


def find_score(name: str) -> Score:
    """Return a score by name.

    Raises:
        ScoreError: there is none; the message has the nearest name.
    """
    known = scores()
    if name not in known:
        raise ScoreError(
            f"score {shown(name)} is not known.{nearest(name, known)} `cuvee scores` lists them: {', '.join(known)}."
        )
    return known[name]
