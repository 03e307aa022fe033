"""Merges of adapters whose output is an adapter: what PEFT makes of it is what it makes of the parts."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file

import cuvee
from cuvee.errors import PlanError, RecipeError, UnsupportedError
from cuvee.execute.verify import verify
from end_to_end.adapter_pairs import assert_near, delta, exact, merged_by_peft, models, weighted, weights
from sources.adapter.adapters import MODELS, make, reconfigure, rewrite

WEIGHTS = [0.75, -0.5]
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "llama": [
        {"target_modules": ["q_proj", "down_proj", "embed_tokens"], "r": 4, "lora_alpha": 6},
        {"target_modules": ["q_proj", "up_proj"], "r": 3, "use_rslora": True, "rank_pattern": {"0.mlp.up_proj": 2}},
    ],
    "gpt2": [
        {"target_modules": ["c_attn", "c_proj"], "r": 4, "fan_in_fan_out": True},
        {"target_modules": ["c_attn"], "r": 2, "lora_alpha": 5, "fan_in_fan_out": True},
    ],
    "llama classifier": [
        {"target_modules": ["q_proj"], "r": 2, "task_type": "SEQ_CLS"},
        {"target_modules": ["q_proj", "v_proj"], "r": 3, "task_type": "SEQ_CLS"},
    ],
    "resnet": [
        {"target_modules": ["embedder.convolution", "0.convolution"], "r": 2},
        {"target_modules": ["embedder.convolution"], "r": 3},
    ],
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return, for each family, a folder with two adapters of one base and what peft merges each to."""
    found = {}
    for family, configs in CONFIGS.items():
        found[family] = tmp_path_factory.mktemp("pair")
        for number, config in enumerate(configs):
            make(found[family] / str(number), MODELS[family], LoraConfig(**config), seed=3)
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "resnet"])
@pytest.mark.parametrize("with_base", [True, False], ids=["base", "alone"])
def test_weighted_sum_is_the_sum_of_what_peft_merges(
    pairs: dict[str, Path], family: str, with_base: bool, tmp_path: Path
) -> None:
    pair = pairs[family]
    recipe: dict[str, Any] = {
        "cuvee": 1, "method": "task_arithmetic", "models": models(pair, with_base=with_base),
        "parameters": {"weight": WEIGHTS, "scale": 0.5}, "output": {"adapter": True},
    }  # fmt: skip
    for each in ("0", "1"):  # what peft wrote of the place where the base lay
        reconfigure(pair / each / "adapter", base_model_name_or_path="tiny")
    report = cuvee.merge(recipe, tmp_path / "out")
    assert report.notes == []
    assert_near(merged_by_peft(pair, tmp_path / "out", family), weighted(pair, [0.5 * w for w in WEIGHTS]))
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"


def test_heads_that_were_trained_are_averaged(pairs: dict[str, Path], tmp_path: Path) -> None:
    pair = pairs["llama classifier"]
    recipe = {"cuvee": 1, "method": "linear", "models": models(pair, with_base=True), "output": {"adapter": True}}
    report = cuvee.merge(recipe, tmp_path / "out")
    assert report.notes == []  # nothing of a base that lends its configuration: an adapter has none
    found = merged_by_peft(pair, tmp_path / "out", "llama classifier")
    assert_near(found, weighted(pair, [0.5, 0.5]))
    assert not torch.equal(found["score.weight"], weights(pair / "0" / "base")["score.weight"])
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"


def test_a_method_without_a_base_says_nothing_of_one(tmp_path: Path) -> None:
    recipe = {"cuvee": 1, "method": "slerp", "models": exact(tmp_path)[:2], "output": {"adapter": True, "rank": 4}}
    assert not [note for note in cuvee.merge(recipe, tmp_path / "out").notes if "base" in note]


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_a_rank_keeps_what_the_svd_of_the_product_keeps(pairs: dict[str, Path], rank: int, tmp_path: Path) -> None:
    pair = pairs["llama"]
    recipe = {
        "cuvee": 1,
        "method": "linear",
        "models": models(pair, with_base=True),
        "parameters": {"weight": [0.3, 0.7]},
    }
    cuvee.merge({**recipe, "output": {"adapter": True}}, tmp_path / "whole")
    report = cuvee.merge({**recipe, "output": {"adapter": True, "rank": rank}}, tmp_path / "cut")
    module, worst = "model.model.layers.0.self_attn.q_proj".removeprefix("model."), 0.0
    whole = torch.from_numpy(delta(tmp_path / "whole", module))
    u, s, vt = torch.linalg.svd(whole, full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ vt[:rank]
    assert float((torch.from_numpy(delta(tmp_path / "cut", module)) - best).norm() / best.norm()) < 1e-5
    tensors = load_file(tmp_path / "whole" / "adapter_model.safetensors")
    for name in tensors:
        if name.endswith("lora_A.weight") and tensors[name].shape[0] > rank:
            own = delta(tmp_path / "whole", name[len("base_model.model.") : -len(".lora_A.weight")])
            values = np.linalg.svd(own, compute_uv=False)
            worst = max(worst, float(np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())))
    (note,) = report.notes
    assert f"cut to rank {rank}" in note
    assert float(note.split("at most ")[1].split(",")[0]) >= 0.995 * worst


def test_ties_of_task_vectors_is_ties_of_models_minus_the_base(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    base = tmp_path / "base"
    recipe: dict[str, Any] = {"cuvee": 1, "method": "ties", "parameters": {"density": 0.4}, "base": base}
    cuvee.merge({**recipe, "models": [f"{base}+{each}" for each in adapters]}, tmp_path / "merged")
    expected, start = weights(tmp_path / "merged"), weights(base)
    report = cuvee.merge({**recipe, "models": adapters, "output": {"adapter": True, "rank": 10}}, tmp_path / "out")
    for module in ("layers.0.q", "layers.1.q"):
        difference = (expected[f"{module}.weight"].double() - start[f"{module}.weight"].double()).numpy()
        np.testing.assert_allclose(delta(tmp_path / "out", module), difference, atol=1e-5)
    assert report.notes == []  # matrices of 12 by 10 have no higher rank: nothing was lost
    report = cuvee.merge({**recipe, "models": adapters, "output": {"adapter": True, "rank": 9}}, tmp_path / "less")
    assert "2 modules were cut to rank 9" in report.notes[-1]


def test_an_error_is_kept_to_with_the_smallest_rank(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    recipe = {"cuvee": 1, "method": "ties", "parameters": {"density": 0.4}, "models": adapters}
    cuvee.merge({**recipe, "output": {"adapter": True, "rank": 10}}, tmp_path / "whole")
    cuvee.merge({**recipe, "output": {"adapter": True, "error": 0.3}}, tmp_path / "cut")
    for module in ("layers.0.q", "layers.1.q"):
        whole = delta(tmp_path / "whole", module)
        values = np.linalg.svd(whole, compute_uv=False)
        errors = [np.sqrt((values[rank:] ** 2).sum() / (values**2).sum()) for rank in range(11)]
        rank = next(rank for rank, error in enumerate(errors) if error <= 0.3)
        stored = load_file(tmp_path / "cut" / "adapter_model.safetensors")
        assert stored[f"base_model.model.{module}.lora_A.weight"].shape == (rank, 10)
        lost = np.linalg.norm(whole - delta(tmp_path / "cut", module)) / np.linalg.norm(whole)
        assert lost == pytest.approx(errors[rank], rel=1e-4)


def test_what_is_no_weighted_sum_needs_a_rank(tmp_path: Path) -> None:
    recipe = {"cuvee": 1, "method": "ties", "models": exact(tmp_path), "output": {"adapter": True}}
    with pytest.raises(RecipeError, match=r"rank of up to 10\. .* rank: 6"):
        cuvee.merge(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("method: ties\nmodels: [a0, a1]\noutput: {adapter: true}\n", ":4: layers.0.q.weight: method 'ties' is"),
        ("method: linear\nmodels: [base+a0, a1+a2]\noutput: {adapter: true}\n", ":3: adapters are merged as adapters"),
        (
            "method: slerp\nmodels: [a0, a1, a2]\noutput: {adapter: true, rank: 2}\n",
            ":3: ",
        ),
    ],
)
def test_errors_name_file_and_line_once(text: str, place: str, tmp_path: Path) -> None:
    exact(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"cuvee: 1\n{text}")
    with pytest.raises((RecipeError, PlanError)) as refused:
        cuvee.merge(recipe, tmp_path / "out")
    assert str(refused.value).startswith(f"{recipe}{place}")
    assert str(refused.value).count("recipe.yaml") == 1


def test_rules_hold_for_modules(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    rules = [{"match": "layers.0.*", "copy": "m1"}, {"match": "layers.1.*", "skip": True}]
    recipe = {"cuvee": 1, "method": "ties", "models": adapters, "tensors": rules, "output": {"adapter": True}}
    cuvee.merge(recipe, tmp_path / "out")
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    own = load_file(adapters[1] / "adapter_model.safetensors")
    assert len(stored) == 2
    a, b = (f"base_model.model.layers.0.q.lora_{side}.weight" for side in "AB")
    assert torch.equal(stored[a], own[a])
    assert torch.equal(stored[b], 2 * own[b])  # alpha over rank


def test_a_merge_of_adapters_is_verified_like_any_other(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    recipe = {"cuvee": 1, "method": "linear", "models": [f"{tmp_path}/base+{each}" for each in adapters]}
    cuvee.merge({**recipe, "output": {"adapter": True}}, tmp_path / "out")
    findings = verify(tmp_path / "out", replay=True)
    assert {each.part: each.state for each in findings} == dict.fromkeys(["output", "m0", "m1", "m2", "replay"], "same")
    assert "library_name: peft" in (tmp_path / "out" / "README.md").read_text()
    rewrite(adapters[1], lambda tensors: {name: tensor + 1 for name, tensor in tensors.items()})
    changed = {each.part: each.state for each in verify(tmp_path / "out", replay=True)}
    assert (changed["output"], changed["m1"], changed["replay"]) == ("same", "changed", "changed")
    config = tmp_path / "out" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": ', '"lora_alpha": 1'))
    (finding,) = [each for each in verify(tmp_path / "out") if each.part == "adapter_config.json"]
    assert finding.state == "changed"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"use_dora": True}, "DoRA"), ({"trainable_token_indices": {"embed_tokens": [1, 2]}}, "tokens")],
    ids=["magnitudes", "tokens"],
)
def test_other_adapters_are_refused_by_name(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    make(tmp_path / "0", MODELS["llama"], LoraConfig(target_modules=["q_proj"], r=2, **options))
    recipe = {"cuvee": 1, "method": "linear", "models": [tmp_path / "0" / "adapter"], "output": {"adapter": True}}
    with pytest.raises(UnsupportedError, match=said):
        cuvee.merge(recipe, tmp_path / "out")


def test_adapters_of_two_bases_are_refused(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    shutil.copytree(tmp_path / "base", tmp_path / "other")
    recipe = {"cuvee": 1, "method": "linear", "output": {"adapter": True}}
    two = [f"{tmp_path}/base+{adapters[0]}", f"{tmp_path}/other+{adapters[1]}"]
    with pytest.raises(RecipeError, match="of one base"):
        cuvee.merge({**recipe, "models": two}, tmp_path / "out")
    for number in (0, 1):
        reconfigure(adapters[number], base_model_name_or_path=f"org/{number}")
    with pytest.raises(RecipeError, match="different bases: 'm0' for 'org/0', 'm1' for 'org/1'"):
        cuvee.merge({**recipe, "models": adapters[:2]}, tmp_path / "out")
