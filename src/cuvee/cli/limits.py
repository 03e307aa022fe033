"""What several verbs take about the machine: workers, block size, memory."""

from cuvee.cli.units import parse_size
from cuvee.errors import RecipeError
from cuvee.plan.limits import Limits

__all__ = ["limits"]


def limits(workers: int | None, block_size: str | None, memory: str | None) -> Limits:
    """Make limits of what the user gave; what was not given is as usual.

    Raises:
        RecipeError: a size cannot be read, or a number is not positive.
    """
    try:
        block_bytes = None if block_size is None else parse_size(block_size)
        allowed = None if memory is None else parse_size(memory)
    except ValueError as error:
        raise RecipeError(f"{error}.") from error
    given = {"workers": workers, "block_bytes": block_bytes, "memory": allowed}
    return Limits(**{name: value for name, value in given.items() if value is not None})
