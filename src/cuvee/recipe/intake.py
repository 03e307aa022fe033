"""How the models of a recipe are read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.dtypes import stored_name, torch_name
from cuvee.recipe.values import keys_of
from cuvee.sources.strict_json import shown

__all__ = ["Intake"]

MISSING = ("error", "present")
EXPERTS = ("as_stored", "packed")


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Intake:
    """How models are read.

    Attributes:
        dtype: element type that their tensors are rounded to before they are merged, a torch name; None reads them as
            they are. May be given as torch's type itself.
        missing: what becomes of a tensor that some of the models lack: an ``"error"``, or it is merged from those in
            which it is ``"present"``.
        experts: how the experts of a mixture are merged: ``"as_stored"``, one by one or packed into one tensor for each
            layer and matrix, where models that store them otherwise are read packed; or always ``"packed"``.

    Raises:
        RecipeError: a value is wrong; says what, and what would be right.
    """

    dtype: str | None
    missing: Literal["error", "present"]
    experts: Literal["as_stored", "packed"]

    def __init__(self, *, dtype: object = None, missing: str = "error", experts: str = "as_stored") -> None:
        """Check the values."""
        object.__setattr__(self, "dtype", torch_name(dtype, "input"))
        object.__setattr__(self, "missing", _one_of(MISSING, missing, "missing"))
        object.__setattr__(self, "experts", _one_of(EXPERTS, experts, "experts"))

    @classmethod
    def from_mapping(cls, value: object) -> "Intake":
        """Read the block from plain values; nothing is the default."""
        known = tuple(f.name for f in fields(cls))
        return cls(**keys_of({} if value is None else value, known, "input", ()))

    def to_mapping(self) -> dict[str, object]:
        """Return plain values, without what is default."""
        default = asdict(Intake())
        return {key: value for key, value in asdict(self).items() if value != default[key]}

    @property
    def dtype_name(self) -> str | None:
        """The safetensors name of `dtype`."""
        return None if self.dtype is None else stored_name(self.dtype)


def _one_of(words: Sequence[str], value: str, key: str) -> str:
    """Return a word if it is one of those that a key can have."""
    if value not in words:
        raise RecipeError(
            f"'{key}' is {shown(value)}; it can be: {', '.join(words)}.{nearest(str(value), words)}", (key,)
        )
    return value
