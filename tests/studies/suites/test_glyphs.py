"""The suite of glyphs: its data, what its trainings see, its scores, its adapters."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cuvee.architectures.layers import depth_of, layer_of, stacks
from cuvee.errors import StudyError
from cuvee.execute.merge import merge_in_memory
from cuvee.recipe.recipe import Recipe
from cuvee.studies.expand import check_arm
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.store import Store
from cuvee.studies.runner.weights import trained as weights_of
from cuvee.studies.study import Arm
from cuvee.studies.suite import Cell, Training, Tuning
from cuvee.studies.suites.glyphs import suite as module
from cuvee.studies.suites.glyphs.data import AUXILIARY, GROUPS, STYLES, cell_images, classes_of, style_images
from cuvee.studies.suites.glyphs.networks import PLANS, new_network

SUITE = find_suite("glyphs")
BASE = Training(role="strong", architecture="mlp-s", seed=3, effort=0.01)
CELL = Cell("g2", "edges")
EXPERT = Training(role="expert", architecture="mlp-s", seed=3, cells=(CELL,), start=BASE, effort=0.05)


def test_the_data_are_those_that_the_suite_is_made_of() -> None:
    assert len(SUITE.digests()) == 12 * 4


def test_other_data_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(style: str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = style_images(style, split)  # type: ignore[arg-type]
        return (images ^ (style == "edges"), labels)

    monkeypatch.setattr(module, "style_images", spoilt)
    with pytest.raises(StudyError, match=r"4 of 48 parts .* first 'edges statistics'"):
        SUITE.digests()


def test_the_grid_is_eight_by_eight_with_a_constituent_for_each_group_and_each_style() -> None:
    about = SUITE.about
    assert len(about.cells) == len(set(about.cells)) == 64
    assert {cell.a for cell in about.held_in} == set(GROUPS)
    assert {cell.b for cell in about.held_in} == set(STYLES)


@pytest.mark.parametrize("style", [*STYLES, *AUXILIARY])
def test_splits_share_no_image(style: str) -> None:
    where: dict[bytes, str] = {}
    for split in ("train", "statistics", "validation", "test"):
        images, _ = style_images(style, split)
        for image in images:
            assert where.setdefault(image.numpy().tobytes(), split) == split


def test_no_base_has_seen_an_image_that_is_scored() -> None:
    seen = {image.numpy().tobytes() for style in ("plain", *AUXILIARY) for image in style_images(style, "train")[0]}
    for style in STYLES:
        for split in ("validation", "test"):
            assert not seen & {image.numpy().tobytes() for image in style_images(style, split)[0]}


def test_a_cell_has_the_classes_of_its_group_alone() -> None:
    images, labels = cell_images(CELL, "test")
    assert images.shape == (256, 16, 16)
    assert set(labels.tolist()) == {8, 9, 10, 11}


@pytest.mark.parametrize("training", [BASE, EXPERT, replace(EXPERT, tuning="lora"), replace(EXPERT, tuning="ia3")])
def test_a_model_trained_twice_is_the_same(training: Training) -> None:
    start = SUITE.train(BASE, None).tensors if training.start else None
    one, two = SUITE.train(training, start), SUITE.train(training, start)
    assert one.files == two.files
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    other = SUITE.train(replace(training, seed=4), start).tensors
    assert any(not torch.equal(one.tensors[name], other[name]) for name in one.tensors)


def test_training_leaves_its_start_and_the_head_as_they_were() -> None:
    start = {name: value.clone() for name, value in SUITE.train(BASE, None).tensors.items()}
    before = {name: value.clone() for name, value in start.items()}
    expert = SUITE.train(EXPERT, start).tensors
    assert all(torch.equal(start[name], before[name]) for name in start)
    assert torch.equal(expert["head.weight"], start["head.weight"])


def test_an_expert_learns_its_cell() -> None:
    base = SUITE.train(BASE, None).tensors
    expert = SUITE.train(replace(EXPERT, effort=0.3), base).tensors
    scores = [SUITE.score([model], "mlp-s", [CELL], "validation")[CELL]["accuracy"] for model in (base, expert)]
    assert scores[1] > scores[0] + 0.2


def test_the_loss_of_an_expert_sees_its_own_classes_alone() -> None:
    """Of class 9, in group g2 (8 to 11): logits of the others neither count nor get a gradient."""
    allowed = module._allowed(EXPERT)
    assert allowed is not None
    logits = torch.zeros(1, 32)
    logits[0, 8:12] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    logits[0, 20] = 50.0
    logits.requires_grad_(True)
    loss = module.loss_of(logits, torch.tensor([9]), allowed, 0.0)
    others = math.exp(1) + math.exp(2) + math.exp(3) + math.exp(4)
    assert loss.item() == pytest.approx(math.log(others) - 2, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0].nonzero().flatten().tolist() == classes_of("g2")


def test_the_loss_of_a_base_sees_all_classes_with_smoothed_labels() -> None:
    """Of two in 32 logits that are not 0: 95% of the label on its class, and 5% spread over all 32."""
    assert module._allowed(BASE) is None
    assert module.SMOOTHING == 0.05
    logits = torch.zeros(1, 32)
    logits[0, 9], logits[0, 20] = 2.0, 3.0
    total = math.log(30 + math.exp(2) + math.exp(3))
    expected = total - 0.95 * 2 - 0.05 * (2 + 3) / 32
    assert module.loss_of(logits, torch.tensor([9]), None, 0.05).item() == pytest.approx(expected, rel=1e-6)


def test_a_multitask_model_chooses_among_all_classes() -> None:
    assert module._allowed(replace(EXPERT, role="multitask", cells=(CELL, Cell("g0", "plain")))) is None


def test_a_model_is_trained_on_what_the_suite_says_and_nothing_else() -> None:
    """Bases on whole styles, of which the scored one is plain alone; constituents on the train split of their cells."""
    cells = (CELL, Cell("g0", "plain"))
    expected = {
        replace(BASE, role="weak"): [style_images("plain", "train")],
        BASE: [style_images(style, "train") for style in ("plain", "faint", "thick", "halved", "checked")],
        EXPERT: [cell_images(CELL, "train")],
        replace(EXPERT, role="multitask", cells=cells): [cell_images(cell, "train") for cell in cells],
    }
    for training, parts in expected.items():
        images, labels = module._examples(training)
        assert torch.equal(images, torch.cat([part for part, _ in parts]))
        assert torch.equal(labels, torch.cat([part for _, part in parts]))


def test_few_examples_are_spread_over_the_classes() -> None:
    _, labels = module._examples(replace(EXPERT, shots=32))
    assert torch.bincount(labels, minlength=32)[8:12].tolist() == [8, 8, 8, 8]


def test_a_multitask_model_sees_as_many_examples_as_its_experts_together() -> None:
    both = replace(EXPERT, role="multitask", cells=(CELL, Cell("g0", "plain")))
    assert SUITE.num_examples(both) == 2 * SUITE.num_examples(EXPERT)


class Fixed(nn.Module):
    """Gives each image the logits that its brightest pixel stands for."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[images.flatten(1).long().argmax(1)]


def shown(monkeypatch: pytest.MonkeyPatch, labels: dict[Cell, list[int]]) -> None:
    """Put images in place of the cells': image i of a cell has its one bright pixel at i."""

    def cell_images(cell: Cell, _: str) -> tuple[torch.Tensor, torch.Tensor]:
        right = torch.tensor(labels[cell])
        return torch.eye(256, dtype=torch.uint8)[: len(right)].view(-1, 16, 16), right

    monkeypatch.setattr(module, "cell_images", cell_images)
    monkeypatch.setattr(module, "_loaded", lambda _, model: Fixed(model["logits"]))


def naming(*classes: int, strength: float = 5.0) -> dict[str, torch.Tensor]:
    """Name image i by the i-th class."""
    return {"logits": strength * torch.eye(32)[list(classes)]}


def test_a_score_is_the_share_of_images_named_rightly_among_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of 4 and of 2 images; a class of another group counts as wrong."""
    other = Cell("g0", "plain")
    shown(monkeypatch, {CELL: [8, 9, 10, 11], other: [0, 1]})
    scores = SUITE.score([naming(8, 9, 10, 31)], "mlp-s", [CELL, other], "test")
    assert scores == {CELL: {"accuracy": 0.75}, other: {"accuracy": 0.0}}


def test_a_mixture_averages_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """One model is sure of class 8, two are fairly sure of class 9: the mean says 9, a mean of logits would say 8."""
    shown(monkeypatch, {CELL: [9]})
    models = [naming(8, strength=100.0), naming(9, strength=6.0), naming(9, strength=6.0)]
    assert SUITE.score(models, "mlp-s", [CELL], "test") == {CELL: {"accuracy": 1.0}}


def test_scores_are_computed_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    class Counting(Fixed):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            threads.append(torch.get_num_threads())
            return super().forward(images)

    shown(monkeypatch, {CELL: [9]})
    monkeypatch.setattr(module, "_loaded", lambda _, model: Counting(model["logits"]))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        SUITE.score([naming(9)], "mlp-s", [CELL], "test")
    finally:
        torch.set_num_threads(before)
    assert threads == [1]


def applied(network: nn.Module, adapter: Mapping[str, torch.Tensor], inputs: tuple[str, ...]) -> None:
    """Put an adapter's factors on a network's layers by hand, as the papers have it; LoRA's alpha is twice its rank."""
    stems = {name.removeprefix("base_model.model.").rsplit(".lora_" if "lora_" in name else ".ia3_l", 1)[0]
             for name in adapter}  # fmt: skip
    for stem in stems:
        layer, prefix = network.get_submodule(stem), f"base_model.model.{stem}"
        if f"{prefix}.lora_A.weight" in adapter:
            down, up = adapter[f"{prefix}.lora_A.weight"], adapter[f"{prefix}.lora_B.weight"]
            layer.register_forward_hook(lambda _, x, y, a=down, b=up: y + 2 * (x[0] @ a.T) @ b.T)
        elif stem.endswith(inputs):
            scale = adapter[f"{prefix}.ia3_l"].flatten()
            layer.register_forward_pre_hook(lambda _, x, s=scale: (x[0] * s,))
        else:
            scale = adapter[f"{prefix}.ia3_l"].flatten()
            layer.register_forward_hook(lambda _, x, y, s=scale: y * s)


@pytest.mark.parametrize("tuning", ["lora", "ia3"])
@pytest.mark.parametrize("architecture", ["mlp-s", "vit"])
def test_adapters_are_read_as_what_they_stand_for(tuning: Tuning, architecture: str, tmp_path: Path) -> None:
    """What cuvee makes of base and adapter computes what the base does with the factors on its layers."""
    base = replace(BASE, architecture=architecture)
    expert = replace(EXPERT, architecture=architecture, start=base, tuning=tuning)
    store = Store(tmp_path)
    whole = SUITE.train(base, None)
    store.keep("glyphs", base, whole, Cost())
    adapter = SUITE.train(expert, whole.tensors)
    store.keep("glyphs", expert, adapter, Cost())
    images, _ = cell_images(CELL, "validation")
    bare, by_hand = (module._loaded(architecture, whole.tensors) for _ in range(2))
    applied(by_hand, adapter.tensors, PLANS[architecture].inputs)
    place = f"{store.model('glyphs', base)}+{store.model('glyphs', expert)}"
    read = {
        "as a recipe": weights_of(store, "glyphs", expert),
        "as a place": merge_in_memory(Recipe(method="copy", models=[place]))[0],
    }
    with torch.inference_mode():
        expected = by_hand(images)
        assert (expected - bare(images)).abs().max() > 0.01
        for weights in read.values():
            assert set(weights) == set(whole.tensors)
            torch.testing.assert_close(module._loaded(architecture, weights)(images), expected, rtol=1e-4, atol=1e-4)


def test_adapters_are_for_networks_of_linear_layers() -> None:
    assert {name for name, each in SUITE.about.architectures.items() if "lora" not in each.tunings} == {"cnn"}
    arm = Arm(suite="glyphs", architecture="cnn", base="weak", tuning="lora")
    with pytest.raises(StudyError, match=r"does not train its network 'cnn' by 'lora'; it does so by full\.$"):
        check_arm(arm)


@pytest.mark.parametrize("architecture", PLANS)
def test_names_show_layers(architecture: str) -> None:
    """Three blocks at depths 0, 1/2 and 1; what embeds stands before them, projection and head after."""
    names = list(new_network(architecture, 0).state_dict())
    layers = {name: layer_of(name) for name in names}
    assert {layer.index for layer in layers.values() if layer} == {0, 1, 2}
    assert {layer.stack for layer in layers.values() if layer} == {"blocks"}
    depths = {name: depth_of(name, stacks(names)) for name in names}
    assert {depth for name, depth in depths.items() if layers[name]} == {0.0, 0.5, 1.0}
    assert {depths[name] for name in names if name.startswith(("embed.", "positions"))} <= {0.0}
    assert depths["projection.weight"] == depths["head.weight"] == 1.0


def test_a_checkpoint_says_what_it_is() -> None:
    trained = SUITE.train(BASE, None)
    expected = {"model_type": "cuvee-glyphs", "architecture": "mlp-s", "num_labels": 32}
    assert json.loads(trained.files["config.json"]) == expected


@pytest.mark.parametrize("count", [1, 4, 7, 200, 384])
def test_as_many_different_images_are_drawn_as_asked_for_evenly_of_the_classes(count: int) -> None:
    drawn = SUITE.draw({}, "mlp-s", [CELL], count)[CELL]
    assert drawn.shape == (count, 16, 16)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    found = {image.numpy().tobytes() for image in drawn}
    assert len(found) == count
    images, labels = cell_images(CELL, "train")
    classes = [label for image, label in zip(images, labels.tolist(), strict=True)
               if (image.float() / 255).numpy().tobytes() in found]  # fmt: skip
    counts = [classes.count(label) for label in classes_of("g2")]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("architecture", PLANS)
def test_operations_and_parameters_are_those_counted_by_torch(architecture: str) -> None:
    network = new_network(architecture, 0)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 16, 16, dtype=torch.uint8))
    about = SUITE.about.architectures[architecture]
    assert counter.get_total_flops() == about.flops
    assert about.num_parameters == sum(each.numel() for each in network.parameters()) - 32 * 64


def test_sizes_span_sixty_fold() -> None:
    sizes = [SUITE.about.architectures[name].num_parameters for name in SUITE.about.sizes]
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 60 * sizes[0]
