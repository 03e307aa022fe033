"""A merge in memory is the model that the merge on disk would be; what does not fit is said before weights are read."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from transformers import PreTrainedModel, ViTConfig, ViTForImageClassification

import cuvee
import models
import scored
from cuvee.errors import ScoreError
from cuvee.evaluate import subject as room
from cuvee.evaluate.subject import Subject
from cuvee.plan.limits import Limits
from cuvee.recipe.recipe import Recipe

CPU = torch.device("cpu")


def vit(tied: bool, expert: int) -> PreTrainedModel:
    torch.manual_seed(expert)
    return ViTForImageClassification(
        ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8,
                  patch_size=4, id2label={0: "cat", 1: "dog"})
    )  # fmt: skip


def made(family: str) -> Callable[[bool, int], PreTrainedModel]:
    return lambda tied, expert: models.build(family, tied=tied, expert=expert)


BUILDERS = {**{family: made(family) for family in models.FAMILIES}, "vit": vit}


def inputs(model: Any) -> dict[str, torch.Tensor]:
    if isinstance(model, ViTForImageClassification):
        return {"pixel_values": torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)}
    return {"input_ids": models.TOKENS} | (
        {"decoder_input_ids": models.TOKENS} if model.config.is_encoder_decoder else {}
    )


@pytest.fixture
def opened() -> Iterator[Callable[..., Subject]]:
    """Open subjects that are closed in the end."""
    subjects: list[Subject] = []

    def open_(recipe: Recipe, dtype: str = "auto") -> Subject:
        subjects.append(Subject("it", recipe, is_merge=True, device=CPU, dtype=dtype, limits=Limits()))
        return subjects[-1]

    yield open_
    for each in subjects:
        each.close()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_a_merge_in_memory_is_the_model_that_is_loaded_from_disk(
    family: str, tied: bool, tmp_path: Path, opened: Callable[..., Subject]
) -> None:
    for expert in (1, 2):
        models.save(BUILDERS[family](tied, expert), tmp_path / str(expert))
    recipe = Recipe(method="linear", models=[str(tmp_path / "1"), str(tmp_path / "2")])
    cuvee.merge(recipe, tmp_path / "out")
    subject = opened(recipe)
    subject.prepare(["network"])
    cls = getattr(transformers, subject.architecture)
    loaded = cls.from_pretrained(tmp_path / "out").eval()
    mine, theirs = subject.network.state_dict(), loaded.state_dict()
    assert list(mine) == list(theirs)
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=0)
    with torch.no_grad():
        given = inputs(loaded)
        torch.testing.assert_close(subject.network(**given).logits, loaded(**given).logits, rtol=0, atol=0)
    written = json.loads((tmp_path / "out" / "cuvee.json").read_text())["output"]
    assert subject.digest == written["digest"]
    assert subject.files == written["files"]
    ties = {id(p) for p in subject.network.parameters()}
    assert len(ties) == len({id(p) for p in loaded.parameters()})


def test_what_runs_in_another_type_is_that_model_in_that_type(tmp_path: Path, opened: Callable[..., Subject]) -> None:
    models.save(models.build("llama", tied=True, dtype=torch.bfloat16), tmp_path / "a")
    recipe = Recipe(method="copy", models=[str(tmp_path / "a")])
    as_stored, widened = opened(recipe), opened(recipe, "float32")
    for subject in (as_stored, widened):
        subject.prepare(["causal"])
    assert as_stored.network.dtype == torch.bfloat16
    assert widened.network.dtype == torch.float32
    loaded = models.load("llama", tmp_path / "a", dtype=torch.float32)
    torch.testing.assert_close(models.outputs(widened.network), models.outputs(loaded), rtol=0, atol=0)


def edited(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """Change the tensors of a tiny LLaMA."""
    models.save(models.build("llama", tied=False), folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(NORM), f"lacks {NORM}"),
        (lambda tensors: tensors.update({"extra.weight": torch.ones(2)}), "does not take extra.weight"),
        (lambda tensors: tensors.update({NORM: torch.ones(3)}), f"has another shape for {NORM}"),
    ],
)
def test_tensors_that_do_not_fit_are_named_before_any_is_read(
    change: Any, said: str, tmp_path: Path, opened: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "execute", None)
    subject = opened(Recipe(method="copy", models=[str(edited(tmp_path / "a", change))]))
    with pytest.raises(ScoreError, match=f"LlamaForCausalLM.* the network {said}\\."):
        subject.prepare(["causal"])


def test_a_buffer_that_the_network_computes_itself_is_noted(tmp_path: Path, opened: Callable[..., Subject]) -> None:
    name = "model.rotary_emb.inv_freq"
    folder = edited(tmp_path / "a", lambda tensors: tensors.update({name: torch.ones(2)}))
    subject = opened(Recipe(method="copy", models=[str(folder)]))
    subject.prepare(["causal"])
    assert subject.notes == [f"Not used, as the network computes it itself: {name}."]


def test_weights_that_the_class_lets_be_missing_are_an_error_all_the_same(
    tmp_path: Path, opened: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers.LlamaForCausalLM, "_keys_to_ignore_on_load_missing", [r"norm\.weight"])
    whole = models.save(models.build("llama", tied=True), tmp_path / "whole")
    opened(Recipe(method="copy", models=[str(whole)])).prepare(["causal"])
    folder = edited(tmp_path / "a", lambda tensors: tensors.pop(NORM))
    with pytest.raises(ScoreError, match=f"the network lacks {NORM}"):
        opened(Recipe(method="copy", models=[str(folder)])).prepare(["causal"])


def test_code_that_comes_with_a_model_is_not_even_copied(tmp_path: Path, opened: Callable[..., Subject]) -> None:
    folder = models.save(models.build("llama", tied=True), tmp_path / "a")
    mark = tmp_path / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(mark)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}, "architectures": ["OwnForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    subject = opened(Recipe(method="copy", models=[str(folder)]))
    with pytest.raises(ScoreError, match=r"OwnForCausalLM.*code of its own, which cuvee does not run"):
        subject.prepare(["causal"])
    assert not list(subject.folder.glob("*.py"))
    assert not mark.exists()


def test_progress_bars_and_reports_of_transformers_are_as_before(tmp_path: Path) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    scored.language_model(tmp_path / "a")
    cuvee.evaluate(str(tmp_path / "a"), {"perplexity": {"text": scored.text(tmp_path / "t.txt", 20)}})
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before
