"""Methods by name."""

from collections.abc import Mapping

from cuvee.errors import RecipeError, nearest
from cuvee.methods.declare import METHODS, Method
from cuvee.sources.strict_json import shown

__all__ = ["find_method", "methods"]


def methods() -> Mapping[str, Method]:
    """Return every known method by name, in alphabetical order. Adding one is adding its file."""
    return METHODS.all()


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
