"""Patterns of values that match no tensor: misspelt ones are errors, others are noted."""

from pathlib import Path
from typing import Any

import pytest

from cuvee.errors import PlanError
from cuvee.plan.patterns import unmatched
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.several import recipes_of

NAMES = [
    "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.input_layernorm.weight", "model.norm.weight",
]  # fmt: skip


def notes(*patterns: str) -> list[str]:
    given = {"weight": {"by_name": {**dict.fromkeys(patterns, 0.5), "*": {"over_depth": [0, 1]}}}}
    return unmatched(Recipe(method="linear", models=["a", "b"], parameters=given), [NAMES])


@pytest.mark.parametrize("pattern", ["*mlp*", "*.q_proj.*", "model.embed_tokens.*", "*norm*", "*"])
def test_what_matches_is_not_spoken_of(pattern: str) -> None:
    assert notes(pattern) == []


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("*self_atn*", "self_attn"),
        ("*embed_token_*", "embed_tokens"),
        ("*.input_layenorm.*", "input_layernorm"),
    ],
)
def test_a_misspelt_part_of_a_name_is_an_error(pattern: str, word: str) -> None:
    with pytest.raises(PlanError, match=f"no name matches. Did you mean '{word}'") as caught:
        notes(pattern)
    assert caught.value.where == ("parameters", "weight", "by_name", pattern)


@pytest.mark.parametrize(
    "pattern", ["*zzz*", "*lm_head*", "*o_proj*", "*k_proj*", "*[*].mlp.[*]*", "*experts*", "*MLP*", "*Self_Attn*"]
)
def test_what_other_families_have_is_noted_once(pattern: str) -> None:
    (note,) = notes(pattern)
    assert pattern in note
    assert "no name matches; upper and lower case differ" in note


@pytest.mark.parametrize(("pattern", "word"), [("*MLP*", "mlp"), ("*mlpp*", "mlp"), ("*mpl*", "mlp")])
def test_a_note_names_what_is_like_a_pattern(pattern: str, word: str) -> None:
    (note,) = notes(pattern)
    assert note.endswith(f"differ. Did you mean '{word}'?")


WRONG = {"by_name": {"*self_atn*": 0.3, "*": 0.5}}


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"parameters": {"weight": {"m0": WRONG, "m1": 1}}}, ("parameters", "weight", "m0")),
        ({"parameters": {"weight": [1, WRONG]}}, ("parameters", "weight", 1)),
        (
            {"tensors": [{"match": "*.0.*", "parameters": {"weight": WRONG}}]},
            ("tensors", 0, "parameters", "weight"),
        ),
        (
            {"layers": [{"take": {"m0": [0, 1], "m1": [0, 1]}, "parameters": {"weight": WRONG}}]},
            ("layers", 0, "parameters", "weight"),
        ),
    ],
)
def test_patterns_are_looked_at_wherever_they_stand(keys: dict[str, Any], where: tuple[str | int, ...]) -> None:
    recipe = Recipe.from_mapping({"cuvee": 1, "method": "linear", "models": ["a", "b"], **keys})
    with pytest.raises(PlanError) as caught:
        unmatched(recipe, [NAMES])
    assert caught.value.where == (*where, "by_name", "*self_atn*")


FILTERS = """\
merge_method: linear
models:
  - model: a
  - model: b
    parameters:
      weight:
        - filter: {own!r}
          value: 1
parameters:
  weight:
    - filter: {of_all!r}
      value: 2
    - value: 3
"""


@pytest.mark.parametrize(("own", "of_all", "line"), [("zzz", "mlp", 7), ("mlp", "zzz", 11)])
def test_a_filter_is_named_as_it_is_written_with_its_line(own: str, of_all: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "mk.yml").write_text(FILTERS.format(own=own, of_all=of_all))
    (recipe,) = recipes_of(tmp_path / "mk.yml").values()
    (note,) = unmatched(recipe, [NAMES])
    assert note.startswith(f"{tmp_path / 'mk.yml'}:{line}: 'weight' has a value for the filter 'zzz', and no name")


def test_a_filter_with_signs_of_a_pattern_is_told_that_they_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "mk.yml").write_text(FILTERS.format(own="*.mlp.*", of_all="mlp"))
    (recipe,) = recipes_of(tmp_path / "mk.yml").values()
    (note,) = unmatched(recipe, [NAMES])
    assert "the filter '*.mlp.*', and no name matches; it is a plain part of names, without signs like *" in note
