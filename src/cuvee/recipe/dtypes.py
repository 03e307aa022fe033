"""Names of element types in recipes: torch's."""

from cuvee.errors import RecipeError, nearest
from cuvee.sources.strict_json import shown
from cuvee.spec import BY_TORCH_NAME

__all__ = ["stored_name", "torch_name"]

_STORED = {torch_name: dtype.name for torch_name, dtype in BY_TORCH_NAME.items() if dtype.kind == "float"}
_ELSEWHERE = {name.lower(): torch_name for torch_name, name in _STORED.items()} | {
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
    "single": "float32",
    "fp64": "float64",
    "double": "float64",
}
"""What element types are called elsewhere; we take torch's names only, and point to them."""


def stored_name(dtype: str) -> str:
    """Return the safetensors name of a type, given torch's."""
    return _STORED[dtype]


def torch_name(given: object, what: str) -> str | None:
    """Return torch's name of a floating-point type, which may be given as torch's type itself; None for None.

    Args:
        given: the name or type.
        what: whose type it is, for messages.

    Raises:
        RecipeError: it is none; names the nearest.
    """
    # Told by its class's name: torch is not imported for the sake of a recipe.
    is_torch = (type(given).__module__, type(given).__name__) == ("torch", "dtype")
    dtype = str(given).removeprefix("torch.") if is_torch else given
    if dtype is None or (isinstance(dtype, str) and dtype in _STORED):
        return dtype
    meant = _ELSEWHERE.get(str(dtype).lower().removeprefix("torch."))
    raise RecipeError(
        f"{what} dtype {shown(dtype)} is not known.{nearest(meant or str(dtype), _STORED)} It can be: "
        f"{', '.join(_STORED)}.",
        ("dtype",),
    )
