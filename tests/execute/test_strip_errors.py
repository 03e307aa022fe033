"""Small tensors that are merged as one: what is wrong with one of them is told with its name."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest
import torch

import cuvee
from cuvee.errors import MergeError, NonFiniteError
from cuvee.methods.declare import Method, Scope, Weights, method
from cuvee.methods.registry import find_method
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Passes, total
from end_to_end.recipes import each_scope, recipe_for
from end_to_end.uneven import Weights as State
from end_to_end.uneven import assert_same_bytes
from execute.alone import assert_same_as_alone, merged, merged_alone


def states(count: int) -> list[State]:
    """Models whose tensors w0 to w3 are worked on as one: 1 to 6 in the first, one more in each other."""
    return [
        {name: (torch.arange(6.0) + 1 + i).reshape(2, 3) for name in ("w0", "w1", "w2", "w3")} for i in range(count)
    ]


def recipe_of(name: str, models: list[State], **parameters: Any) -> dict[str, Any]:
    return {"cuvee": 1, "method": name, "models": models, "parameters": parameters}


# Inputs


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@each_scope
def test_a_weight_that_is_not_finite_is_told_by_tensor_model_and_place(
    method: Method, settings: Mapping[str, Any], value: float, either_way: None
) -> None:
    if method.any_dtype:
        return
    base, *others = states(3)
    last = (method.models[1] or len(others)) - 1
    others[last]["w2"][1, 1] = value
    message = rf"tensor 'w2' of model 'm{last}' is {value} at flat index 4\. A merge would"
    with pytest.raises(NonFiniteError, match=message):
        merged(recipe_for(method, others, base, **settings))


@pytest.mark.parametrize("scope", ["tensor", "row", "model"])
def test_a_base_that_is_not_finite_is_told_too(scope: str, either_way: None) -> None:
    base, *others = states(3)
    base["w3"][0, 2] = float("inf")
    with pytest.raises(NonFiniteError, match=r"tensor 'w3' of model 'base' is inf at flat index 2\."):
        merged(recipe_for(find_method("ties"), others, base, trim_scope=scope))


def test_a_double_that_float32_cannot_hold_is_told_too() -> None:
    one, two = states(2)
    two = {name: tensor.double() for name, tensor in two.items()}
    two["w1"][1, 2] = 1e300
    with pytest.raises(NonFiniteError, match=r"tensor 'w1' of model 'm1' is 1e\+300 at flat index 5\. float32"):
        merged(recipe_of("linear", [one, two]))


def test_a_tensor_is_told_by_the_name_that_it_is_read_under() -> None:
    one, two = states(2)
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    one |= {embedding: torch.ones(2, 3), head: torch.ones(2, 3)}
    two |= {embedding: torch.tensor([[1.0, 2, 3], [4, float("nan"), 6]])}  # and for a head the same
    recipe = recipe_of("linear", [one, two]) | {"tensors": [{"match": embedding, "skip": True}]}
    with pytest.raises(NonFiniteError, match=rf"tensor '{embedding}' of model 'm1' is nan at flat index 4\."):
        merged(recipe)
    two[embedding][1, 1] = 5
    assert merged(recipe)[0][0][head].tolist() == [[1, 1.5, 2], [2.5, 3, 3.5]]


def test_a_place_in_a_part_is_counted_from_the_beginning_of_its_tensor(either_way: None) -> None:
    one, two = states(2)
    recipe = recipe_of("linear", [one, two], weight=10, normalize=False) | {"tensors": [{"match": "*", "parts": 2}]}
    two["w1"][1, 1] = 3e38
    with pytest.raises(NonFiniteError, match=r"^w1: method 'linear' gives inf at flat index 4, which comes of finite"):
        merged(recipe)
    two["w1"][1, 1] = float("nan")
    with pytest.raises(NonFiniteError, match=r"tensor 'w1' of model 'm1' is nan at flat index 4\."):
        merged(recipe)


# Results


@pytest.mark.parametrize(
    ("large", "weight", "dtype", "said"),
    [
        (3e38, 2.0, "float32", "gives inf at flat index 4, which comes of finite inputs"),
        (7e4, 0.5, "float16", "gives 70000.0 at flat index 4, which does not fit into F16"),
        (-3.4e38, 0.5, "bfloat16", r"gives -3\.39\d+e\+38 at flat index 4, which does not fit into BF16"),
    ],
)
def test_a_result_that_is_too_large_is_told_by_tensor_and_place(
    large: float, weight: float, dtype: str, said: str, either_way: None
) -> None:
    one, two = states(2)
    one["w2"][1, 1] = two["w2"][1, 1] = large
    recipe = recipe_of("linear", [one, two], weight=weight, normalize=False)
    with pytest.raises(NonFiniteError, match=f"^w2: method 'linear' {said}"):
        merged(recipe | {"output": {"dtype": dtype}})


@pytest.mark.parametrize("scope", ["tensor", "row", "model"])
def test_a_merged_task_vector_that_is_too_large_is_told_too(scope: str, either_way: None) -> None:
    base, *others = states(3)
    for state in others:
        state["w1"][1, 1] = 6.5e4
    recipe = recipe_for(find_method("ties"), others, base, trim_scope=scope, density=0.5, scale=1.5)
    with pytest.raises(NonFiniteError, match=r"^w1: method 'ties' gives 97497.5 at flat index 4, .* fit into F16"):
        merged(recipe | {"output": {"dtype": "float16"}})


def test_a_copy_that_does_not_fit_is_told_by_tensor_and_place() -> None:
    (one,) = states(1)
    one["w1"][0, 1] = float("-inf")  # what is only copied may hold anything
    one["w3"][1, 1] = 1e9
    recipe = recipe_of("copy", [one]) | {"output": {"dtype": "float16"}}
    with pytest.raises(NonFiniteError, match=r"^w3: method 'copy' gives 1000000000.0 at flat index 4, .* fit into F16"):
        merged(recipe)
    one["w3"][1, 1] = 9
    assert merged(recipe)[0][0]["w1"][0].tolist() == [1, float("-inf"), 3]


# Methods that fail


@pytest.fixture
def touchy(forget: None) -> Method:
    """A method that does not like one number, and that may take passes of its own."""

    @method(passes=lambda parameters: int(parameters["scope"] == "tensor"))
    def touchy(weights: Weights, *, scope: Scope[Literal["model", "tensor", "row"]] = "tensor") -> Passes[Operand]:
        """Take the first model, unless it holds a 9.

        Args:
            weights: models.
            scope: what its pass is taken over.
        """
        if scope == "tensor":
            yield from total(gram_matrix, weights)
        if bool((weights[0].tensor == 9).any()):
            raise ValueError("nine")
        return weighted_sum(weights[:1], [1.0])

    return cuvee.methods()["touchy"]


@pytest.mark.parametrize("scope", ["tensor", "row", "model"])
def test_a_method_that_fails_for_one_tensor_is_told_with_its_name(touchy: Method, scope: str) -> None:
    (one,) = states(1)
    recipe = recipe_of("touchy", [one], scope=scope)
    assert_same_bytes(merged(recipe)[0][0], one)
    one["w2"][1, 1] = 9
    with pytest.raises(MergeError, match=r"^w2: method 'touchy' failed: ValueError: nine$") as caught:
        merged(recipe)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_method_without_passes_that_fails_for_one_tensor_is_told_with_its_name(forget: None) -> None:
    @method()
    def simple(weights: Weights) -> torch.Tensor:
        """Take the first model, unless it holds a 9.

        Args:
            weights: models.
        """
        if bool((weights[0].tensor == 9).any()):
            raise MergeError("there is a nine")
        return weights[0].tensor

    (one,) = states(1)
    one |= {"w2": torch.ones(5), "w3": torch.full((7,), 9.0)}
    with pytest.raises(MergeError, match=r"^w3: there is a nine$"):
        merged(recipe_of("simple", [one]))


def test_a_method_that_fails_for_many_tensors_only_is_not_in_the_way(forget: None) -> None:
    @method()
    def short_sighted(weights: Weights) -> torch.Tensor:
        """Take the first model, if it is small.

        Args:
            weights: models.
        """
        if weights[0].tensor.numel() > 6:
            raise ValueError("too much")
        return weights[0].tensor

    (one,) = states(1)
    assert_same_bytes(merged(recipe_of("short_sighted", [one]))[0][0], one)


def test_a_method_that_asks_without_having_declared_it_is_not_answered_from_other_tensors(forget: None) -> None:
    @method()
    def curious(weights: Weights) -> Passes[Operand]:
        """Multiply by the squared norm, of which nothing is declared.

        Args:
            weights: models.
        """
        gram = yield from total(gram_matrix, weights)
        return weighted_sum(weights, [float(gram[0, 0, 0])])

    recipe = recipe_of("curious", states(1))
    assert_same_bytes(merged(recipe)[0][0], merged_alone(recipe)[0][0])


@pytest.mark.parametrize("scope", ["tensor", "row"])
def test_models_that_cancel_in_one_tensor_are_told_with_its_name(scope: str, either_way: None) -> None:
    one, two = states(2)
    two["w2"][1] = -one["w2"][1]
    if scope == "tensor":
        two["w2"][0] = -one["w2"][0]
    recipe = recipe_of("mlerp", [one, two], scope=scope)
    with pytest.raises(MergeError, match=r"^w2: mlerp: the models cancel out"):
        merged(recipe)
    rule = {"match": "w2", "method": "linear"}  # as the message advises
    assert merged({**recipe, "tensors": [rule]})[0][0]["w2"][1].tolist() == [0, 0, 0]


def test_models_that_cancel_in_half_of_a_tensor_have_a_direction(either_way: None) -> None:
    one, two = states(2)
    two["w2"][1] = -one["w2"][1]
    assert_same_as_alone(recipe_of("mlerp", [one, two], scope="tensor"))


# Notes


@pytest.mark.parametrize("scope", ["tensor", "row"])
def test_a_note_is_about_the_tensors_that_it_is_said_of(scope: str, either_way: None) -> None:
    one, two = states(2)
    for name in ("w1", "w3"):
        two[name] = -one[name]
    recipe = recipe_of("slerp", [one, two], scope=scope, t=0.25)
    assert_same_as_alone(recipe)
    _, report = merged(recipe, workers=3)
    assert [note.split(":")[0] for note in report.notes] == ["w1", "w3"]
    assert all("the two models point in opposite directions" in note for note in report.notes)


def test_of_several_merges_only_one_has_something_to_say(either_way: None) -> None:
    one, two = states(2)
    two["w1"] = -one["w1"]
    merges = [recipe_of("linear", [one, two]), recipe_of("slerp", [one, two]), recipe_of("copy", [two])]
    assert_same_as_alone(*merges)
    assert [note.split(":")[0] for note in merged(*merges)[1].notes] == ["w1"]


def test_tensors_without_a_direction_say_nothing(either_way: None) -> None:
    one, two = states(2)
    one["w1"] = two["w1"] = torch.zeros(2, 3)
    for name in ("slerp", "mlerp"):
        assert_same_as_alone(recipe_of(name, [one, two], scope="tensor"))
        assert merged(recipe_of(name, [one, two], scope="tensor"))[1].notes == []
