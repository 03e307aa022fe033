"""Patterns of values that match no tensor: misspelt ones are errors, others are noted."""

import pytest

from cuvee.errors import PlanError
from cuvee.methods.registry import find_method
from cuvee.plan.patterns import unmatched
from cuvee.recipe.parameters import settle

NAMES = [
    "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.input_layernorm.weight", "model.norm.weight",
]  # fmt: skip


def notes(*patterns: str) -> list[str]:
    given = {"weight": {"by_name": {**dict.fromkeys(patterns, 0.5), "*": {"over_depth": [0, 1]}}}}
    return unmatched([(settle(find_method("linear"), given, ["a", "b"]), ("parameters",))], NAMES)


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
    assert caught.value.where == ("parameters", "weight")


@pytest.mark.parametrize(
    "pattern", ["*zzz*", "*lm_head*", "*o_proj*", "*k_proj*", "*[*].mlp.[*]*", "*experts*", "*MLP*", "*Self_Attn*"]
)
def test_what_other_families_have_is_noted_once(pattern: str) -> None:
    (note,) = notes(pattern)
    assert pattern in note
    assert "no name matches; upper and lower case differ" in note
