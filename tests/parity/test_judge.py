"""The judge knows right from wrong: vectors of the specification, and outputs that are spoilt on purpose."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

Import = Callable[[str], ModuleType]

BASE = [[1, -2, 0.5, 3], [0, 4, -1, 2]]
X = [[1.5, -2.25, 0.5, 2], [0.5, 4, -3, 2.5]]
Z = [[0.5, -2.5, 1.5, 2.5], [-1, 5, -2, 2]]

# Worked examples of the specification, to the digits it gives: models, parameters of each, shared ones, result.
VECTORS = {
    "linear": (
        "xz",
        [{"weight": 2}, {"weight": 1}],
        {},
        [1.166667, -2.333333, 0.833333, 2.166667, 0, 4.333333, -2.666667, 2.333333],
    ),
    "slerp": (
        "bx",
        [{}, {}],
        {"t": 0.3},
        [1.168252, -2.106622, 0.507499, 2.738483, 0.153255, 4.05999, -1.628016, 2.18325],
    ),
    "nuslerp": (
        "xz",
        [{"weight": 0.6}, {"weight": 0.4}],
        {},
        [1.118362, -2.392071, 0.91719, 2.239702, -0.103565, 4.479405, -2.645025, 2.340289],
    ),
    "multislerp": (
        "bxz",
        [{}, {"weight": 1}, {"weight": 3}],
        {},
        [0.691244, -2.508502, 1.38384, 2.291751, -0.750676, 4.883841, -2.416498, 2.133164],
    ),
    "karcher": (
        "bxz",
        [{}, {}, {}],
        {},
        [1.036946, -2.294202, 0.828766, 2.581972, -0.146873, 4.419469, -2.017463, 2.220766],
    ),
    "task_arithmetic": ("bxz", [{}, {"weight": 0.5}, {"weight": 1}], {}, [0.75, -2.625, 1.5, 2, -0.75, 5, -3, 2.25]),
    "ties": ("bxz", [{}, {"weight": 1}, {"weight": -1}], {}, [2, -2.5, 1.5, 2, 1.5, 5, -3, 2.5]),
    "sce": ("bxz", [{}, {}, {}], {"select_topk": 0.5}, [1, -2, 1.5, 3, -1, 5, -2.515152, 2]),
    "model_stock": (
        "bxz",
        [{}, {}, {}],
        {},
        [1, -2.197245, 0.762993, 2.60551, -0.131497, 4.262993, -1.78898, 2.131496],
    ),
    "nearswap": ("bx", [{}, {}], {"t": 0.25}, [1.25, -2.25, 0.5, 2.75, 0.25, 4, -1.25, 2.25]),
    "arcee_fusion": ("bx", [{}, {}], {}, [1.5, -2, 0.5, 2, 0, 4, -1, 2]),
    "ram": ("bxz", [{}, {}, {}], {}, [1, -2.375, 1.5, 2.25, -0.25, 5, -2.5, 2.5]),
    "ramplus_tl": ("bxz", [{}, {}, {}], {}, [1, -2.375, 1.52, 2.25, -0.25, 5.02, -2.5, 2.51]),
}


@pytest.mark.parametrize("method", VECTORS)
def test_formulas_give_the_worked_examples(module: Import, method: str) -> None:
    models, own, shared, expected = VECTORS[method]
    row = make_row(module, method, models, own, shared)
    written = torch.tensor(expected, dtype=torch.float32).reshape(2, 4)
    verdict = module("judge").judge(row, {}, written, written.clone())
    assert (verdict.problem, verdict.remark) == (None, None)


@pytest.mark.parametrize("method", VECTORS)
def test_a_wrong_element_is_found(module: Import, method: str) -> None:
    models, own, shared, expected = VECTORS[method]
    row = make_row(module, method, models, own, shared)
    right = torch.tensor(expected, dtype=torch.float32).reshape(2, 4)
    wrong = right.clone()
    wrong[1, 1] += 1e-3
    assert "(1, 1)" in str(module("judge").judge(row, {}, right, wrong).problem).replace("(5,)", "(1, 1)")
    assert module("judge").judge(row, {}, wrong, None).remark is not None


def test_either_of_equal_elements_may_be_cut_but_not_both(module: Import) -> None:
    own = [{}, {"weight": 1.0, "density": 0.5}]
    x, base = torch.tensor([[2.0, -2.0, 3.0, 1.0]]), torch.zeros(1, 4)
    row = make_row(module, "ties", "bx", own, {"normalize": False}, {"b": base, "x": x})
    first, second = torch.tensor([[2.0, 0.0, 3.0, 0.0]]), torch.tensor([[0.0, -2.0, 3.0, 0.0]])
    assert module("judge").judge(row, {}, first, second).problem is None
    none = module("judge").judge(row, {}, first, torch.tensor([[0.0, 0.0, 3.0, 0.0]]))
    assert "keeps 1 to 1 elements of model 0, not 2" in str(none.problem)


def test_bfloat16_may_be_half_a_unit_worse_than_the_reference_and_no_more(module: Import) -> None:
    x = torch.linspace(0.5, 0.9, 64).reshape(8, 8).bfloat16()
    inputs = {"x": x, "z": (x.float() * 1.02).bfloat16()}
    row = make_row(module, "linear", "xz", [{"weight": 0.3}, {"weight": 0.7}], {}, inputs)
    truth = 0.3 * inputs["x"].double() + 0.7 * inputs["z"].double()
    rounded = truth.bfloat16()
    further = (truth * (1 + 2.0**-7)).bfloat16()
    assert module("judge").judge(row, {}, rounded, rounded.clone()).problem is None
    assert module("judge").judge(row, {}, further, rounded).problem is None
    assert "further from the truth" in str(module("judge").judge(row, {}, rounded, further).problem)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della", "della_linear"])
def test_a_wrong_element_of_a_small_tensor_is_found_where_nothing_is_left_to_chance(
    module: Import, method: str
) -> None:
    own = [{}, {"weight": 0.5, "density": 1.0, "epsilon": 0.1}]
    shared = {"normalize": False, "rescale": True, "lambda": 1.0}
    x, base = torch.tensor([[2.0, -2.0, 3.0, 1.0]]), torch.tensor([[1.0, 2.0, -1.0, 0.5]])
    row = make_row(module, method, "bx", own, shared, {"b": base, "x": x})
    right = base + 0.5 * (x - base)
    wrong = right.clone()
    wrong[0, 2] += 1e-3
    assert module("judge").judge(row, {}, right, right.clone()).problem is None
    assert "follows from no selection" in str(module("judge").judge(row, {}, right, wrong).problem)


@pytest.mark.parametrize("density", [0.3, 0.8])
def test_what_chance_keeps_is_found_and_counted(module: Import, density: float) -> None:
    rng = np.random.default_rng(0)
    base, x, z = (torch.from_numpy(rng.standard_normal((16, 32))).float() for _ in range(3))
    own = [{}, {"weight": 0.5, "density": density}, {"weight": 0.8, "density": 0.5}]
    row = make_row(module, "dare_ties", "bxz", own, {}, {"b": base, "x": x, "z": z})
    written = base.double().clone()
    terms = []
    for model, each in ((x, own[1]), (z, own[2])):
        delta, kept = (model - base).double(), torch.from_numpy(rng.random((16, 32)) < each["density"])
        terms.append(each["weight"] * delta * kept * delta.abs().sum() / (delta * kept).abs().sum())
    stacked = torch.stack(terms)
    sign = torch.where(stacked.sum(0) >= 0, 1.0, -1.0)
    written += (stacked * (stacked.sign() == sign)).sum(0)
    verdict = module("judge").judge(row, {}, written.float(), written.float())
    assert verdict.problem is None
    assert [chance.expected for chance in verdict.chances] == pytest.approx([512 * density, 256])
    assert module("compare").by_chance(dict(enumerate(verdict.chances))) == []
    spoilt = written.float().clone()
    spoilt[3, 4] += 0.05
    assert "follows from no selection" in str(module("judge").judge(row, {}, written.float(), spoilt).problem)


def test_an_unlikely_count_is_found(module: Import) -> None:
    chance = module("judge").Chance(fewest=600, most=620, expected=500, variance=250)
    assert "500 ± 63 are expected" in module("compare").by_chance({0: chance})[0]


def make_row(
    module: Import,
    method: str,
    models: str,
    own: list[dict[str, Any]],
    shared: Mapping[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
) -> Any:
    """A row of models named by single letters, `b` being the base; parameters as declared where not given."""
    meaning, declared = module("meaning"), module("settings").DECLARED[method]
    given = tensors or {key: torch.tensor(values) for key, values in zip("bxz", (BASE, X, Z), strict=True)}
    inputs = []
    for name, values in zip(models, own, strict=True):
        is_base = name == "b" and declared.base != "ignored"
        parameters = {} if is_base else {**declared.each, **values}
        inputs.append(meaning.Input(model=name, tensor=given[name], parameters=parameters))
    base = "b" if "b" in models and declared.base != "ignored" else None
    return meaning.Row(name="w", method=method, inputs=inputs, base=base, shared={**declared.shared, **shared})
