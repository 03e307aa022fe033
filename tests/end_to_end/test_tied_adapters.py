"""Adapters with a whole embedding, on bases whose head is that embedding: what PEFT makes of them, or a refusal."""

import warnings
from pathlib import Path

import peft
import pytest
import torch
import transformers
from peft import LoraConfig
from transformers import PreTrainedModel

import cuvee
from cuvee.errors import UnsupportedError
from sources.adapter.adapters import MODELS, SIZES, make

IDS = torch.arange(1, 10)[None]


def tied_llama() -> PreTrainedModel:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, tie_word_embeddings=True))


MAKERS = {"llama": tied_llama, "gpt2": MODELS["gpt2"], "t5": MODELS["t5"]}


def logits(model: torch.nn.Module, family: str) -> torch.Tensor:
    more = {"decoder_input_ids": IDS} if family == "t5" else {}
    with torch.no_grad():
        return model.eval()(IDS, **more).logits


def loaded(folder: Path, family: str) -> PreTrainedModel:
    auto = transformers.AutoModelForSeq2SeqLM if family == "t5" else transformers.AutoModelForCausalLM
    return auto.from_pretrained(folder)


@pytest.mark.parametrize("family", MAKERS)
def test_what_is_extracted_of_a_tied_model_has_its_logits(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base, tuned, adapter = (tmp_path / name for name in ("base", "tuned", "adapter"))
    with warnings.catch_warnings(action="ignore"):
        model = MAKERS[family]()
        model.save_pretrained(base)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
        model.save_pretrained(tuned)
        cuvee.extract(base, tuned, adapter, rank=64, save_others=True)
        cuvee.merge({"cuvee": 1, "method": "linear", "models": [f"{base}+{adapter}"]}, tmp_path / "merged")
        again = {"cuvee": 1, "method": "linear", "base": base, "models": [adapter], "output": {"adapter": True}}
        cuvee.merge(again, tmp_path / "again")
        found = {
            "by peft": peft.PeftModel.from_pretrained(loaded(base, family), adapter),
            "by cuvee": loaded(tmp_path / "merged", family),
            "merged as an adapter": peft.PeftModel.from_pretrained(loaded(base, family), tmp_path / "again"),
        }
        expected = logits(model, family)
        for name, made in found.items():
            torch.testing.assert_close(
                logits(made, family), expected, rtol=1e-4, atol=1e-4, msg=lambda t, n=name: f"{n}: {t}"
            )


@pytest.mark.parametrize("modules", [["EMBEDDING"], ["lm_head"], ["EMBEDDING", "lm_head"]], ids=" and ".join)
@pytest.mark.parametrize(("family", "embedding"), [("llama", "embed_tokens"), ("gpt2", "wte")], ids=["llama", "gpt2"])
def test_embedding_and_head_that_were_one_are_two(
    family: str, embedding: str, modules: list[str], tmp_path: Path
) -> None:
    modules = [module.replace("EMBEDDING", embedding) for module in modules]
    with warnings.catch_warnings(action="ignore"):
        make(tmp_path, MAKERS[family], LoraConfig(target_modules="all-linear", modules_to_save=modules))
        expected = peft.PeftModel.from_pretrained(loaded(tmp_path / "base", family), tmp_path / "adapter")
        recipe = {"cuvee": 1, "method": "linear", "models": [f"{tmp_path}/base+{tmp_path}/adapter"]}
        cuvee.merge(recipe, tmp_path / "out")
        found = loaded(tmp_path / "out", family)
        assert found.config.tie_word_embeddings is False
        torch.testing.assert_close(logits(found, family), logits(expected, family), rtol=1e-4, atol=1e-4)
    assert {finding.state for finding in cuvee.verify(tmp_path / "out", replay=True)} == {"same"}


@pytest.mark.parametrize(("modules", "what"), [(["shared"], "an embedding"), (["lm_head"], "a head")], ids=str)
def test_what_several_parts_use_is_not_taken_apart(modules: list[str], what: str, tmp_path: Path) -> None:
    make(tmp_path, MODELS["t5"], LoraConfig(target_modules=["q"], modules_to_save=modules))
    with pytest.raises(UnsupportedError, match=f"holds {what} of its own, .* which other parts of it use, too"):
        cuvee.open_source(f"{tmp_path}/base+{tmp_path}/adapter")


def test_an_embedding_alone_takes_the_place_of_one_that_is_not_tied(tmp_path: Path) -> None:
    expected = make(tmp_path, MODELS["llama"], LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens"]))
    recipe = {"cuvee": 1, "method": "linear", "models": [f"{tmp_path}/base+{tmp_path}/adapter"]}
    cuvee.merge(recipe, tmp_path / "out")
    found = cuvee.open_source(tmp_path / "out").header
    assert found.keys() == expected.keys()
    assert "lm_head.weight" in found


def test_an_embedding_of_a_model_without_head_is_read(tmp_path: Path) -> None:
    def classifier() -> PreTrainedModel:
        config = transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)
        return transformers.LlamaForSequenceClassification(config)

    make(tmp_path, classifier, LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens"]))
    source = cuvee.open_source(f"{tmp_path}/base+{tmp_path}/adapter")
    assert source.locate("model.embed_tokens.weight").endswith("adapter_model.safetensors")
    source.close()
