"""What is told of values that are no error for mergekit, and not what their author meant.

Conditions that no tensor comes to, and shares beyond none and all. Knows no model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cuvee.recipe.mergekit.document import path_of
from cuvee.recipe.mergekit.methods import Setting
from cuvee.recipe.mergekit.settings import Condition, Scope
from cuvee.sources.strict_json import shown

__all__ = ["remarks"]


def remarks(scopes: Iterable[Scope], known: Mapping[str, Setting]) -> list[str]:
    """Return notes on the values of parameters.

    Args:
        scopes: the parameters of all places of a configuration.
        known: those of its method.
    """
    notes: list[str] = []
    for scope in scopes:
        for name, found in scope.values.items():
            if name in known:
                notes += [*_hidden(found), *(_beyond(name, found) if known[name].is_share else ())]
    return notes


def _hidden(found: Sequence[Condition]) -> Iterator[str]:
    """Yield a note on conditions that come after one for all tensors."""
    whole = next((i for i, condition in enumerate(found) if condition.part is None), len(found))
    if whole + 1 < len(found):
        yield (
            f"{path_of(found[whole + 1].where)}: no tensor comes to what stands here, since an entry before it has no "
            "filter and holds for all; put that one last."
        )


def _beyond(name: str, found: Sequence[Condition]) -> Iterator[str]:
    """Yield notes on shares below 0 and above 1."""
    for condition in found:
        values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
        for value in values:
            try:
                number = float(value)
            except ValueError:
                continue  # refused where it is read as a number
            if number < 0 or number > 1:
                means = "none" if number < 0 else "all"
                yield (
                    f"{path_of(condition.where)}: '{name}' is {shown(value)}, and a share lies between 0 and 1; "
                    f"mergekit, and so cuvee, keeps {means}."
                )
