"""The suite of glyphs: its data, what its trainings see, its scores, its adapters."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cuvee.errors import StudyError
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.store import Store
from cuvee.studies.runner.weights import trained as weights_of
from cuvee.studies.suite import Cell, Training
from cuvee.studies.suites.glyphs import suite as module
from cuvee.studies.suites.glyphs.data import GROUPS, STYLES, cell_images, classes_of, style_images
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


def test_splits_share_no_image() -> None:
    seen: dict[bytes, str] = {}
    for split in ("train", "statistics", "validation", "test"):
        images, _ = style_images("plain", split)
        for image in images:
            assert seen.setdefault(image.numpy().tobytes(), split) == split


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
    """The head's rows of other classes, which could learn, stay where they are: no gradient reaches them."""
    allowed = module._allowed(EXPERT)
    assert allowed is not None
    assert allowed[9].nonzero().flatten().tolist() == classes_of("g2")
    assert module._allowed(BASE) is None


def test_few_examples_are_spread_over_the_classes() -> None:
    _, labels = module._examples(replace(EXPERT, shots=32))
    assert torch.bincount(labels, minlength=32)[8:12].tolist() == [8, 8, 8, 8]


def test_a_multitask_model_sees_as_many_examples_as_its_experts_together() -> None:
    both = replace(EXPERT, role="multitask", cells=(CELL, Cell("g0", "plain")))
    assert SUITE.num_examples(both) == 2 * SUITE.num_examples(EXPERT)


def test_a_mixture_averages_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """One model is sure of class 8, two are fairly sure of class 9: the mean says 9, a mean of logits would say 8."""

    class Fixed(nn.Module):
        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.logits = logits

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(images), 32)

    sure, fair = torch.zeros(32), torch.zeros(32)
    sure[8], fair[9] = 100.0, 6.0
    monkeypatch.setattr(module, "_loaded", lambda _, model: Fixed(model["logits"]))
    models = [{"logits": sure}, {"logits": fair}, {"logits": fair}]
    assert SUITE.score(models, "mlp-s", [CELL], "test")[CELL] == {"accuracy": 0.25}
    assert int(torch.stack([sure, fair, fair]).softmax(1).mean(0).argmax()) == 9


@pytest.mark.parametrize("tuning", ["lora", "ia3"])
@pytest.mark.parametrize("architecture", ["mlp-s", "vit"])
def test_adapters_are_read_as_what_they_stand_for(tuning: str, architecture: str, tmp_path: object) -> None:
    """What cuvee makes of base and adapter scores as the network with the adapter on it."""
    base = replace(BASE, architecture=architecture)
    expert = replace(EXPERT, architecture=architecture, start=base, tuning=tuning)  # type: ignore[arg-type]
    store = Store(tmp_path)  # type: ignore[arg-type]
    whole = SUITE.train(base, None)
    store.keep("glyphs", base, whole, Cost())
    adapter = SUITE.train(expert, whole.tensors)
    store.keep("glyphs", expert, adapter, Cost())
    read = weights_of(store, "glyphs", expert)
    assert set(read) == set(whole.tensors)
    changed = [name for name in read if not torch.equal(read[name], whole.tensors[name])]
    assert changed
    assert all(name.endswith(("q.weight", "v.weight", "fc1.weight", "fc2.weight", "bias")) for name in changed)
    if tuning == "lora":
        name = changed[0]
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        product = adapter.tensors[f"{stem}.lora_B.weight"] @ adapter.tensors[f"{stem}.lora_A.weight"]
        torch.testing.assert_close(read[name], whole.tensors[name] + 2 * product)


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
