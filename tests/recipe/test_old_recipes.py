"""Recipes that people have on their disks. They must load, and mean the same, as long as schema version 1 is read.

Never change a file in `fixtures` or what is expected of it here; add another.
"""

from pathlib import Path

import pytest

from cuvee.recipe.recipe import Recipe
from cuvee.recipe.rule import Output, Rule

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = {
    "minimal.yaml": Recipe(method="linear", models={"m0": "./math", "m1": "./code"}),
    "everything.yaml": Recipe(
        method="ties",
        models={"math": "../models/math", "code": "/models/code.safetensors", "2024": "1e5"},
        base="~/models/base",
        parameters={
            "density": {"math": 0.2, "code": 0.001, "2024": {"over_depth": [0.1, 0.5, 0.1]}},
            "weight": [1, 0.5, -0.25],
            "scale": {"over_depth": [1, 0.5]},
            "trim_scope": "tensor",
            "rule": "reference",
            "zero_sign": "positive",
            "merge": "sum",
        },
        tensors=[
            Rule(
                match=("*.q_proj.weight",),
                method="dare_ties",
                parameters={"density": 0.5, "rescale": False, "trim_density": 0.9},
            ),
            Rule(match=("lm_head.weight", "*.bias"), copy="math"),
            Rule(match=("*.rotary_emb.inv_freq",), skip=True),
            Rule(match=("model.embed_tokens.weight",), copy="base"),
            Rule(match=("*.mlp.experts.gate_up_proj",), parameters={"scale": 0.3}, parts=8),
            Rule(
                match=("model.layers.[01].*",),
                method="breadcrumbs",
                parameters={"density": 0.2, "outliers": 0.1, "scope": "row"},
            ),
        ],
        seed=42,
        output=Output(dtype="bfloat16", shard_size=2_000_000_000, custom_code=True),
    ),
    "slerp.yaml": Recipe(
        method="slerp",
        models={"left": "left", "right": "right"},
        parameters={"t": {"over_depth": [0, 0.5, 1]}, "scope": "model", "vectors": "task", "norm": "lerp"},
        base="base",
        tensors=[Rule(match=("*",), method="mlerp", parameters={"scope": "row", "vectors": "parameters"})],
    ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_old_recipe_loads_and_means_the_same(name: str) -> None:
    assert Recipe.load(FIXTURES / name) == EXPECTED[name]


def test_every_fixture_is_checked() -> None:
    assert {path.name for path in FIXTURES.iterdir()} == set(EXPECTED)
