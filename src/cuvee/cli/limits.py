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
    given = {
        "workers": workers,
        "block_bytes": _num_bytes("--block-size", block_size),
        "memory": _num_bytes("--memory", memory),
    }
    return Limits(**{name: value for name, value in given.items() if value is not None})


def _num_bytes(option: str, given: str | None) -> int | None:
    """Read the size that an option was given, if it was."""
    try:
        return None if given is None else parse_size(given)
    except ValueError as error:
        raise RecipeError(f"{option}: {error}.") from error
