"""Biases and other whole tensors of adapters that are merged as adapters, and of adapters that are extracted."""

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from peft import LoraConfig
from safetensors.torch import load_file, save_file

import cuvee
from cuvee.errors import RecipeError, UnsupportedError
from end_to_end.adapter_pairs import assert_near, exact, merged_by_peft, models, weighted, weights
from sources.adapter.adapters import MODELS, make, rewrite

QUERY = "bert.encoder.layer.0.attention.self.query"
# The second adapter lacks factors of a module that the first has: PEFT then calls its bias by another name.
MODULES = ["query", "value"], ["query"]
KINDS: dict[str, dict[str, Any]] = {
    "lora_bias": {"lora_bias": True},
    "bias: lora_only": {"bias": "lora_only"},
    "bias: all": {"bias": "all"},
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return, for each kind of biases, a folder with two adapters of one base and what peft merges each to."""
    found = {}
    for kind, options in KINDS.items():
        found[kind] = tmp_path_factory.mktemp("pair")
        for number, targets in enumerate(MODULES):
            config = LoraConfig(target_modules=targets, r=2 + number, **options)
            make(found[kind] / str(number), MODELS["bert"], config, seed=3)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("output", [{}, {"rank": 2}], ids=["whole", "cut"])
def test_biases_are_merged_as_peft_merges_them(
    pairs: dict[str, Path], kind: str, output: dict[str, int], tmp_path: Path
) -> None:
    pair = pairs[kind]
    recipe = {
        "cuvee": 1, "method": "task_arithmetic", "models": models(pair, with_base=True),
        "parameters": {"weight": [0.75, -0.5]}, "output": {"adapter": True, **output},
    }  # fmt: skip
    cuvee.merge(recipe, tmp_path / "out")
    found = merged_by_peft(pair, tmp_path / "out", "bert")
    expected, base = weighted(pair, [0.75, -0.5]), weights(pair / "0" / "base")
    biases = {name for name in expected if name.endswith("bias")}
    assert f"{QUERY}.bias" in {name for name in biases if not torch.equal(expected[name], base[name].double())}
    assert_near({n: found[n] for n in biases}, {n: expected[n] for n in biases})
    if not output:
        assert_near(found, expected)


@pytest.mark.parametrize("kind", ["bias: lora_only", "bias: all"])
def test_an_average_of_whole_biases_needs_no_base_if_all_have_them(
    pairs: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    pair = pairs[kind]
    recipe = {
        "cuvee": 1, "method": "linear", "models": models(pair, with_base=False), "output": {"adapter": True}
    }  # fmt: skip
    if kind == "bias: lora_only":  # of values the second adapter has nothing
        with pytest.raises(RecipeError, match=r"value\.bias' as a whole, which 'm1' lacks\. Name the base"):
            cuvee.merge(recipe, tmp_path / "out")
        return
    cuvee.merge(recipe, tmp_path / "out")
    assert_near(merged_by_peft(pair, tmp_path / "out", "bert"), weighted(pair, [0.5, 0.5]))


def test_whole_biases_without_base_are_refused_for_other_methods(pairs: dict[str, Path], tmp_path: Path) -> None:
    recipe = {
        "cuvee": 1, "method": "ties", "models": models(pairs["bias: all"], with_base=False),
        "output": {"adapter": True, "rank": 2},
    }  # fmt: skip
    with pytest.raises(RecipeError, match="and method 'ties' merges it relative to a base"):
        cuvee.merge(recipe, tmp_path / "out")


def test_adapters_of_different_kinds_of_biases_are_refused(pairs: dict[str, Path], tmp_path: Path) -> None:
    one, other = (models(pairs[kind], with_base=False)[0] for kind in ("bias: all", "bias: lora_only"))
    recipe = {"cuvee": 1, "method": "linear", "models": [one, other], "output": {"adapter": True}}
    with pytest.raises(RecipeError, match="differ in 'bias': 'm0' 'all', 'm1' 'lora_only'"):
        cuvee.merge(recipe, tmp_path / "out")


def add(adapter: Path, name: str, tensor: torch.Tensor) -> None:
    rewrite(adapter, lambda tensors: {**tensors, name: tensor})


def test_a_tensor_that_is_whole_in_one_adapter_and_low_rank_in_another_is_refused(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    rewrite(adapters[0], lambda tensors: {n: x for n, x in tensors.items() if "layers.1" in n})
    add(adapters[0], "base_model.model.layers.0.q.weight", torch.ones(12, 10))
    recipe = {"cuvee": 1, "method": "linear", "models": adapters, "output": {"adapter": True}}
    with pytest.raises(UnsupportedError, match=r"'layers\.0\.q\.weight' is a whole tensor in some"):
        cuvee.merge(recipe, tmp_path / "out")


GROUND = "base_model.model.layers.0.q.base_layer.weight"


def test_a_copy_of_the_base_below_factors_goes_along_where_no_base_is_named(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    copy = load_file(tmp_path / "base" / "model.safetensors")["layers.0.q.weight"]
    add(adapters[0], GROUND, copy)
    add(adapters[1], GROUND, copy.half())  # small whole numbers: the same
    recipe = {"cuvee": 1, "method": "linear", "models": adapters, "output": {"adapter": True}}
    cuvee.merge(recipe, tmp_path / "alone")
    stored = load_file(tmp_path / "alone" / "adapter_model.safetensors")
    assert torch.equal(stored[GROUND], copy)
    cuvee.merge({**recipe, "base": tmp_path / "base"}, tmp_path / "with_base")
    assert GROUND not in load_file(tmp_path / "with_base" / "adapter_model.safetensors")


@pytest.mark.parametrize("with_base", [True, False])
def test_a_copy_of_the_base_that_is_none_is_refused(with_base: bool, tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    copy = load_file(tmp_path / "base" / "model.safetensors")["layers.0.q.weight"]
    if not with_base:
        add(adapters[0], GROUND, copy)
    add(adapters[1], GROUND, copy + torch.eye(12, 10))
    recipe = {"cuvee": 1, "method": "linear", "models": adapters, "output": {"adapter": True}}
    with pytest.raises(UnsupportedError, match=r"adapter 'm1' has a 'layers\.0\.q\.weight' of its own"):
        cuvee.merge({**recipe, **({"base": tmp_path / "base"} if with_base else {})}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bias_that_is_whole_and_changed_besides_is_refused(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    name = "base_model.model.layers.0.q"
    add(adapters[0], f"{name}.lora_B.bias", torch.ones(12))
    add(adapters[1], f"{name}.base_layer.bias", torch.ones(12))
    recipe = {"cuvee": 1, "method": "linear", "models": adapters, "output": {"adapter": True}}
    with pytest.raises(UnsupportedError, match=r"'layers\.0\.q\.bias' is a whole tensor in some"):
        cuvee.merge(recipe, tmp_path / "out")


def trained(folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a base, and a model whose queries differ by rank 2, and whose biases differ there and elsewhere."""
    config = LoraConfig(target_modules=["query"], r=2, bias="all")
    make(folder, MODELS["bert"], config, seed=5)
    if dtype != torch.float32:
        for name in ("base", "merged"):
            file = folder / name / "model.safetensors"
            save_file({n: x.to(dtype) for n, x in load_file(file).items()}, file, {"format": "pt"})


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.arange(10, 22).reshape(2, 6)).logits
    return found


@pytest.mark.parametrize("save_others", [True, False])
def test_biases_of_factored_layers_are_extracted_exactly(save_others: bool, tmp_path: Path) -> None:
    trained(tmp_path)
    found = cuvee.extract(tmp_path / "base", tmp_path / "merged", tmp_path / "out", rank=2, save_others=save_others)
    saved = {each.name for each in found.others if each.saved}
    assert f"{QUERY}.bias" in saved
    assert all(each.saved == (save_others or "query" in each.name) for each in found.others)
    load = transformers.AutoModelForSequenceClassification.from_pretrained
    with warnings.catch_warnings(action="ignore"):
        warnings.filterwarnings("error", message=".*(missing|unexpected).*keys.*")
        adapted = peft.PeftModel.from_pretrained(load(tmp_path / "base"), tmp_path / "out")
    if save_others:
        torch.testing.assert_close(logits(adapted), logits(load(tmp_path / "merged")), rtol=1e-4, atol=1e-5)
    merged = adapted.merge_and_unload().state_dict()
    expected = load_file(tmp_path / "merged" / "model.safetensors")
    for name in expected if save_others else saved:
        if name in saved:
            assert torch.equal(merged[name], expected[name]), name
        torch.testing.assert_close(
            merged[name], expected[name], rtol=1e-4, atol=1e-5, msg=lambda t, n=name: f"{n}: {t}"
        )
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["bias"] == "lora_only"
    source = cuvee.open_source(f"{tmp_path}/base+{tmp_path}/out")
    data = bytearray(expected[f"{QUERY}.bias"].nbytes)
    source.read_into(memoryview(data), f"{QUERY}.bias")
    source.close()
    assert bytes(data) == expected[f"{QUERY}.bias"].numpy().tobytes()


def test_biases_keep_their_element_type(tmp_path: Path) -> None:
    trained(tmp_path, dtype=torch.bfloat16)
    cuvee.extract(tmp_path / "base", tmp_path / "merged", tmp_path / "out", rank=2)
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    own = load_file(tmp_path / "merged" / "model.safetensors")
    assert torch.equal(stored[f"base_model.model.{QUERY}.base_layer.bias"], own[f"{QUERY}.bias"])


def test_a_bias_that_is_the_same_is_left_to_the_base(tmp_path: Path) -> None:
    make(tmp_path, MODELS["bert"], LoraConfig(target_modules=["query"], r=2), seed=5)
    cuvee.extract(tmp_path / "base", tmp_path / "merged", tmp_path / "out", rank=2)
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert not [name for name in stored if name.endswith("bias")]
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["bias"] == "none"
