"""What an adapted base says of itself."""

import os
from contextlib import closing
from pathlib import Path

import pytest
import safetensors.torch
import torch
from peft import LoraConfig
from transformers import BertModel, LlamaModel

import cuvee
from cuvee.errors import SourceError
from cuvee.sources.adapter.adapted import Adapted
from cuvee.sources.adapter.folder import AdapterFolder
from cuvee.sources.memory import Memory
from sources.adapter.adapters import MODELS, make, opened, read, reconfigure, rewrite

Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"


def test_it_is_its_base_but_for_the_weights(llama: Path) -> None:
    base, source = opened(llama / "base"), opened(f"{llama}/base+{llama}/adapter")
    assert source.reference == f"{llama}/base+{llama}/adapter"
    assert (source.config, source.sidecars, source.shared) == (base.config, base.sidecars, base.shared)
    assert list(source.header) == list(base.header)
    assert set(base.paths) < set(source.paths)
    assert llama / "adapter" / "adapter_config.json" in source.paths


def test_location_opens_it_again_from_any_folder(llama: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(llama)
    source = opened("base + adapter")
    location, expected = source.location, read(source, Q)
    assert location == f"{llama}/base+{llama}/adapter"
    monkeypatch.chdir(tmp_path)
    assert torch.equal(read(opened(location), Q), expected)


@pytest.mark.parametrize("part", ["base/model.safetensors", "adapter/adapter_model.safetensors"])
def test_identity_and_the_check_follow_the_files(part: str, llama: Path) -> None:
    source = opened(f"{llama}/base+{llama}/adapter")
    source.check_unchanged()
    assert source.identity == opened(f"{llama}/base+{llama}/adapter").identity
    os.utime(llama / part, (1, 1))
    assert source.identity != opened(f"{llama}/base+{llama}/adapter").identity
    with pytest.raises(SourceError, match="was changed during the merge"):
        source.check_unchanged()


def test_identity_and_the_check_follow_the_configuration(llama: Path) -> None:
    source = opened(f"{llama}/base+{llama}/adapter")
    reconfigure(llama / "adapter", lora_alpha=7)
    assert source.identity != opened(f"{llama}/base+{llama}/adapter").identity
    with pytest.raises(SourceError, match=r"adapter_config\.json was changed during the merge"):
        source.check_unchanged()


def test_without_identity_and_place_of_the_base_there_is_none(llama: Path) -> None:
    base = Memory(safetensors.torch.load_file(llama / "base" / "model.safetensors"))
    source = Adapted(base, AdapterFolder(llama / "adapter", "both"), "both")
    assert (source.identity, source.location) == ("", "")


def test_cost_counts_base_and_factors(llama: Path) -> None:
    source = opened(f"{llama}/base+{llama}/adapter")
    assert source.cost(NORM) == 16 * 4
    assert source.cost(Q) == 4 * (16 * 16 + 2 * 4 * 16)
    make(llama / "dora", MODELS["llama"], LoraConfig(target_modules=["q_proj"], r=4, use_dora=True))
    dora = opened(f"{llama}/dora/base+{llama}/dora/adapter")
    assert dora.cost(Q) == 4 * (2 * 16 * 16 + 2 * 4 * 16 + 16)
    with pytest.raises(SourceError, match="has no tensor"):
        source.cost("nothing")


def test_locate_names_all_files_that_are_read(llama: Path) -> None:
    source = opened(f"{llama}/base+{llama}/adapter")
    assert source.locate(NORM) == f"{llama}/base/model.safetensors"
    assert source.locate(Q) == f"{llama}/base/model.safetensors + {llama}/adapter/adapter_model.safetensors"


def test_memory_holds_the_factors_at_least(llama: Path) -> None:
    source = opened(f"{llama}/base+{llama}/adapter")
    factors = safetensors.torch.load_file(llama / "adapter" / "adapter_model.safetensors")
    assert source.memory >= sum(4 * tensor.numel() for name, tensor in factors.items() if "lora" in name)


def test_a_closed_source_is_not_read(llama: Path) -> None:
    source = opened(f"{llama}/base+{llama}/adapter")
    source.close()
    with pytest.raises(SourceError, match="closed"):
        read(source, Q)


def test_one_storage_under_two_names_changes_under_both(llama: Path) -> None:
    tensors = safetensors.torch.load_file(llama / "base" / "model.safetensors")
    base = Memory({**tensors, "lm_head.weight": tensors[EMBEDDING]})
    source = Adapted(base, AdapterFolder(llama / "adapter", "both"), "both")
    assert torch.equal(read(source, "lm_head.weight"), read(source, EMBEDDING))
    assert not torch.equal(read(source, EMBEDDING), tensors[EMBEDDING])


def test_older_files_have_the_name_of_the_adapter(llama: Path) -> None:
    expected = read(opened(f"{llama}/base+{llama}/adapter"), Q)
    rewrite(
        llama / "adapter",
        lambda tensors: {
            name.replace("lora_A.", "lora_A.mine.").replace("lora_B.", "lora_B.mine.").replace("ng_A", "ng_A.mine")
            .replace("ng_B", "ng_B.mine"): tensor
            for name, tensor in tensors.items()
        },
    )  # fmt: skip
    assert torch.equal(read(opened(f"{llama}/base+{llama}/adapter"), Q), expected)


def test_injected_adapters_have_no_root(llama: Path) -> None:
    expected = read(opened(f"{llama}/base+{llama}/adapter"), Q)
    rewrite(llama / "adapter", lambda tensors: {n.removeprefix("base_model.model."): t for n, t in tensors.items()})
    assert torch.equal(read(opened(f"{llama}/base+{llama}/adapter"), Q), expected)


def test_an_adapter_of_a_model_with_a_head_fits_the_bare_model(llama: Path) -> None:
    expected = read(opened(f"{llama}/base+{llama}/adapter"), Q)
    LlamaModel.from_pretrained(llama / "base").save_pretrained(llama / "bare")
    assert torch.equal(read(opened(f"{llama}/bare+{llama}/adapter"), Q.removeprefix("model.")), expected)


def test_a_classifier_that_the_base_lacks_is_there_besides(tmp_path: Path) -> None:
    config = LoraConfig(target_modules=["query", "dense"], r=4, task_type="SEQ_CLS")
    merged = make(tmp_path, MODELS["bert"], config)
    bare = BertModel.from_pretrained(tmp_path / "base")
    bare.save_pretrained(tmp_path / "bare")
    source = opened(f"{tmp_path}/bare+{tmp_path}/adapter")
    assert list(source.header)[-2:] == ["classifier.bias", "classifier.weight"]
    assert torch.equal(read(source, "classifier.weight"), merged["classifier.weight"])
    assert source.locate("classifier.weight") == f"{tmp_path}/adapter/adapter_model.safetensors"
    assert source.cost("classifier.weight") == 4 * 2 * 16
    name = "encoder.layer.0.attention.self.query.weight"
    torch.testing.assert_close(read(source, name), merged[f"bert.{name}"], rtol=1e-6, atol=1e-7)


def test_it_is_a_source_like_any_other(llama: Path) -> None:
    with closing(cuvee.open_source(f"{llama}/base+{llama}/adapter")) as source:
        assert source.header[Q].shape == (16, 16)
