"""Methods that others declare: what they give back, what they are shown of a sample, and how their errors are told."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pytest
import torch

from cuvee.errors import MergeError, NonFiniteError
from cuvee.execute.forecast import forecast
from cuvee.execute.merged import open_sources
from cuvee.methods.declare import Deltas, Scope, Weights, method
from cuvee.plan import planner
from cuvee.plan.limits import Limits
from cuvee.plan.planner import make_plan
from cuvee.recipe.recipe import Recipe
from cuvee.tensors.algebra import gram_matrix
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, finished, prefix, sampled, total
from end_to_end.uneven import Weights as State
from end_to_end.uneven import assert_same_bytes
from execute.alone import merged

CELL = 1 << 12
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}

pytestmark = pytest.mark.usefixtures("forget")


@pytest.fixture
def fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the cells of every plan small."""
    monkeypatch.setattr(planner, "CELL", CELL)


def recipe_of(name: str, models: Any, **more: Any) -> dict[str, Any]:
    return {"cuvee": 1, "method": name, "models": models, **more}


def drawn(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


# Operands that come back


@pytest.fixture(params=["block", "rows", "matrix"])
def first(request: pytest.FixtureRequest) -> str:
    """The name of a method that gives its first operand back."""

    @method(locality=request.param)
    def first(weights: Weights) -> Operand:
        """Take the first model.

        Args:
            weights: models.
        """
        return weights[0]

    return "first"


SHAPES = {"a": (2, 3), "b": (3, 2), "large": (50, 100)}


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("output", [None, *TYPES])
def test_an_operand_that_comes_back_is_rounded_as_results_are(
    first: str, stored: str, output: str | None, fine_grid: None
) -> None:
    one = drawn(SHAPES, TYPES[stored])
    ((found,), _) = merged(recipe_of(first, [one], output={"dtype": output} if output else {}), workers=2)
    assert_same_bytes(found, {name: t.float().to(TYPES[output or stored]) for name, t in one.items()})


@pytest.mark.parametrize("output", [None, "float32", "float16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["b", "large"])
def test_an_operand_that_comes_back_brings_nothing_that_is_not_finite(
    first: str, name: str, value: float, output: str | None, fine_grid: None
) -> None:
    one = drawn(SHAPES)
    one[name].view(-1)[5] = value
    recipe = recipe_of(first, [one], output={"dtype": output} if output else {})
    with pytest.raises(NonFiniteError, match=rf"tensor '{name}' of model 'm0' is {value} at flat index 5\."):
        merged(recipe)


def test_an_operand_that_comes_back_has_to_fit(first: str, either_way: None) -> None:
    one = {"w": torch.tensor([1.0, 7e4])}
    with pytest.raises(NonFiniteError, match=r"^w: method 'first' gives 70000.0 at flat index 1, which does not fit"):
        merged(recipe_of(first, [one], output={"dtype": "float16"}))


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("output", [None, *TYPES])
@pytest.mark.parametrize("which", [0, 1])
def test_a_task_vector_that_comes_back_is_added_to_the_base(
    which: int, stored: str, output: str | None, fine_grid: None, either_way: None
) -> None:
    @method()
    def one_of(deltas: Deltas, *, which: int = 0) -> Operand:
        """Take one task vector.

        Args:
            deltas: task vectors.
            which: its place.
        """
        return deltas[which]

    base, *models = (drawn(SHAPES, TYPES[stored], seed) for seed in range(3))
    recipe = recipe_of("one_of", models, base=base, parameters={"which": which})
    ((found,), _) = merged(recipe | ({"output": {"dtype": output}} if output else {}), workers=2)
    expected = {name: base[name].float() + (models[which][name].float() - base[name].float()) for name in base}
    assert_same_bytes(found, {name: t.to(TYPES[output or stored]) for name, t in expected.items()})


@pytest.mark.parametrize("output", [None, "float32"])
@pytest.mark.parametrize("label", ["m0", "base"])
def test_a_task_vector_that_comes_back_brings_nothing_that_is_not_finite(label: str, output: str | None) -> None:
    @method()
    def first_delta(deltas: Deltas) -> Operand:
        """Take the first task vector.

        Args:
            deltas: task vectors.
        """
        return deltas[0]

    states = {"m0": drawn(SHAPES, seed=1), "base": drawn(SHAPES, seed=2)}
    states[label]["b"][1, 1] = float("nan")
    recipe = recipe_of("first_delta", [states["m0"]], base=states["base"])
    with pytest.raises(NonFiniteError, match=rf"tensor 'b' of model '{label}' is nan at flat index 3\."):
        merged(recipe | ({"output": {"dtype": output}} if output else {}))


# Samples


@pytest.fixture
def shown() -> list[torch.Tensor]:
    """What a method of whole rows, "looks", is shown where it asks for a sample."""
    seen: list[torch.Tensor] = []

    def look(weights: Weights) -> Array:
        seen.append(weights[0].tensor.clone())
        return weights[0].tensor.sum(dim=1, dtype=torch.float64).numpy()

    @method(locality="rows")
    def looks(weights: Weights) -> Passes[Operand]:
        """Take the first model after a look at a sample.

        Args:
            weights: models.
        """
        sums = yield from sampled(np.asarray, look, weights)
        assert len(sums) > 0
        return weights[0]

    return seen


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("width", [7, 700, 5000])
def test_a_sample_shows_whole_rows_to_a_method_that_works_on_rows(
    width: int, workers: int, shown: list[torch.Tensor], fine_grid: None
) -> None:
    rows = 20 * CELL // width + 3
    one = {"w": torch.arange(rows * width, dtype=torch.float32).reshape(rows, width)}
    (found,), _ = merged(recipe_of("looks", [one]), workers=workers)
    assert_same_bytes(found, one)
    assert len(shown) >= 4
    begins = []
    for piece in shown:
        begin, rest = divmod(int(piece[0, 0]), width)
        assert rest == 0
        assert torch.equal(piece, one["w"][begin : begin + len(piece)])
        begins.append(begin)
    assert begins == sorted(begins)
    assert begins[0] < rows / 4
    assert begins[-1] > rows / 2


def test_a_sample_of_rows_is_taken_of_every_tensor_in_model_scope(fine_grid: None) -> None:
    seen = set()

    def look(weights: Weights) -> Array:
        values = weights[0].tensor
        seen.add((values.shape[1], bool((values[:, 0] % values.shape[1] == 0).all())))
        return values[:, 0].numpy().copy()

    @method(locality="rows")
    def looks_far(weights: Weights, *, scope: Scope[Literal["model", "tensor"]] = "model") -> Passes[Operand]:
        """Take the first model after a look at a sample.

        Args:
            weights: models.
            scope: what the sample stands for.
        """
        yield from sampled(np.sort, look, weights)
        return weights[0]

    widths = (7, 700, 5000)
    one = {f"w{w}": torch.arange(3 * CELL // w * w, dtype=torch.float32).reshape(-1, w) for w in widths if w < CELL}
    one["w5000"] = torch.arange(15_000, dtype=torch.float32).reshape(3, 5000)
    (found,), _ = merged(recipe_of("looks_far", [one]))
    assert_same_bytes(found, one)
    assert seen == {(width, True) for width in widths}


# Errors in passes


def wrong(_: Array) -> object:
    raise ZeroDivisionError("no such thing")


QUESTIONS: dict[str, Callable[..., Any]] = {
    "finished": lambda weights: finished(wrong, gram_matrix, weights),
    "prefix": lambda weights: prefix(wrong, gram_matrix, weights),
    "sampled": lambda weights: sampled(wrong, gram_matrix, weights),
}
each_question = pytest.mark.parametrize("question", QUESTIONS)


def asking(question: Callable[..., Any]) -> None:
    """Declare a method, "asks", that asks one question of any scope."""

    @method(passes=lambda _: 1)
    def asks(weights: Weights, *, scope: Scope[Literal["model", "tensor", "row"]] = "tensor") -> Passes[Operand]:
        """Take the first model after a question.

        Args:
            weights: models.
            scope: what is asked about.
        """
        yield from question(weights)
        return weights[0]


LARGE, SMALL = (3, CELL), (2, 3)
SIZES = {
    "large": {"w": LARGE, "ids": ()},
    "small": {"w": SMALL},
    "joined": {"u": SMALL, "v": SMALL, "w": SMALL},
    "mixed": {"v": SMALL, "w": LARGE, "x": SMALL, "y": LARGE},
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("scope", ["model", "tensor", "row"])
@pytest.mark.parametrize("sizes", SIZES)
@each_question
def test_an_error_in_what_is_made_of_an_answer_is_told_with_a_tensors_name(
    question: str, sizes: str, scope: str, workers: int, fine_grid: None
) -> None:
    asking(QUESTIONS[question])
    recipe = recipe_of("asks", [drawn(SIZES[sizes])], parameters={"scope": scope})
    with pytest.raises(MergeError) as caught:
        merged(recipe, workers=workers)
    named, said = str(caught.value).split(": ", 1)
    assert named in SIZES[sizes]
    assert said == "method 'asks' failed: ZeroDivisionError: no such thing"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_in_what_is_made_of_an_answer_names_a_tensor_of_its_domain(fine_grid: None) -> None:
    def finish(sums: Array) -> object:
        if sums[0] > 0:
            raise ZeroDivisionError("too much")
        return sums

    asking(lambda weights: finished(finish, lambda: weights[0].tensor.amax().reshape(1).double().numpy()))
    one = {name: torch.zeros(LARGE) for name in "abcd"}
    one["c"][1, 1] = 1
    with pytest.raises(MergeError, match=r"^c: method 'asks' failed: ZeroDivisionError: too much$"):
        merged(recipe_of("asks", [one], parameters={"scope": "tensor"}))


def nine(kind: str) -> Callable[..., Any]:
    """A question that fails where there is a 9."""

    def measure(weights: Weights) -> Array:
        if bool((weights[0].tensor == 9).any()):
            raise KeyError("nine")
        return np.ones(1)

    def ask(weights: Weights) -> Any:
        return total(measure, weights) if kind == "total" else ASKED[kind](np.asarray, measure, weights)

    return ask


ASKED: dict[str, Callable[..., Any]] = {"finished": finished, "prefix": prefix, "sampled": sampled}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ["w0", "w2", "w5", "wide"])
@pytest.mark.parametrize("kind", ["total", "finished", "prefix"])
def test_an_error_in_a_measure_is_told_with_the_name_of_the_tensor_it_was_taken_of(
    kind: str, name: str, workers: int, fine_grid: None
) -> None:
    asking(nine(kind))
    one = {f"w{i}": torch.full((2, 3), float(i)) for i in range(6)} | {"wide": torch.zeros(LARGE)}
    recipe = recipe_of("asks", [one], parameters={"scope": "model"})
    with open_sources() as sources:  # the six are worked on as one
        strips = make_plan([sources.resolve(Recipe.of(recipe))]).strips
        assert sorted(len(strip.rows) for strip in strips) == [1, 6]
    assert_same_bytes(merged(recipe, workers=workers)[0][0], one)
    one[name][:] = 9
    with pytest.raises(MergeError, match=rf"^{name}: method 'asks' failed: KeyError: 'nine'$") as caught:
        merged(recipe, workers=workers)
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_in_a_sample_is_told_with_the_name_of_the_tensor_it_was_taken_of(fine_grid: None) -> None:
    asking(nine("sampled"))
    for name in "abcd":  # one piece of each is in the sample
        one = {each: torch.zeros(LARGE) for each in "abcd"} | {name: torch.full(LARGE, 9.0)}
        with pytest.raises(MergeError, match=rf"^{name}: method 'asks' failed: KeyError: 'nine'$") as caught:
            merged(recipe_of("asks", [one], parameters={"scope": "model"}))
        assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_in_a_second_question_is_told_with_a_name_too(fine_grid: None) -> None:
    @method(passes=lambda _: 2)
    def asks_twice(weights: Weights, *, scope: Scope[Literal["model", "tensor"]] = "model") -> Passes[Operand]:
        """Take the first model after two questions.

        Args:
            weights: models.
            scope: what is asked about.
        """
        yield from prefix(None, gram_matrix, weights)
        yield from nine("total")(weights)
        return weights[0]

    one = {f"w{i}": torch.full((2, 3), float(i)) for i in range(6)} | {"wide": torch.zeros(LARGE)}
    one["w3"][1, 2] = 9
    with pytest.raises(MergeError, match=r"^w3: method 'asks_twice' failed: KeyError: 'nine'$"):
        merged(recipe_of("asks_twice", [one]))


@each_question
def test_a_forecast_does_not_mind_a_method_that_fails_on_what_is_made_up(question: str) -> None:
    asking(QUESTIONS[question])
    plan_recipe = recipe_of("asks", [{"w": torch.zeros(3 * (1 << 19))}])
    with open_sources() as sources:
        expected = forecast(make_plan([sources.resolve(Recipe.of(plan_recipe))]), Limits())
    assert expected.lanes == [["tensors"]]
