"""Values for parameters: checked, completed, spread over models, interpolated over depth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.errors import RecipeError
from cuvee.methods.declare import Method, Parameter, Range
from cuvee.methods.registry import find_method, methods
from cuvee.recipe.parameters import settings_at, settle
from cuvee.recipe.varying import OverDepth, Place

LABELS = ("math", "code")
finite = st.floats(-10, 10)


def with_parameter(kind: type, bounds: Range | None = None, per_model: bool = False) -> Method:
    """A method whose one parameter `knob` is of a type that none of ours has yet."""
    knob = Parameter(
        name="knob",
        type=kind,
        default=kind(1),
        bounds=bounds,
        choices=(),
        per_model=per_model,
        role="value",
        help="turn it",
    )
    return replace(find_method("linear"), name="mine", parameters={"knob": knob})


@pytest.mark.parametrize("name", sorted(methods()))
def test_nothing_given_means_every_default(name: str) -> None:
    method = find_method(name)
    settings = settle(method, {}, LABELS)
    assert set(settings) == set(method.parameters)
    for parameter in method.parameters.values():
        expected = (parameter.default,) * 2 if parameter.per_model else parameter.default
        assert settings[parameter.name] == expected


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        (2, (2.0, 2.0)),
        ([1, 2], (1.0, 2.0)),
        ((1, 2), (1.0, 2.0)),
        ({"code": 2, "math": 1}, (1.0, 2.0)),
        ({"over_depth": [1, 2]}, (OverDepth((1.0, 2.0)),) * 2),
        (OverDepth((1, 2)), (OverDepth((1.0, 2.0)),) * 2),
        ([1, {"over_depth": [1, 2]}], (1.0, OverDepth((1.0, 2.0)))),
        ({"math": {"over_depth": [3]}, "code": 0}, (OverDepth((3.0,)), 0.0)),
    ],
)
def test_per_model_parameter_is_spread_in_the_order_of_the_models(given: Any, settled: tuple[object, ...]) -> None:
    assert settle(find_method("linear"), {"weight": given}, LABELS)["weight"] == settled


def test_bounds_themselves_are_allowed_and_nothing_beyond() -> None:
    ties = find_method("ties")
    assert settle(ties, {"density": 0}, LABELS)["density"] == (0.0, 0.0)
    assert settle(ties, {"density": 1}, LABELS)["density"] == (1.0, 1.0)
    for density in (-1e-9, 1.0000001):
        with pytest.raises(RecipeError, match=r"'density' is .*; it must lie between 0 and 1"):
            settle(ties, {"density": density}, LABELS)


@pytest.mark.parametrize("name", sorted(methods()))
def test_every_bound_and_every_word_holds(name: str) -> None:
    method = find_method(name)
    for parameter in method.parameters.values():
        for word in parameter.choices:
            assert settle(method, {parameter.name: word}, LABELS)[parameter.name] == word
        if parameter.choices:
            with pytest.raises(RecipeError, match=f"it can be: {', '.join(parameter.choices)}"):
                settle(method, {parameter.name: "no such word"}, LABELS)
        if parameter.bounds:
            settle(method, {parameter.name: parameter.bounds.low}, LABELS)
            settle(method, {parameter.name: parameter.bounds.high}, LABELS)
            for beyond in (parameter.bounds.low - 1, parameter.bounds.high + 1):
                with pytest.raises(RecipeError, match="it must lie between"):
                    settle(method, {parameter.name: beyond}, LABELS)


def test_whole_numbers_are_not_fractions_and_not_truth() -> None:
    method = with_parameter(int, Range(0, 5))
    assert settle(method, {"knob": 3}, LABELS)["knob"] == 3
    for wrong in (2.5, 3.0, True, "3"):
        with pytest.raises(RecipeError, match="it must be a whole number"):
            settle(method, {"knob": wrong}, LABELS)
    with pytest.raises(RecipeError, match="it must lie between 0 and 5"):
        settle(method, {"knob": 10**400}, LABELS)
    assert settle(method, {"knob": {"over_depth": [1, 2]}}, LABELS)["knob"] == OverDepth((1, 2))
    with pytest.raises(RecipeError, match="it must be a whole number"):
        settle(method, {"knob": {"over_depth": [1, 2.5]}}, LABELS)


def test_numbers_of_numpy_are_numbers_and_its_truth_is_not() -> None:
    whole = with_parameter(int, Range(0, 5))
    settled = settle(whole, {"knob": np.int64(3)}, LABELS)["knob"]
    assert (settled, type(settled)) == (3, int)
    settled = settle(find_method("slerp"), {"t": np.float32(0.5)}, LABELS)["t"]
    assert (settled, type(settled)) == (0.5, float)
    assert settle(find_method("slerp"), {"t": np.int64(1)}, LABELS)["t"] == 1.0
    for method, wrong in ((whole, {"knob": np.float64(3)}), (find_method("slerp"), {"t": np.bool_(True)})):
        with pytest.raises(RecipeError, match="it must be a"):
            settle(method, wrong, LABELS)
    with pytest.raises(RecipeError, match="it must be a finite number"):
        settle(find_method("slerp"), {"t": np.float32("nan")}, LABELS)


def test_text_without_fixed_words_is_taken_as_it_is() -> None:
    method = with_parameter(str)
    assert settle(method, {"knob": "anything"}, LABELS)["knob"] == "anything"
    with pytest.raises(RecipeError, match="'knob' is 5; it must be text"):
        settle(method, {"knob": 5}, LABELS)


def test_truth_can_differ_between_models() -> None:
    method = with_parameter(bool, per_model=True)
    assert settle(method, {"knob": [True, False]}, LABELS)["knob"] == (True, False)
    assert settle(method, {"knob": {"code": False, "math": True}}, LABELS)["knob"] == (True, False)


@pytest.mark.parametrize(
    ("values", "depth", "value"),
    [
        ((1.0,), 0.0, 1.0),
        ((1.0,), 1.0, 1.0),
        ((0.0, 1.0), 0.0, 0.0),
        ((0.0, 1.0), 0.25, 0.25),
        ((0.0, 1.0), 1.0, 1.0),
        ((0.0, 1.0, 0.0), 0.5, 1.0),
        ((0.0, 1.0, 0.0), 0.75, 0.5),
        ((2.0, 4.0, 1.0, 3.0), 1 / 3, 4.0),
    ],
)
def test_values_over_depth_are_joined_by_straight_lines(values: tuple[float, ...], depth: float, value: float) -> None:
    assert OverDepth(values).at(Place("w", depth)) == pytest.approx(value, abs=1e-12)


@given(values=st.lists(finite, min_size=1, max_size=6), depth=st.floats(0, 1))
def test_values_over_depth_stay_between_their_neighbours(values: list[float], depth: float) -> None:
    at = OverDepth(tuple(values)).at(Place("w", depth))
    slack = 1e-12 * max(1.0, *map(abs, values))
    assert min(values) - slack <= at <= max(values) + slack


@given(values=st.lists(finite, min_size=1, max_size=6))
def test_first_and_last_values_hold_exactly_at_the_ends(values: list[float]) -> None:
    assert OverDepth(tuple(values)).at(Place("w", 0.0)) == values[0]
    assert OverDepth(tuple(values)).at(Place("w", 1.0)) == values[-1]


def test_settings_at_a_depth_are_plain_values() -> None:
    settings = settle(
        find_method("ties"),
        {"density": [0.5, {"over_depth": [0.0, 1.0]}], "scale": {"over_depth": [1, 3]}, "rule": "reference"},
        LABELS,
    )
    plain = settings_at(settings, Place("w", 0.25), ["w", "w"])
    assert plain["density"] == [0.5, 0.25]
    assert plain["weight"] == [1.0, 1.0]
    assert plain["scale"] == 1.5
    assert plain["rule"] == "reference"


def test_whole_numbers_over_depth_come_to_whole_numbers_or_are_refused() -> None:
    settings = settle(find_method("karcher"), {"max_iter": {"over_depth": [7, 9, 3]}}, LABELS)
    depths = (0.0, 0.25, 0.5, 2 / 3, 5 / 6, 1.0)
    found = [settings_at(settings, Place("w", depth), ["w", "w"])["max_iter"] for depth in depths]
    assert (found, {type(each) for each in found}) == ([7, 8, 9, 7, 5, 3], {int})
    with pytest.raises(RecipeError, match=r"'max_iter' comes to 7.4 for the tensor 'w'; it must be a whole number"):
        settings_at(settings, Place("w", 0.1), ["w", "w"])


def test_what_is_no_number_holds_until_the_next_value() -> None:
    words = OverDepth(("low", "middle", "high"))
    assert [words.at(Place("w", depth)) for depth in (0.0, 0.4, 0.5, 0.9, 1.0)] == [
        "low", "low", "middle", "middle", "high"
    ]  # fmt: skip


@pytest.mark.parametrize(("outside", "found"), [("ends", [0.0, 1.0]), ("first", [0.0, 0.0])])
def test_tensors_outside_layers_take_the_ends_or_the_first(outside: Any, found: list[float]) -> None:
    value = OverDepth((0.0, 1.0), outside)
    assert [value.at(Place("w", depth, in_layer=False)) for depth in (0.0, 1.0)] == found
    assert value.at(Place("w", 1.0)) == 1.0


def test_the_first_pattern_that_matches_holds_and_one_has_to() -> None:
    given = {"weight": {"by_name": {"*.mlp.*": 0.3, "layers.1.*": {"over_depth": [0, 1]}, "layers.*": 1}}}
    settings = settle(find_method("linear"), given, LABELS)

    def weights(name: str, other: str, depth: float = 0.5) -> Any:
        return settings_at(settings, Place(name, depth), [name, other])["weight"]

    assert weights("layers.1.mlp.up", "layers.1.mlp.up") == [0.3, 0.3]
    assert weights("layers.1.attn", "layers.1.attn") == [0.5, 0.5]
    assert weights("layers.0.attn", "layers.1.attn", 0.25) == [1.0, 0.25]  # each model's own name counts
    with pytest.raises(RecipeError, match=r"'weight' has no value for the tensor 'LAYERS.1.MLP.x': no pattern"):
        weights("LAYERS.1.MLP.x", "norm")


def test_patterns_within_patterns_hold_where_both_match() -> None:
    within = {"by_name": {"*.mlp.*": {"by_name": {"layers.0.*": 1, "*": {"over_depth": [2, 4]}}}, "*": 5}}
    settings = settle(find_method("linear"), {"weight": within}, LABELS)
    names = {"layers.0.mlp.up": 1.0, "layers.1.mlp.up": 3.0, "layers.0.attn": 5.0}
    found = {name: settings_at(settings, Place(name, 0.5), [name, name])["weight"] for name in names}
    assert found == {name: [value, value] for name, value in names.items()}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"by_name": {}}, "'weight': 'by_name' must be pattern: value"),
        ({"by_name": [1]}, "'weight': 'by_name' must be pattern: value"),
        ({"by_name": {"*": {"by_name": {}}}}, "'weight': 'by_name' must be pattern: value"),
        ({"by_name": {"*": {"math": 1}}}, "the value for '\\*' is a mapping"),
        ({"by_name": {"*": "x"}}, "'weight' is 'x'; it must be a number"),
        ({"by_name": {"*": 1}, "over_depth": [1]}, "has the key 'over_depth' beside 'by_name'"),
        ({"over_depth": [1], "outsid": "first"}, "has the key 'outsid' beside 'over_depth'. Did you mean 'outside'"),
        ({"over_depth": [1], "outside": "last"}, "'outside' is 'last'; it can be 'ends'"),
    ],
)
def test_values_that_vary_are_checked(value: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        settle(find_method("linear"), {"weight": value}, LABELS)


def test_what_the_whole_merge_works_on_cannot_vary() -> None:
    with pytest.raises(RecipeError, match="'vectors' holds for the whole merge and cannot vary"):
        settle(find_method("slerp"), {"vectors": {"by_name": {"*": "task"}}}, LABELS)
