"""Suites of image classification with CLIP, on a tiny one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import CLIPModel

from cuvee.errors import StudyError
from cuvee.studies.external.adapters.pictures import Eye, listed
from cuvee.studies.external.reading import load
from cuvee.studies.external.suite import ExternalSuite
from cuvee.studies.suite import Cell, Training
from studies.external.declarations import written
from studies.external.tiny_clip import CLASSES, DOMAINS, WORDS, declared, make_clip, make_images, make_tokenizer

BASE = Training(role="strong", architecture="clip", seed=0)
EXPERT = Training(role="expert", architecture="clip", seed=0, cells=(Cell("warm", "bright"),), start=BASE)
ALL = ("red", "orange", "pink", "blue", "green")


@pytest.fixture
def clip(tmp_path: Path) -> CLIPModel:
    make_images(tmp_path / "images")
    return make_clip(tmp_path / "clip")


def suite_in(folder: Path, **scoring: object) -> ExternalSuite:
    return ExternalSuite(load(written(folder, **declared(**scoring))))


def outputs(model: CLIPModel, folder: Path, paths: list[Path], names: tuple[str, ...]) -> torch.Tensor:
    """Probabilities as transformers' own forward pass has them."""
    texts = make_tokenizer(WORDS)([f"a photo of a {name}" for name in names], return_tensors="pt")
    with torch.inference_mode():
        found = model(pixel_values=Eye(folder, 16)(paths), input_ids=texts.input_ids,
                      attention_mask=texts.attention_mask)  # fmt: skip
    return found.logits_per_image.softmax(1)


def test_scores_are_those_of_the_whole_model_over_all_classes(clip: CLIPModel, tmp_path: Path) -> None:
    suite = suite_in(tmp_path)
    weights = suite.train(BASE, None).tensors
    assert set(weights) == {n for n in clip.state_dict() if n.startswith(("vision_model.", "visual_projection."))}
    scores = suite.score([weights], "clip", suite.about.cells, "test")
    for cell in suite.about.cells:
        shown = [each for each in listed(tmp_path / "images" / f"{cell.b}_test_fold.txt")
                 if each.path.parent.name in CLASSES[cell.a]]  # fmt: skip
        assert len(shown) == 12
        found = outputs(clip, tmp_path, [each.path for each in shown], ALL).argmax(1)
        right = [ALL[i] == each.path.parent.name for i, each in zip(found.tolist(), shown, strict=True)]
        assert scores[cell]["accuracy"] == pytest.approx(sum(right) / 12)


def test_a_class_of_two_categories_is_right_in_either(clip: CLIPModel, tmp_path: Path) -> None:
    suite = suite_in(tmp_path)
    adapter: Any = suite._adapter
    assert adapter.choices(Cell("cold", "dark")) == ALL  # pink once
    outputs_of_pink = torch.zeros(12, 5)
    outputs_of_pink[:, 2] = 1
    for a in CLASSES:
        assert adapter._right(outputs_of_pink, Cell(a, "dark"), "test", ALL) == pytest.approx(4 / 12)


def test_a_mixture_averages_probabilities(clip: CLIPModel, tmp_path: Path) -> None:
    suite = suite_in(tmp_path)
    adapter: Any = suite._adapter
    weights = suite.train(BASE, None).tensors
    other = {name: value + 0.3 * torch.randn(value.shape) for name, value in weights.items()}
    cell = Cell("warm", "dark")
    each = []
    for model in (weights, other):
        hosted = adapter._hosted("clip")
        hosted.put(model)
        each.append(adapter._probabilities(hosted, "clip", cell, "test", ALL))
    expected = adapter._right((each[0] + each[1]) / 2, cell, "test", ALL)
    assert suite.score([weights, other], "clip", [cell], "test")[cell]["accuracy"] == expected


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_an_expert_learns_its_cell_and_is_the_same_twice(clip: CLIPModel, tmp_path: Path, tuning: Any) -> None:
    suite = suite_in(tmp_path)
    start = suite.train(BASE, None).tensors
    training = Training(role="expert", architecture="clip", seed=0, cells=EXPERT.cells, start=BASE, tuning=tuning)
    one, other = (suite.train(training, start) for _ in range(2))
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    assert ("adapter_config.json" in one.files) == (tuning == "lora")
    if tuning == "full":
        assert set(one.tensors) == set(start)
        assert any(not torch.equal(one.tensors[name], start[name]) for name in start)
        before, after = (suite.score([each], "clip", EXPERT.cells, "validation")[EXPERT.cells[0]]["accuracy"]
                         for each in (start, one.tensors))  # fmt: skip
        assert after > before
    else:
        assert {name.split(".")[-2] for name in one.tensors} == {"lora_A", "lora_B"}


def test_the_start_and_the_text_tower_stay_as_they_are(clip: CLIPModel, tmp_path: Path) -> None:
    suite = suite_in(tmp_path)
    start = suite.train(BASE, None).tensors
    before = {name: value.clone() for name, value in start.items()}
    suite.train(EXPERT, start)
    adapter: Any = suite._adapter
    assert all(torch.equal(before[name], start[name]) for name in start)
    now = adapter._hosted("clip").module.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in clip.state_dict().items())


def test_a_multitask_model_is_trained_on_all_its_cells(clip: CLIPModel, tmp_path: Path) -> None:
    suite = suite_in(tmp_path)
    start = suite.train(BASE, None).tensors
    both = Training(role="multitask", architecture="clip", seed=0, cells=suite.about.held_in, start=BASE)
    assert suite.num_examples(both) == 2 * suite.num_examples(EXPERT) == 2 * 40 * 8
    found = suite.score([suite.train(both, start).tensors], "clip", suite.about.held_in, "validation")
    assert min(scores["accuracy"] for scores in found.values()) > 0.5


def test_a_model_can_be_trained_after_one_was_scored(clip: CLIPModel, tmp_path: Path) -> None:
    """The head is made once, by whoever needs it first."""
    one, other = suite_in(tmp_path), suite_in(tmp_path)
    start = one.train(BASE, None).tensors
    both = Training(role="multitask", architecture="clip", seed=0, cells=one.about.held_in, start=BASE, effort=0.1)
    one.score([start], "clip", one.about.cells, "validation")
    after, before = one.train(both, start).tensors, other.train(both, start).tensors
    assert all(torch.equal(after[name], before[name]) for name in start)


def test_a_head_of_the_cell_s_own_classes_by_number(clip: CLIPModel, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for a, names in CLASSES.items():
        (folder / f"{a}_classes.txt").write_text("\n".join(names) + "\n")
        for split in ("train", "validation", "test"):
            lines = [f"bright/{name}/{split}-0.png {i}\n" for i, name in enumerate(names)]
            (folder / f"{a}_{split}.txt").write_text("".join(lines))
    scoring = {"lists": "{a}_{split}.txt", "label": "number", "head": "cell", "class_file": "{a}_classes.txt"}
    said = declared(**scoring)
    del said["scoring"]["classes"]  # type: ignore[attr-defined]
    suite = ExternalSuite(load(written(tmp_path, **said)))
    cell = Cell("cold", "bright")
    weights = suite.train(BASE, None).tensors
    paths = [folder / "bright" / name / "test-0.png" for name in CLASSES["cold"]]
    expected = outputs(clip, tmp_path, paths, tuple(CLASSES["cold"])).argmax(1)
    share = (expected == torch.arange(3)).double().mean().item()
    assert suite.score([weights], "clip", [cell], "test")[cell]["accuracy"] == pytest.approx(share)


def test_lists_that_are_wrong_are_refused(clip: CLIPModel, tmp_path: Path) -> None:
    suite = suite_in(tmp_path)
    weights = suite.train(BASE, None).tensors
    path = tmp_path / "images" / "dark_test_fold.txt"
    for text, said in (
        ("dark/red/test-0.png\n", r"dark_test_fold.txt:1: expected an image and the number"),
        ("dark/grey/test-0.png 0\n", "there is no image of a class of 'warm'"),
        ("dark/red/test-9.png 0\n", "the image cannot be read"),
    ):
        path.write_text(text)
        fresh = suite_in(tmp_path)
        with pytest.raises(StudyError, match=said):
            fresh.score([weights], "clip", [Cell("warm", "dark")], "test")


def test_an_image_is_resized_cut_in_the_middle_and_scaled(tmp_path: Path) -> None:
    """An image of 8 x 4 with a white middle: of the square in its middle all is white."""
    pixels = torch.zeros(4, 8, 3, dtype=torch.uint8)
    pixels[:, 2:6] = 255
    Image.fromarray(pixels.numpy()).save(tmp_path / "a.png")
    eye = Eye(tmp_path, 4)
    assert torch.equal(eye.plain([tmp_path / "a.png"]), torch.ones(1, 3, 4, 4))
    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"shortest_edge": 8}, "crop_size": {"height": 4, "width": 4}, "image_mean": [0, 0.5, 1], '
        '"image_std": [1, 0.5, 2]}'
    )
    found = Eye(tmp_path, 9)([tmp_path / "a.png"])
    assert found.shape == (1, 3, 4, 4)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.tensor([1.0, 1.0, 0.0]))


def test_digests_are_those_of_the_lists(clip: CLIPModel, tmp_path: Path) -> None:
    found = suite_in(tmp_path).digests()
    expected = {f"{b}_{s}_fold.txt" for b in DOMAINS for s in ("train", "validation", "test")}
    assert set(found) == expected
