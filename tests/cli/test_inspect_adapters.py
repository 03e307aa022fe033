"""What `cuvee inspect` says of an adapter by itself."""

import json
from pathlib import Path

import pytest
from peft import IA3Config, LoraConfig

from cuvee.cli.inspect import inspect
from sources.adapter.adapters import MODELS, make


def described(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    inspect(str(path), as_json=True, tensors=False)
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_ranks_scalings_and_modules_of_a_lora(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranks, alphas = {"layers.0.self_attn.q_proj": 2}, {"layers.1.self_attn.q_proj": 4}
    targets = ["q_proj", "v_proj"]
    make(tmp_path, MODELS["llama"], LoraConfig(
        r=4, lora_alpha=8, rank_pattern=ranks, alpha_pattern=alphas, target_modules=targets,
        modules_to_save=["lm_head"], base_model_name_or_path="org/base",
    ))  # fmt: skip
    found = described(tmp_path / "adapter", capsys)
    assert (found["adapter"], found["rank"], found["alpha"]) == ("LORA", 4, 8)
    assert (found["rank_pattern"], found["alpha_pattern"]) == (ranks, alphas)
    assert sorted(found["target_modules"]) == targets
    assert {(each["rank"], each["scaling"]): each["modules"] for each in found["scalings"]} == {
        (2, 4): 1, (4, 1): 1, (4, 2): 2,
    }  # fmt: skip
    assert found["whole"] == ["lm_head.weight"]
    # q: 16 in, 16 out; v: 16 in, 8 out; at ranks 2 + 4 and 4 + 4; the head has 40 rows of 16.
    assert found["elements"] == 6 * 32 + 8 * 24 + 40 * 16
    assert found["bytes"] == 4 * found["elements"]
    assert len(found["tensors"]) == 9
    inspect(str(tmp_path / "adapter"), as_json=False, tensors=True)
    said = capsys.readouterr().out
    assert "LoRA adapter" in said
    assert f"9 tensors, {found['elements']:,} parameters" in said
    assert "Rank: 4; layers.0.self_attn.q_proj: 2\n" in said
    assert "Alpha: 8; layers.1.self_attn.q_proj: 4\n" in said
    assert "1 at rank 4 in 1 module" in said
    assert "2 at rank 4 in 2 modules" in said
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in said
    assert "(alpha over rank)" in said


def test_scaling_by_the_root_of_the_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, MODELS["llama"], LoraConfig(
        r=4, lora_alpha=8, use_rslora=True, use_dora=True, target_modules=["q_proj"]
    ))  # fmt: skip
    assert described(tmp_path / "adapter", capsys)["scalings"] == [{"rank": 4, "scaling": 4, "modules": 2}]
    inspect(str(tmp_path / "adapter"), as_json=False, tensors=False)
    said = capsys.readouterr().out
    assert "Scaling: 4 at rank 4 in 2 modules (alpha over the root of the rank)" in said
    assert "DoRA" in said
    assert "lora_A" not in said


def test_modules_of_an_ia3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    make(tmp_path, MODELS["llama"], config)
    written = tmp_path / "adapter" / "adapter_config.json"
    written.write_text(json.dumps(json.loads(written.read_text()) | {"base_model_name_or_path": "org/base"}))
    found = described(tmp_path / "adapter", capsys)
    assert (found["adapter"], found["rank"], found["alpha"], found["scalings"]) == ("IA3", None, None, [])
    assert found["scaled"] == {"inputs": 2, "outputs": 2}
    assert found["elements"] == 2 * 24 + 2 * 8
    inspect(str(tmp_path / "adapter"), as_json=False, tensors=False)
    said = capsys.readouterr().out
    assert found["base"] == "org/base"
    assert "(IA)³ adapter of org/base.\n" in said
    assert "Target modules: down_proj, k_proj\n" in said
    assert "Scales inputs of: 2 modules" in said
    assert "Rank" not in said


def test_an_adapter_on_its_base_is_still_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, MODELS["llama"], LoraConfig(r=4, target_modules=["q_proj"]))
    found = described(Path(f"{tmp_path}/base+{tmp_path}/adapter"), capsys)
    assert "adapter" not in found
    assert found["layers"] == {"model.layers": 2}
