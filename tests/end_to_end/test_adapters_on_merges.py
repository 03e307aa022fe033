"""Adapters on a model that is still to be merged: the bytes of merging it first, and nothing is written in between."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig
from safetensors.torch import load_file

import cuvee
from cuvee.errors import RecipeError, UnsupportedError
from cuvee.recipe.several import recipes_of, written
from cuvee.writers.save import save_state_dict
from sources.adapter.adapters import MODELS, make

MODULES = ["q_proj", "down_proj"]
PAIR: dict[str, Any] = {"method": "linear", "models": ["0/base", "m1"], "parameters": {"weight": [0.3, 0.7]}}
TIES = {"method": "ties", "models": ["0/base", "m1"], "base": "m2", "parameters": {"density": 0.4}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base of bfloat16 with two adapters on it, and two models like it."""
    monkeypatch.chdir(tmp_path)
    for number in (0, 1):
        config = LoraConfig(target_modules=MODULES, r=4, lora_alpha=6, use_dora=bool(number))
        make(tmp_path / f"{number}", MODELS["llama"], config, dtype=torch.bfloat16, seed=3)
    base = load_file(tmp_path / "0" / "base" / "model.safetensors")
    generator = torch.Generator().manual_seed(5)
    for number in (1, 2):
        near = {name: t + (0.05 * torch.randn(t.shape, generator=generator)).to(t.dtype) for name, t in base.items()}
        save_state_dict(tmp_path / f"m{number}", near)
        (tmp_path / f"m{number}" / "config.json").write_text((tmp_path / "0" / "base" / "config.json").read_text())
    return tmp_path


def weights(out: str) -> dict[str, tuple[str, bytes]]:
    """Return type and bytes of every tensor."""
    read = load_file(Path(out, "model.safetensors")).items()
    return {name: (str(t.dtype), t.contiguous().view(torch.uint8).numpy().tobytes()) for name, t in read}


@pytest.mark.parametrize("inner", [PAIR, TIES], ids=["linear", "ties"])
@pytest.mark.parametrize("adapters", [["0/adapter"], ["1/adapter"], ["0/adapter", "1/adapter"]], ids=str)
@pytest.mark.usefixtures("folder")
def test_the_bytes_are_those_of_merging_first(inner: dict[str, Any], adapters: list[str]) -> None:
    cuvee.merge({"cuvee": 1, **inner}, "between")
    twice = {"cuvee": 1, "method": "slerp", "models": ["+".join(["between", *adapters]), "m2"]}
    cuvee.merge(twice, "twice")
    at_once = {"cuvee": 1, "method": "slerp", "models": [{"model": inner, "adapters": adapters}, "m2"]}
    for limits in (cuvee.Limits(workers=1), cuvee.Limits(workers=3, block_bytes=3000)):
        cuvee.merge(at_once, "at-once", limits=limits, overwrite=True)
        assert weights("at-once") == weights("twice")


@pytest.mark.usefixtures("folder")
def test_recipes_in_one_file_put_adapters_on_each_others_results() -> None:
    Path("several.yaml").write_text(
        yaml.safe_dump(
            {
                "cuvee": 1,
                "recipes": {"pair": PAIR, "final": {"method": "slerp", "models": ["pair+0/adapter + 1/adapter", "m2"]}},
            }
        )
    )
    named = recipes_of("several.yaml")
    assert set(named) == {"final"}
    cuvee.merge("several.yaml", "several")
    cuvee.merge({"cuvee": 1, **PAIR}, "pair")
    cuvee.merge({"cuvee": 1, "method": "slerp", "models": ["pair+0/adapter+1/adapter", "m2"]}, "twice")
    assert weights("several") == weights("twice")
    Path("again.yaml").write_text(written(named))
    assert recipes_of("again.yaml") == named


@pytest.mark.usefixtures("folder")
def test_mergekits_documents_put_adapters_on_each_others_results() -> None:
    Path("config.yml").write_text(
        "name: one\nmerge_method: linear\nparameters: {weight: 1}\nmodels: [{model: 0/base}, {model: m1}]\n---\n"
        "merge_method: linear\nparameters: {weight: 1}\nmodels:\n- model: one+0/adapter\n"
        "- model: {model: one, lora: 1/adapter}\n"
    )
    Path("native.yaml").write_text(written(recipes_of("config.yml")))
    cuvee.merge("config.yml", "out")
    cuvee.merge("native.yaml", "native")
    cuvee.merge({"cuvee": 1, "method": "linear", "models": ["0/base", "m1"]}, "one")
    cuvee.merge({"cuvee": 1, "method": "linear", "models": ["one+0/adapter", "one+1/adapter"]}, "twice")
    assert weights("out") == weights("native") == weights("twice")


@pytest.mark.usefixtures("folder")
def test_the_record_verifies_and_is_replayed() -> None:
    recipe = {"cuvee": 1, "method": "linear", "models": {"a": {"model": PAIR, "adapters": ["0/adapter"]}, "b": "m2"}}
    cuvee.merge(recipe, "out")
    assert [(each.part, each.state) for each in cuvee.verify("out", replay=True)] == [
        ("output", "same"), ("a", "same"), ("b", "same"), ("replay", "same"),
    ]  # fmt: skip
    record = json.loads(Path("out/cuvee.json").read_text())
    assert record["inputs"]["a"]["reference"] == "(linear of 0/base, m1)+0/adapter"
    assert set(record["inputs"]["a"]["inputs"]) == {"m0", "m1"}
    adapter = Path("0/adapter/adapter_model.safetensors")
    raw = bytearray(adapter.read_bytes())
    raw[-1] ^= 0x40
    adapter.write_bytes(raw)
    states = {each.part: each.state for each in cuvee.verify("out", replay=True)}
    assert states == {"output": "same", "a": "changed", "b": "same", "replay": "changed"}


@pytest.mark.usefixtures("folder")
def test_what_passes_read_is_counted_through_adapters() -> None:
    alone = cuvee.plan({"cuvee": 1, "method": "linear", "models": [{**TIES, "parameters": {"trim_scope": "model"}}]})
    inner = {"model": {**TIES, "parameters": {"trim_scope": "model"}}, "adapters": ["0/adapter"]}
    assert cuvee.plan({"cuvee": 1, "method": "linear", "models": [inner]}).bytes_read >= alone.bytes_read


@pytest.mark.usefixtures("folder")
def test_paths_with_a_plus_are_read_in_full() -> None:
    Path("0/base").rename("ba+se")
    Path("0/adapter").rename("ad+apter")
    model = {"model": "ba+se", "adapters": ["ad+apter"]}
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [model, "m2"]}, "out")
    assert all(each.state == "same" for each in cuvee.verify("out", replay=True))
    config = "merge_method: linear\nparameters: {weight: 1}\nmodels:\n- model: m2\n- model: "
    Path("config.yml").write_text(config + "{model: {path: ba+se}, lora: {path: ad+apter}}\n")
    cuvee.merge("config.yml", "other")
    assert weights("out") == weights("other")
    Path("ba+se").rename("base")
    Path("ad+apter").rename("adapter")
    cuvee.merge({"cuvee": 1, "method": "linear", "models": ["base+adapter", "m2"]}, "plain")
    assert weights("out") == weights("plain")


@pytest.mark.usefixtures("folder")
def test_tensors_in_memory_take_adapters_too() -> None:
    held = load_file("0/base/model.safetensors")
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [{"model": held, "adapters": ["0/adapter"]}, "m2"]}, "held")
    cuvee.merge({"cuvee": 1, "method": "linear", "models": ["0/base+0/adapter", "m2"]}, "read")
    assert weights("held") == weights("read")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"model": PAIR, "adapters": []}, "no 'adapters'"),
        ({"model": PAIR, "adapters": [3]}, "3 is not the path of an adapter"),
        ({"model": PAIR, "adapters": "x"}, "must be a list"),
        ({"model": PAIR, "adapters": ["x"], "weight": 1}, "has no key 'weight'"),
        ({"model": 3, "adapters": ["x"]}, "3 is not a path to a model"),
    ],
)
def test_wrong_words_are_refused(model: object, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        cuvee.Recipe.of({"cuvee": 1, "method": "linear", "models": {"a": model, "b": "m"}})
    assert caught.value.where[:2] == ("models", "a")


@pytest.mark.usefixtures("folder")
def test_an_adapter_is_for_one_component_of_a_pipeline() -> None:
    for name in ("p", "q"):
        Path(name).mkdir()
        Path(name, "model_index.json").write_text('{"_class_name": "P", "unet": ["diffusers", "UNet"]}')
        save_state_dict(Path(name, "unet"), {"w": torch.ones(2, 2)})
    inner = {"method": "linear", "models": ["p", "q"]}
    with pytest.raises(UnsupportedError, match=r"an adapter is for one of them\. Put it on that component"):
        cuvee.plan({"cuvee": 1, "method": "linear", "models": [{"model": inner, "adapters": ["0/adapter"]}]})
