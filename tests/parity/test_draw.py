"""What is drawn: the same from the same seed, every method, kind and family, and nothing that order changes."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Import = Callable[[str], ModuleType]
ROOT = Path("models")


def test_a_case_depends_on_seed_and_number_alone(module: Import) -> None:
    draw, families = module("draw"), list(module("families").FAMILIES)
    all_in_turn = [draw.draw(3, index, ROOT, families) for index in range(20)]
    alone = draw.draw(3, 17, ROOT, families)
    assert (alone.text, alone.models) == (all_in_turn[17].text, all_in_turn[17].models)
    assert draw.draw(4, 17, ROOT, families).text != alone.text


def test_three_hundred_cases_hold_every_method_kind_and_family(module: Import) -> None:
    draw, families = module("draw"), list(module("families").FAMILIES)
    cases = [draw.draw(0, index, ROOT, families) for index in range(300)]
    assert {case.method for case in cases} == set(draw.METHODS)
    assert {case.kind for case in cases} == set(draw.KINDS)
    assert {case.family for case in cases} == set(families)
    assert {(case.kind, case.method) for case in cases if case.kind == "models"} == {
        ("models", method) for method in draw.METHODS
    }


def test_families_can_be_chosen(module: Import) -> None:
    cases = [module("draw").draw(0, index, ROOT, ["llama", "t5"]) for index in range(40)]
    assert {case.family for case in cases} == {"llama", "t5"}


@pytest.mark.parametrize("setting", [0.5, [0, 0.5, 0.3, 0.7, 1], [{"filter": "mlp", "value": 2}, {"value": [1, 3]}]])
def test_settings_are_evaluated_as_the_specification_shows(module: Import, setting: object) -> None:
    """The worked example of nine layers; a scalar; conditions."""
    evaluate = module("settings").evaluate
    found = [round(evaluate(setting, "layers.0.attn", place / 8), 9) for place in range(9)]
    expected = {
        float: [0.5] * 9,
        int: [0, 0.25, 0.5, 0.4, 0.3, 0.5, 0.7, 0.85, 1],
        dict: [1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3],
    }[type(setting[0]) if isinstance(setting, list) else type(setting)]
    assert found == expected
    assert not isinstance(setting, list) or isinstance(setting[0], int) or evaluate(setting, "a.mlp.b", 1.0) == 2
