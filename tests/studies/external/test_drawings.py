"""Suites of image generation, on a tiny latent diffusion model with a tiny judge."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cuvee.errors import ScoreError
from cuvee.studies.external.adapters.diffusion import Painter
from cuvee.studies.external.adapters.zero_shot import ZeroShot
from cuvee.studies.external.reading import load
from cuvee.studies.external.suite import ExternalSuite
from cuvee.studies.seeds import generator_for
from cuvee.studies.suite import Cell, Training
from studies.external.declarations import written
from studies.external.tiny_clip import CLASSES, DOMAINS, WORDS, make_clip, make_images, make_tokenizer
from studies.external.tiny_pipeline import SIZE, declared, make_pipeline

CELL = Cell("warm", "bright")
BASE = Training(role="strong", architecture="net", seed=0)
ALL = ("red", "orange", "pink", "blue", "green")


@pytest.fixture
def unet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CUVEE_SUITES", str(tmp_path))
    make_clip(tmp_path / "judge")
    make_images(tmp_path / "images", 2)
    return make_pipeline(tmp_path / "pipeline").eval()


def suite_in(folder: Path, **scoring: object) -> ExternalSuite:
    return ExternalSuite(load(written(folder, **declared(**scoring))))


def test_without_guidance_a_step_is_that_of_ddim(unet: Any, tmp_path: Path) -> None:
    """One step from noise to image: the latents that the predicted noise leaves, through the decoder."""
    painter: Any = Painter(tmp_path / "pipeline", SIZE)
    noise = torch.randn((1, 4, 8, 8), generator=generator_for(0, "test"))
    found = painter.drawn(unet, ["a dark red"], generator_for(0, "test"), 1, 1.0)
    tokens = make_tokenizer(WORDS)(["a dark red"], padding="max_length", max_length=12, return_tensors="pt")
    with torch.inference_mode():
        states = painter._reader(tokens.input_ids).last_hidden_state
        time = int(painter._noises.timesteps[0])
        predicted = unet(noise, time, encoder_hidden_states=states).sample
        alpha = painter._noises.alphas_cumprod[time]
        clean = (noise - (1 - alpha).sqrt() * predicted) / alpha.sqrt()
        last = painter._noises.final_alpha_cumprod
        latents = last.sqrt() * clean + (1 - last).sqrt() * predicted
        image = painter._coder.decode(latents / painter._coder.config.scaling_factor).sample
    torch.testing.assert_close(found, (image / 2 + 0.5).clamp(0, 1), rtol=1e-3, atol=1e-3)


def test_a_drawing_counts_if_class_and_domain_are_what_they_should_be(unet: Any, tmp_path: Path) -> None:
    suite = suite_in(tmp_path)
    adapter: Any = suite._adapter
    weights = suite.train(BASE, None).tensors
    assert set(weights) == set(unet.state_dict())
    images, names = adapter._drawn(unet, "net", CELL, "test", 6)
    assert names == [*CLASSES["warm"], *CLASSES["warm"]]
    assert images.shape == (6, 3, SIZE, SIZE)
    judge = ZeroShot(tmp_path / "judge")
    of_a = judge.likeliest(images, tuple(f"a photo of a {name}" for name in ALL))
    of_b = judge.likeliest(images, tuple(f"the {domain}" for domain in DOMAINS))
    right = [ALL[a] == name and DOMAINS[b] == "bright" for a, b, name in zip(of_a, of_b, names, strict=True)]
    assert suite.score([weights], "net", [CELL], "test")[CELL]["joint"] == pytest.approx(sum(right) / 6)


def test_the_judge_decides_both(unet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that takes all for red and bright: of six drawings of three classes two are right, and no dark one."""
    suite = suite_in(tmp_path)
    weights = suite.train(BASE, None).tensors
    monkeypatch.setattr(ZeroShot, "likeliest", lambda _, images, texts: torch.zeros(len(images), dtype=torch.int64))
    scores = suite.score([weights], "net", suite.about.cells, "test")
    assert {cell.name: values["joint"] for cell, values in scores.items()} == {
        "warm-bright": 2 / 6, "warm-dark": 0, "cold-bright": 0, "cold-dark": 0,
    }  # fmt: skip


def test_drawings_are_the_same_twice_and_other_ones_for_another_split(unet: Any, tmp_path: Path) -> None:
    adapter: Any = suite_in(tmp_path)._adapter
    one, other, test = (
        adapter._drawn(unet, "net", CELL, split, 2)[0] for split in ("validation", "validation", "test")
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, test)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_an_expert_is_less_wrong_about_its_images(unet: Any, tmp_path: Path, tuning: Any) -> None:
    suite = suite_in(tmp_path)
    adapter: Any = suite._adapter
    start = suite.train(BASE, None).tensors
    training = Training(role="expert", architecture="net", seed=0, cells=(CELL,), start=BASE, tuning=tuning, effort=4.0)
    one, other = suite.train(training, start), suite.train(training, start)
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    assert ("adapter_config.json" in one.files) == (tuning == "lora")
    assert "config.json" in one.files or tuning == "lora"
    if tuning == "lora":
        assert {name.split(".")[-2] for name in one.tensors} == {"lora_A", "lora_B"}
        return
    painter, losses = adapter._painter("net"), []
    images = torch.rand(16, 3, SIZE, SIZE, generator=generator_for(0, "images"))
    for weights in (start, one.tensors):
        hosted = adapter._hosted("net")
        hosted.put(weights)
        with torch.inference_mode():
            loss = painter.loss(hosted.module, images, ["a bright red"] * 16, generator_for(0, "noise"))
        losses.append(loss.item())
    assert losses[1] < losses[0]


def test_sheets_are_grey_and_mixtures_refused(unet: Any, tmp_path: Path) -> None:
    suite = suite_in(tmp_path)
    assert suite.about.draws
    weights = suite.train(BASE, None).tensors
    assert suite.draw(weights, "net", [CELL], 3)[CELL].shape == (3, SIZE, SIZE)
    with pytest.raises(ScoreError, match="have no mean"):
        suite.score([weights, weights], "net", [CELL], "test")
