"""Values of mergekit's parameters in the words of recipes. Knows neither models nor places."""

from collections.abc import Callable, Mapping
from math import lcm

from cuvee.recipe.mergekit.methods import Setting

__all__ = ["arranged", "for_so_many", "worded"]


def worded(value: object, setting: Setting) -> object:
    """Call values what the recipe calls them.

    Args:
        value: as mergekit has it; it may vary, or be None.
        setting: the parameter.
    """
    return value if setting.word is None or value is None else _mapped(value, setting.word)


def _mapped(value: object, word: Callable[[object], object]) -> object:
    """Make another value of each, wherever it stands in a value that varies."""
    if isinstance(value, Mapping) and "by_name" in value:
        return {"by_name": {pattern: _mapped(each, word) for pattern, each in value["by_name"].items()}}
    if isinstance(value, Mapping):
        return {**value, "over_depth": [word(each) for each in value["over_depth"]]}
    return word(value)


def for_so_many(parameters: dict[str, object], method: str, num_models: int) -> dict[str, object]:
    """Return parameters as they hold for a number of models, where mergekit does something else with one.

    Args:
        parameters: by the recipe's names, in its words.
        method: mergekit's name of the method.
        num_models: how many are merged, a base of task vectors not counted.
    """
    if method == "multislerp" and num_models == 1:  # mergekit returns it as it is
        return {**parameters, "weight": 1.0, "normalize": True}
    return parameters


def arranged(parameters: dict[str, object], method: str) -> dict[str, object]:
    """Put together what the recipe says in one word and mergekit in two.

    Args:
        parameters: by the recipe's names, in its words.
        method: mergekit's name of the method.
    """
    if method != "nuslerp":
        return parameters
    scope = _scope(parameters.pop("flatten"), parameters.pop("row_wise"))
    return {**parameters, "scope": scope}


def _scope(flatten: object, row_wise: object) -> object:
    """Say in one word what two switches do, each of which may vary. What mergekit calls row-wise goes along columns."""
    if isinstance(flatten, Mapping) and "by_name" in flatten:
        return {"by_name": {pattern: _scope(each, row_wise) for pattern, each in flatten["by_name"].items()}}
    if flatten is True:
        return "tensor"
    if flatten is False:
        return _mapped(row_wise, lambda each: "column" if each else "row")
    if not isinstance(row_wise, Mapping):
        return _mapped(flatten, lambda each: _scope(each, row_wise))
    if "by_name" in row_wise:
        return {"by_name": {pattern: _scope(flatten, each) for pattern, each in row_wise["by_name"].items()}}
    assert isinstance(flatten, Mapping)
    both = [each["over_depth"] for each in (flatten, row_wise)]
    steps = lcm(*(len(each) - 1 for each in both))
    pairs = zip(*([each[i * (len(each) - 1) // steps] for i in range(steps + 1)] for each in both), strict=True)
    return {**flatten, "over_depth": [_scope(*pair) for pair in pairs]}
