"""What holds for every method, read from its declaration. A new method is tested here without a line being added."""

import inspect
from collections.abc import Mapping
from typing import Any
from unittest import mock

import pytest
import torch

import cuvee
from cuvee.execute.shelf import Shelf
from cuvee.methods.declare import Method
from cuvee.methods.page import as_mapping, needs, page
from cuvee.methods.registry import methods
from cuvee.plan.limits import Limits
from cuvee.plan.rows import CELL
from cuvee.recipe.parameters import plain, settle

BIG = CELL // 64 + 20, 64  # rows and elements in each: two cells, the last one not full
METHODS = list(methods().values())
pytestmark = pytest.mark.filterwarnings("ignore:.*opposite directions")  # of tensors of one element
every_method = pytest.mark.parametrize("method", METHODS, ids=[m.name for m in METHODS])


def num_models(method: Method) -> int:
    """Choose a number of models the method takes: 3 if it may."""
    fewest, most = method.models
    return max(fewest, min(3, most or 3))


def state_dicts(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[dict[str, torch.Tensor]]:
    """Make models near a common base (the last one): small ones, with values that repeat so that sums and ranks tie."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"b.weight": (15, 9), "a.weight": (3, 4), "a.bias": (3,), "scalar": (), "one": (1,), "empty": (0, 4)}
    base = {name: (torch.randn(shape, generator=generator) * 8).round() / 8 for name, shape in shapes.items()}
    models = [
        {n: (t + torch.randint(-6, 7, t.shape, generator=generator) / 8) for n, t in base.items()} for _ in range(count)
    ]
    return [{name: tensor.to(dtype) for name, tensor in model.items()} for model in (*models, base)]


def merge(
    method: Method, models: Any, base: dict[str, torch.Tensor], parameters: Mapping[str, Any], seed: int = 0
) -> dict[str, torch.Tensor]:
    needs_base = method.space({**method.defaults(len(models)), **parameters}) == "deltas"
    return cuvee.merge_state_dicts(method.name, models, base if needs_base else None, seed=seed, **parameters)


def check_close(actual: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], **tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], **tolerance)


@every_method
def test_equal_models_merge_into_themselves(method: Method) -> None:
    count = num_models(method)
    model, base = state_dicts(1)
    merged = merge(method, [model] * count, base, method.identity(count))
    check_close(merged, model, rtol=1e-6, atol=1e-6)


@every_method
def test_the_order_of_the_models_does_not_matter_where_declared(method: Method) -> None:
    *models, base = state_dicts(num_models(method))
    labels = [f"x{i}" for i in range(len(models))]
    forward = dict(zip(labels, models, strict=True))
    backward = dict(reversed(forward.items()))
    first, second = merge(method, forward, base, {}), merge(method, backward, base, {})
    if method.symmetric:
        check_close(first, second, rtol=1e-5, atol=1e-6)
    else:
        shifted = dict(alternatives(method)[:1])
        first, second = merge(method, forward, base, shifted), merge(method, backward, base, shifted)
        assert any(not torch.allclose(first[name], second[name]) for name in first)


@every_method
def test_inputs_are_not_modified(method: Method) -> None:
    inputs = state_dicts(num_models(method))
    before = [{name: tensor.clone() for name, tensor in model.items()} for model in inputs]
    merge(method, inputs[:-1], inputs[-1], {})
    for model, copy in zip(inputs, before, strict=True):
        check_close(model, copy, rtol=0, atol=0)


@every_method
def test_shapes_types_and_order_of_names_are_those_of_the_base(method: Method) -> None:
    *models, base = state_dicts(num_models(method), dtype=torch.bfloat16)
    merged = merge(method, models, base, {})
    assert list(merged) == list(base)
    for name, tensor in base.items():
        assert merged[name].shape == tensor.shape
        assert merged[name].dtype == tensor.dtype


@every_method
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_inputs_give_what_widening_first_gives_rounded_once(method: Method, dtype: torch.dtype) -> None:
    *models, base = state_dicts(num_models(method), dtype=dtype)
    narrow = merge(method, models, base, {})
    wide = merge(
        method,
        [{name: tensor.float() for name, tensor in model.items()} for model in models],
        {name: tensor.float() for name, tensor in base.items()},
        {},
    )
    check_close(narrow, {name: tensor.to(dtype) for name, tensor in wide.items()}, rtol=0, atol=0)


@every_method
def test_permuting_units_permutes_the_result(method: Method) -> None:
    """Not for random draws; and values are distinct here, because ties are broken by place."""
    if method.random:
        settings = method.identity(num_models(method))
    else:
        settings = {}
    generator = torch.Generator().manual_seed(3)
    base, *models = [{"w": torch.randn(16, 9, generator=generator)} for _ in range(num_models(method) + 1)]
    order = torch.randperm(16, generator=generator)
    merged = merge(method, models, base, settings)["w"][order]
    shuffled = merge(method, [{"w": m["w"][order]} for m in models], {"w": base["w"][order]}, settings)["w"]
    torch.testing.assert_close(shuffled, merged, rtol=1e-5, atol=1e-6)


@every_method
def test_only_a_random_method_depends_on_the_seed(method: Method) -> None:
    *models, base = state_dicts(num_models(method))
    first, again, other = (merge(method, models, base, {}, seed=seed) for seed in (1, 1, 2))
    check_close(first, again, rtol=0, atol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first) == method.random


def alternatives(method: Method) -> list[tuple[str, object]]:
    """Return another value for each of its parameters, every word of those that are words."""
    others: list[tuple[str, object]] = []
    for p in method.parameters.values():
        if p.choices:
            others += [(p.name, word) for word in p.choices if word != p.default]
        elif p.type is bool:
            others.append((p.name, not p.default))
        else:
            assert p.bounds is not None
            assert isinstance(p.default, float | int)
            high = p.bounds.searched[1]
            half = p.default / 2 if p.default >= high / 5 else high / 2
            others.append((p.name, half if p.type is float else int(p.bounds.low)))
    return others


CHANGES = [(m, name, value) for m in METHODS for name, value in alternatives(m)]


def contexts(method: Method) -> list[dict[str, Any]]:
    """Return settings next to which a parameter may matter: dense, sparse, unequal weights, tensor by tensor."""
    densities = [name for name in method.parameters if "density" in name]
    weights = [1.0, 0.5, 2.0][: num_models(method)]
    found: list[dict[str, Any]] = [{}, *(dict.fromkeys(densities, share) for share in (1.0, 0.6, 0.3))]
    found += [{"density": 1.0, "trim_density": 0.3}] if "trim_density" in densities else []
    found += [{"weight": weights}, {"weight": [-w for w in weights]}] if "weight" in method.parameters else []
    scopes = [name for name in method.parameters if "scope" in name]
    found += [{name: "tensor", **dict.fromkeys(densities, share)} for name in scopes for share in (0.6, 0.01)]
    return found + ([{"threshold": 0.6}] if "threshold" in method.parameters else [])


def outcome(method: Method, models: Any, base: dict[str, torch.Tensor], parameters: dict[str, Any]) -> object:
    """What the models merge to; or the word that the parameters are refused."""
    if method.check(plain(settle(method, known(method, parameters), [f"m{i}" for i in range(len(models))]))):
        return "refused"
    return merge(method, models, base, known(method, parameters))


def known(method: Method, parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name in method.parameters}


@pytest.mark.parametrize(("method", "name", "value"), CHANGES, ids=[f"{m.name}-{n}-{v}" for m, n, v in CHANGES])
def test_every_parameter_changes_something(method: Method, name: str, value: object) -> None:
    """On inputs with ties and zero sums, next to one of several settings, whichever way signs point and however far.

    One model is zero in one tensor.
    """
    for context in contexts(method):
        for direction in (1, -1, 1e-5):
            *models, base = state_dicts(num_models(method))
            models = [{n: base[n] + direction * (t - base[n] + 0.25) for n, t in m.items()} for m in models]
            models[0]["one"] = torch.zeros(1)
            plain = outcome(method, models, base, context)
            changed = outcome(method, models, base, {**context, name: value})
            if type(plain) is not type(changed):
                return  # one of them is refused
            if isinstance(plain, dict) and any(not torch.equal(plain[n], changed[n]) for n in plain):
                return
    pytest.fail(f"{method.name}: {name}={value} changes nothing")


@every_method
def test_passes_asked_do_not_exceed_those_declared(method: Method, tmp_path: Any) -> None:
    """A big tensor of few values, which a sample names; and, once for each number declared, one of many."""
    generator = torch.Generator().manual_seed(5)
    count = num_models(method)
    few = [{"w": torch.randint(-3, 4, BIG, generator=generator) / 4} for _ in range(count)]
    many = [{"w": torch.randn(BIG, generator=generator)} for _ in range(count)]
    base = {"w": torch.zeros(BIG)}
    tried: set[int] = set()
    for name, value in [("", None), *alternatives(method)]:
        parameters = {name: value} if name else {}
        settings = settle(method, parameters, [f"m{i}" for i in range(count)])
        if method.check(settings) or (name == "scope" and value == "row"):
            continue
        inputs = count + (method.space(settings) == "deltas")
        limits = Limits(workers=1, memory=8 << 30)
        for models in (few,) if method.passes(settings) in tried else (few, many):
            recipe = cuvee.Recipe(method=method.name, models=models, base=base, parameters=parameters)
            out = tmp_path / f"{name}{value}.safetensors"
            with mock.patch("cuvee.execute.run.Shelf", return_value=Shelf(0)):  # nothing is kept: every pass reads
                report = cuvee.merge(recipe, out, overwrite=True, limits=limits)
            readings = report.bytes_read / (inputs * base["w"].nbytes)
            assert readings - int(readings) < 0.1  # what samples read
            assert int(readings) <= 1 + method.passes(settings)
            if models is few:
                assert int(readings) == 1 + method.usual(settings)
        tried.add(method.passes(settings))


@every_method
def test_the_declaration_is_complete(method: Method) -> None:
    assert method.summary.endswith(".")
    assert "Returns:" in method.doc
    module = inspect.getmodule(method.function)
    assert module is not None
    if method.name != "copy":
        assert method.paper is not None
        assert method.paper.url.startswith("https://")
        assert method.paper.url in str(module.__doc__)
    assert set(method.pooled) <= set(method.parameters)
    for parameter in method.parameters.values():
        assert parameter.help.endswith(".")
        assert parameter.type is not float or parameter.bounds is not None
    assert set(needs(method)) == {"base", "data", "labels", "gradients", "whole-model pass", "seed"}
    assert method.name in page(method)
    assert as_mapping(method)["name"] == method.name


@pytest.mark.parametrize(
    "method", [each for each in methods().values() if each.combination], ids=lambda each: each.name
)
def test_a_declared_combination_is_what_the_method_does(method: Method) -> None:
    if method.combination is None:  # a new method that is no weighted sum
        return
    count = method.models[1] or 3
    generator = torch.Generator().manual_seed(5)
    models = [torch.randn(4, 6, generator=generator, dtype=torch.float64).float() for _ in range(count)]
    given = {"weight": [0.5, -0.25, 1.5]} if "weight" in method.parameters else {}
    settings = {**method.defaults(count), **given}
    shares = method.combination(settings, count)
    base = None if method.operands == "weights" else torch.zeros(4, 6)
    merged = cuvee.merge_tensors(method.name, models, base, **given)
    expected = sum(share * model.double() for share, model in zip(shares, models, strict=True))
    torch.testing.assert_close(merged.double(), expected, rtol=1e-5, atol=1e-6)
