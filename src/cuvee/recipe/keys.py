"""The keys of a recipe, and what to say to who writes others."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from cuvee.errors import RecipeError
from cuvee.methods.registry import methods
from cuvee.recipe.rule import Output
from cuvee.recipe.values import keys_of
from cuvee.sources.strict_json import shown

__all__ = ["KEYS", "RECIPES", "SCHEMA", "recipe_keys"]

SCHEMA = 1
"""Version of the format, under the key ``cuvee``."""
KEYS = (
    "cuvee", "method", "models", "base", "layers", "parameters", "tensors", "tokenizer", "seed", "input", "output",
)  # fmt: skip
RECIPES = "recipes"
"""Key of a file of several recipes."""
_NEEDED = {
    "method": "the name of a method (`cuvee methods` lists them)",
    "models": "a list of paths, or label: path for each model",
}
OF_MERGEKIT = frozenset({"base_model", "chat_template", "modules", "out_dtype", "slices", "tokenizer_source"})
"""Keys at the top of mergekit's configurations that no recipe has."""
_HINTS = {
    "base_model": "Did you mean 'base'?",
    "merge_method": "Did you mean 'method'?",
    **{f.name: f"Say output: {{{f.name}: ...}}." for f in fields(Output)},
}


def recipe_keys(content: object) -> Mapping[str, Any]:
    """Check that plain values have the keys of a recipe, and no others.

    Raises:
        RecipeError: one is missing or unknown, or this is something else: several recipes, a configuration of mergekit
            or of a program that comes with it.
    """
    if isinstance(content, Mapping) and RECIPES in content:
        raise RecipeError(
            "these are several recipes, and one is expected here. The path of their file is what cuvee.merge and "
            "cuvee.plan take (cuvee merge, cuvee plan); or put one into a file of its own.",
            (RECIPES,),
        )
    if isinstance(content, Mapping) and "merge_method" in content and "cuvee" not in content:
        raise RecipeError(
            "this is a mergekit configuration, not a recipe. `cuvee merge`, `cuvee plan` and `cuvee convert` "
            "(cuvee.merge, cuvee.plan) take it as it is.",
            ("merge_method",),
        )
    _refuse_relatives(content)
    _refuse_without_method(content)
    top = keys_of(content, KEYS, "a recipe", (), _hints(content))
    _check_version(top.get("cuvee"))
    for key, needed in _NEEDED.items():
        if key not in top:
            raise RecipeError(f"the recipe has no '{key}'; give it {needed}.")
    return top


def _refuse_relatives(content: object) -> None:
    """Refuse configurations of programs that come with mergekit."""
    if not isinstance(content, Mapping) or "cuvee" in content:
        return
    is_mixture = "base_model" in content and {"experts", "gate_mode", "architecture"} & set(content)
    program = "mergekit-moe" if is_mixture else "mergekit-evolve" if "genome" in content else None
    if program is not None:
        raise RecipeError(
            f"this is a configuration of {program}, which is not read. Of mergekit's configurations those that have a "
            "'merge_method' at the top are.",
            ("experts" if "experts" in content else "genome" if "genome" in content else "base_model",),
        )


def _refuse_without_method(content: object) -> None:
    """Refuse what is a configuration of mergekit but for its method."""
    if not isinstance(content, Mapping) or {"cuvee", "method"} & set(content):
        return
    if OF_MERGEKIT & set(content) or any(isinstance(each, Mapping) and "model" in each for each in _listed(content)):
        near = get_close_matches("merge_method", [key for key in content if isinstance(key, str)], 1)
        raise RecipeError(
            "this looks like a configuration of mergekit, which has a 'merge_method' at the top; this has "
            f"{f'{shown(near[0])}. Did you mean that?' if near else 'none. Say which one: merge_method: ties.'}",
            (near[0],) if near else (),
        )


def _listed(content: Mapping[Any, Any]) -> Sequence[object]:
    """Return what stands in a list of models."""
    models = content.get("models")
    return models if isinstance(models, list) else ()


def _check_version(version: object) -> None:
    """Refuse a recipe of another format."""
    if version != SCHEMA or isinstance(version, bool):
        found = "it has none" if version is None else f"it says {shown(version)}"
        raise RecipeError(f"a recipe begins with 'cuvee: {SCHEMA}', the version of its format; {found}.", ("cuvee",))


def _hints(content: object) -> Mapping[str, str]:
    """Say what to write instead of keys that people bring from elsewhere, or put one level too high."""
    name = content.get("method") if isinstance(content, Mapping) else None
    method = methods().get(name) if isinstance(name, str) else None
    return {key: f"Say parameters: {{{key}: ...}}." for key in (method.parameters if method else ())} | _HINTS
