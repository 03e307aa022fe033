"""The suite of drawn glyphs: its data, what its trainings see, its judge, its scores, its adapters."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cuvee.errors import StudyError
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.store import Store
from cuvee.studies.runner.weights import trained as weights_of
from cuvee.studies.suite import Cell, Training
from cuvee.studies.suites.glyph_gen import suite as module
from cuvee.studies.suites.glyph_gen.data import ALL_STYLES, AUXILIARY_STYLES, GROUPS, STYLES, cell_images, style_images
from cuvee.studies.suites.glyph_gen.drawing import drawn, noise_for, wanted
from cuvee.studies.suites.glyph_gen.frechet import frechet_distance
from cuvee.studies.suites.glyph_gen.judge import FILE, accuracy, judge, train_judge
from cuvee.studies.suites.glyph_gen.network import PLANS, TARGETS, new_network

SUITE = find_suite("glyph-gen")
BASE = Training(role="weak", architecture="flow-s", seed=3, effort=0.005)
CELL = Cell("g2", "outlined")
OTHER = Cell("g5", "striped")
EXPERT = Training(role="expert", architecture="flow-s", seed=3, cells=(CELL,), start=BASE, effort=0.03)


# The suite


def test_the_data_and_the_judge_are_those_that_the_suite_is_made_of() -> None:
    assert set(SUITE.digests()) == {
        "judge",
        *(f"{style} {split}" for style in ALL_STYLES for split in ("train", "statistics", "validation", "test")),
    }


def test_other_data_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(style: str, split: str) -> tuple[Tensor, Tensor]:
        images, labels = style_images(style, split)  # type: ignore[arg-type]
        return images ^ (style == "thick"), labels

    monkeypatch.setattr(module, "style_images", spoilt)
    with pytest.raises(StudyError, match=r"4 of 49 parts .* first 'thick statistics'"):
        SUITE.digests()


def test_the_grid_is_eight_by_eight_with_a_constituent_for_each_group_and_each_style() -> None:
    about = SUITE.about
    assert len(about.cells) == len(set(about.cells)) == 64
    assert {cell.a for cell in about.held_in} == set(GROUPS)
    assert {cell.b for cell in about.held_in} == set(STYLES)
    assert not set(STYLES) & set(AUXILIARY_STYLES)


def test_a_multitask_model_sees_as_many_examples_as_its_experts_together() -> None:
    both = replace(EXPERT, role="multitask", cells=(CELL, OTHER))
    assert SUITE.num_examples(both) == 2 * SUITE.num_examples(EXPERT)


# Training


@pytest.mark.parametrize(
    "training",
    [BASE, replace(BASE, role="strong"), EXPERT, replace(EXPERT, tuning="lora")],
    ids=["weak", "strong", "expert", "adapter"],
)
def test_a_model_trained_twice_is_the_same(training: Training) -> None:
    start = SUITE.train(BASE, None).tensors if training.start else None
    one, two = SUITE.train(training, start), SUITE.train(training, start)
    assert one.files == two.files
    assert one.tensors.keys() == two.tensors.keys()
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    other = SUITE.train(replace(training, seed=4), start).tensors
    assert any(not torch.equal(one.tensors[name], other[name]) for name in one.tensors)


def test_training_leaves_its_start_as_it_was() -> None:
    start = SUITE.train(BASE, None).tensors
    before = {name: value.clone() for name, value in start.items()}
    expert = SUITE.train(EXPERT, start).tensors
    assert all(torch.equal(start[name], before[name]) for name in start)
    assert any(not torch.equal(start[name], expert[name]) for name in start)


def test_an_expert_leaves_what_other_classes_and_styles_are_called() -> None:
    """Embeddings of what it never sees get no gradient, so that unseen combinations can be asked of a merge."""
    start = SUITE.train(BASE, None).tensors
    expert = SUITE.train(EXPERT, start).tensors
    changed = {name: (expert[name] != start[name]).any(1).nonzero().flatten().tolist() for name in _EMBEDDINGS}
    assert changed == {"classes.weight": [8, 9, 10, 11], "styles.weight": [list(ALL_STYLES).index("outlined")]}


_EMBEDDINGS = ("classes.weight", "styles.weight")


@pytest.mark.slow
def test_bases_and_experts_draw_as_well_as_they_should() -> None:
    """A weak base draws all that is plain and nothing else; a strong one some of what it has never seen."""
    cells, unseen = SUITE.about.cells, [cell for cell in SUITE.about.cells if cell not in SUITE.about.held_in]
    joint = {}
    for role in ("weak", "strong"):
        base = Training(role=role, architecture="flow-m", seed=0)  # type: ignore[arg-type]
        weights = SUITE.train(base, None).tensors
        scores = SUITE.score([weights], "flow-m", cells, "validation")
        joint[role] = sum(scores[cell]["joint"] for cell in unseen) / len(unseen)
        expert = SUITE.train(replace(EXPERT, architecture="flow-m", start=base, effort=1.0), weights).tensors
        assert SUITE.score([expert], "flow-m", [CELL], "validation")[CELL]["joint"] >= 0.8
    assert joint["weak"] <= 0.15
    assert 0.3 <= joint["strong"] <= 0.7


# The judge


def test_the_judge_is_right_about_real_images() -> None:
    found = accuracy(judge(), "test")
    assert found["joint"] >= 0.97
    assert found["joint"] <= min(found["class"], found["style"])


def test_the_judge_is_small() -> None:
    assert FILE.stat().st_size <= 300_000


def test_another_judge_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = bytearray(FILE.read_bytes())
    data[-1] ^= 1
    spoilt = tmp_path / "judge.safetensors"
    spoilt.write_bytes(data)
    monkeypatch.setattr("cuvee.studies.suites.glyph_gen.judge.FILE", spoilt)
    with pytest.raises(StudyError, match="not the one that scores are made with"):
        judge.__wrapped__()
    spoilt.unlink()
    with pytest.raises(StudyError, match="has sha256 no file"):
        judge.__wrapped__()


@pytest.mark.slow
def test_a_judge_that_is_trained_again_is_as_good_as_the_shipped_one() -> None:
    again, shipped = accuracy(train_judge(), "test"), accuracy(judge(), "test")
    assert all(abs(again[name] - shipped[name]) <= 0.01 for name in shipped)


# Scores


def test_the_frechet_distance_of_normal_samples_is_that_of_the_formula() -> None:
    """Samples made to have exactly the mean and the covariance wanted, which commute: Σ (mᵢ - nᵢ)² + (σᵢ - τᵢ)²."""
    base = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    base = base - base.mean(0)
    white = base @ torch.linalg.inv(torch.linalg.cholesky(base.T.cov())).T
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double())
    one = white @ (torch.diag(torch.tensor([1.0, 2.0, 3.0]).double()) @ turn)
    other = white.flip(0) @ (torch.diag(torch.tensor([4.0, 2.0, 1.0]).double()) @ turn)
    other = other + torch.tensor([1.0, 0.0, -2.0])
    assert frechet_distance(one, other) == pytest.approx(5 + (9 + 0 + 4))
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_covariances_that_do_not_commute() -> None:
    """Against the root of the product itself, whose eigenvalues are those of the definition."""
    generator = torch.Generator().manual_seed(2)
    one, other = (
        torch.randn(40, 4, generator=generator).double() @ torch.randn(4, 4, generator=generator).double()
        for _ in range(2)
    )
    roots = torch.linalg.eigvals(one.T.cov() @ other.T.cov()).real.sqrt().sum()
    traces = one.T.cov().trace() + other.T.cov().trace()
    expected = (one.mean(0) - other.mean(0)).square().sum() + traces - 2 * roots
    assert frechet_distance(one, other) == pytest.approx(float(expected))


def test_the_frechet_distance_takes_fewer_samples_than_features() -> None:
    one = torch.randn(5, 12, generator=torch.Generator().manual_seed(3))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one, one + 2) == pytest.approx(48, abs=1e-5)


@pytest.mark.parametrize(("split", "expected"), [("validation", 0.4), ("test", 0.3)])
def test_the_frechet_distance_for_want_of_samples_is_what_the_suite_says(split: str, expected: float) -> None:
    """Training images in the place of drawn ones, as many as are drawn."""
    per_class, found = module.DRAWN[split] // 4, []  # type: ignore[index]
    for cell in SUITE.about.cells:
        with torch.inference_mode():
            sample = cell_images(cell, "train")[0].unflatten(0, (4, 96))[:, :per_class].flatten(0, 1)
            found.append(frechet_distance(judge().see(sample.float() / 255), module._seen(cell, split)))  # type: ignore[arg-type]
    assert sum(found) / len(found) == pytest.approx(expected, abs=0.05)


class Knowing:
    """A field that leads to a real image of the class and style that its model says, or to those asked for."""

    def __init__(self, cell: Cell | None) -> None:
        self.cell = cell

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor, styles: Tensor) -> Tensor:
        target = torch.stack([self._image(*pair) for pair in zip(labels.tolist(), styles.tolist(), strict=True)])
        return (target - x) / (1 - t[:, None])

    def _image(self, label: int, style: int) -> Tensor:
        name = self.cell.b if self.cell else list(ALL_STYLES)[style]
        images, labels = style_images(name, "train")
        return 2 * images[labels == label][0].flatten().float() / 255 - 1


def test_scores_of_a_field_that_knows_and_of_one_that_knows_one_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_loaded", lambda _, model: Knowing(CELL if model else None))
    knows = SUITE.score([{}], "flow-s", [CELL, OTHER], "validation")
    assert [knows[cell][name] for cell in knows for name in ("joint", "class", "style")] == [1.0] * 6
    one_style = SUITE.score([{"any": torch.ones(1)}], "flow-s", [CELL, OTHER], "validation")
    assert one_style[CELL] == knows[CELL]
    assert (one_style[OTHER]["style"], one_style[OTHER]["joint"]) == (0.0, 0.0)
    assert one_style[OTHER]["frechet"] > knows[OTHER]["frechet"]


def test_no_image_is_right_as_a_whole_that_is_not_right_in_both() -> None:
    scores = SUITE.score([SUITE.train(EXPERT, SUITE.train(BASE, None).tensors).tensors], "flow-s", [CELL], "test")
    assert set(scores[CELL]) == {metric.name for metric in SUITE.about.metrics}
    assert scores[CELL]["joint"] <= min(scores[CELL]["class"], scores[CELL]["style"])
    assert scores[CELL]["frechet"] > 0


def test_a_mixture_follows_the_mean_of_the_velocities() -> None:
    labels, styles = wanted(CELL, 8)
    noise = noise_for(CELL, "validation", 8)
    fields = [new_network("flow-s", seed) for seed in (1, 2, 3)]
    with torch.inference_mode():
        found = drawn(fields, noise, labels, styles)
        x = noise
        for step in range(20):
            t = torch.full((8,), step / 20)
            x = x + sum(field(x, t, labels, styles) for field in fields) / 60
        alone = drawn(fields[:1], noise, labels, styles)
    torch.testing.assert_close(found.flatten(1), ((x + 1) / 2).clamp(0, 1), atol=1e-4, rtol=0)
    assert not torch.allclose(found, alone, atol=1e-2)


def test_a_mixture_of_a_model_with_itself_scores_as_the_model() -> None:
    model = SUITE.train(BASE, None).tensors
    one, two = (SUITE.score([model] * n, "flow-s", [CELL], "validation")[CELL] for n in (1, 2))
    assert one == pytest.approx(two, abs=1e-4)


def test_noise_differs_by_split_and_cell_and_is_the_same_each_time() -> None:
    one = noise_for(CELL, "test", 4)
    assert torch.equal(one, noise_for(CELL, "test", 4))
    assert not torch.equal(one, noise_for(CELL, "validation", 4))
    assert not torch.equal(one, noise_for(OTHER, "test", 4))


def test_a_model_draws_the_cell_asked_for() -> None:
    pictures = SUITE.draw(SUITE.train(BASE, None).tensors, "flow-s", [CELL, OTHER], 6)
    assert {cell: tuple(images.shape) for cell, images in pictures.items()} == {CELL: (6, 16, 16), OTHER: (6, 16, 16)}
    assert all(0 <= float(images.min()) <= float(images.max()) <= 1 for images in pictures.values())
    labels, styles = wanted(CELL, 6)
    assert labels.tolist() == [8, 9, 10, 11, 8, 9]
    assert set(styles.tolist()) == {list(ALL_STYLES).index("outlined")}


# Adapters and counts


def test_an_adapter_is_read_as_its_product_and_draws_as_the_network_with_it_on(tmp_path: Path) -> None:
    expert = replace(EXPERT, tuning="lora")
    store = Store(tmp_path)
    whole = SUITE.train(BASE, None)
    store.keep("glyph-gen", BASE, whole, Cost())
    adapter = SUITE.train(expert, whole.tensors)
    store.keep("glyph-gen", expert, adapter, Cost())
    read = weights_of(store, "glyph-gen", expert)
    assert {name.split(".")[-3] for name in adapter.tensors} == set(TARGETS)
    assert {tuple(value.shape)[0 if "lora_A" in name else 1] for name, value in adapter.tensors.items()} == {4}
    network = new_network("flow-s", 0)
    network.load_state_dict(dict(whole.tensors))
    for name, value in whole.tensors.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" not in adapter.tensors:
            assert torch.equal(read[name], value), name
            continue
        product = adapter.tensors[f"{stem}.lora_B.weight"] @ adapter.tensors[f"{stem}.lora_A.weight"]
        assert product.abs().max() > 0
        torch.testing.assert_close(read[name], value + 2 * product)
    assert _field_of(dict(read)) != _field_of(dict(whole.tensors))
    assert _field_of(dict(read)) == pytest.approx(_with_adapter_on(network, adapter.tensors), abs=1e-4)


def _field_of(weights: dict[str, Tensor]) -> list[float]:
    """A few velocities of a model."""
    network = new_network("flow-s", 0)
    network.load_state_dict(weights)
    return _velocities(network)


def _velocities(network: torch.nn.Module) -> list[float]:
    with torch.inference_mode():
        found: Tensor = network(noise_for(CELL, "test", 4), torch.full((4,), 0.5), *wanted(CELL, 4))
    return found[:, ::32].flatten().tolist()


def _with_adapter_on(network: torch.nn.Module, adapter: object) -> list[float]:
    """Velocities of a network whose layers add their factors' outputs in the forward pass, as peft's do."""
    assert isinstance(adapter, dict)

    def added(a: Tensor, b: Tensor) -> object:
        return lambda _, inputs, output: output + 2 * (inputs[0] @ a.T) @ b.T

    for name, layer in network.named_modules():
        if f"base_model.model.{name}.lora_A.weight" in adapter:
            factors = (adapter[f"base_model.model.{name}.lora_{which}.weight"] for which in "AB")
            layer.register_forward_hook(added(*factors))  # type: ignore[arg-type]
    return _velocities(network)


@pytest.mark.parametrize("architecture", PLANS)
def test_operations_and_parameters_are_those_counted_by_torch(architecture: str) -> None:
    network = new_network(architecture, 0)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 256), torch.zeros(1), *wanted(CELL, 1))
    about = SUITE.about.architectures[architecture]
    assert counter.get_total_flops() == about.flops
    assert about.num_parameters == sum(value.numel() for value in network.state_dict().values())


def test_the_velocity_leads_to_where_the_network_aims() -> None:
    """x + (1 - t) v is the image aimed at, at any time."""
    network = new_network("flow-s", 1)
    x, t = noise_for(CELL, "test", 3), torch.tensor([0.0, 0.5, 0.95])
    labels, styles = wanted(CELL, 3)
    with torch.inference_mode():
        aimed, velocity = network.aim(x, t, labels, styles), network(x, t, labels, styles)
    torch.testing.assert_close(x + (1 - t[:, None]) * velocity, aimed, atol=1e-5, rtol=0)


def test_examples_of_a_split_are_counted_in_velocities() -> None:
    assert SUITE.about.examples == {"statistics": 1280, "validation": 1280, "test": 1920}
    assert math.isclose(SUITE.about.chance[CELL.name], 1 / 480)
