"""Generators of valid things, shared by the tests: recipes, and what they are made of. Read from the declarations."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from cuvee.methods.declare import Method, Parameter
from cuvee.methods.registry import methods
from cuvee.recipe.recipe import BASE, Recipe
from cuvee.recipe.rule import Output, Rule
from cuvee.spec import DTYPES

text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
"""Any text a path or a pattern can be, however odd."""
labels = st.from_regex(r"[\w.-]{1,8}", fullmatch=True).filter(lambda label: label not in (BASE, "over_depth"))


def numbers(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Numbers within a parameter's bounds."""
    low, high = (parameter.bounds.low, parameter.bounds.high) if parameter.bounds else (-1e6, 1e6)
    whole = st.integers(int(low), int(high))
    return whole if parameter.type is int else st.one_of(whole, st.floats(low, high))


def one_value(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Values that a parameter takes where it takes one: plain, or over depth."""
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.type is bool:
        return st.booleans()
    plain = numbers(parameter)
    over_depth = st.lists(plain, min_size=1, max_size=4).map(lambda values: {"over_depth": values})
    return st.one_of(plain, over_depth) if parameter.interpolates else plain


def given_value(parameter: Parameter, names: Sequence[str]) -> st.SearchStrategy[Any]:
    """All that a recipe may give to a parameter; for a per-model one also a list, or a mapping from labels."""
    one = one_value(parameter)
    if not parameter.per_model:
        return one
    return st.one_of(
        one,
        st.lists(one, min_size=len(names), max_size=len(names)),
        st.fixed_dictionaries(dict.fromkeys(names, one)),
    )


def settings_for(method: Method, names: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Parameters for a method, any of them left out. Each is right by itself; together they may not be."""
    return st.fixed_dictionaries({}, optional={p.name: given_value(p, names) for p in method.parameters.values()})


def methods_for(count: int) -> list[Method]:
    """Return the methods that take this many models."""
    return [m for m in methods().values() if m.models[0] <= count and (m.models[1] is None or count <= m.models[1])]


def rules(method: Method, names: Sequence[str], has_base: bool) -> st.SearchStrategy[Rule]:
    """Rules for some tensors of a recipe with this method, these models and perhaps a base."""
    matching: dict[str, Any] = {"match": st.lists(text, min_size=1, max_size=3).map(tuple), "parts": st.integers(1, 9)}
    others = st.sampled_from(methods_for(len(names))).flatmap(
        lambda other: st.builds(Rule, **matching, method=st.just(other.name), parameters=settings_for(other, names))
    )
    return st.one_of(
        others,
        st.builds(Rule, **matching, parameters=settings_for(method, names)),
        st.builds(Rule, **matching, copy=st.sampled_from([*names, *([BASE] if has_base else [])])),
        st.builds(Rule, **matching, skip=st.just(True)),
    )


outputs = st.builds(
    Output,
    dtype=st.none() | st.sampled_from([d.torch_name for d in DTYPES.values() if d.kind == "float"]),
    shard_size=st.integers(1, 10**15),
    custom_code=st.booleans(),
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Recipes that use everything a recipe can say. Their models are paths, which need not exist."""
    names = draw(st.lists(labels, min_size=1, max_size=4, unique=True))
    method = draw(st.sampled_from(methods_for(len(names))))
    base = draw(st.none() | text)
    return Recipe(
        method=method.name,
        models={name: draw(text) for name in names},
        base=base,
        parameters=draw(settings_for(method, names)),
        tensors=draw(st.lists(rules(method, names, base is not None), max_size=3)),
        seed=draw(st.integers()),
        output=draw(outputs),
    )
