"""Training and scores of glyphs.

Constituents are trained with the classifier restricted to their own group's classes, as in the code of Tam et al.
(arXiv 2409.18314): with all classes an expert learns, before anything else, that the others do not occur, and merges
of such experts talk each other out of every answer. Multitask models are trained, and all are scored, with all 32
classes, as there. Difference from the paper: a class belongs to one group.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files

import torch
from torch import Tensor
from torch.nn import functional

from cuvee.studies.adapters import Adapted
from cuvee.studies.digests import checked, digest_of
from cuvee.studies.learning import fit
from cuvee.studies.seeds import generator_for, seed_for
from cuvee.studies.suite import (
    About,
    Architecture,
    Cell,
    Metric,
    Pictures,
    Scores,
    Split,
    Trained,
    Training,
    Weights,
)  # fmt: skip
from cuvee.studies.suites.glyphs.data import (
    AUXILIARY,
    COUNTS,
    GROUPS,
    NUM_CLASSES,
    PER_GROUP,
    STYLES,
    cell_images,
    classes_of,
    style_images,
)  # fmt: skip
from cuvee.studies.suites.glyphs.networks import FEATURES, PLANS, Network, Plan, new_network
from cuvee.tensors.framework import single_threaded

__all__ = ["Glyphs"]

NAME = "glyphs"
BATCH = 128
STEPS = {"weak": 1000, "strong": 2500, "expert": 300}
RATES = {"weak": 2e-3, "strong": 2e-3, "expert": 5e-4, "multitask": 5e-4}
ADAPTER_RATES = {"lora": 5e-3, "ia3": 3e-2}
SMOOTHING = 0.05  # of a base's labels, so that it stays open to change
RULED_OUT = -1e4  # a logit whose probability is 0 in float32


class Glyphs:
    """The suite; see `Suite`."""

    @cached_property
    def about(self) -> About:
        """What it is."""
        return About(
            name=NAME,
            version=2,
            what="Images of glyphs (16 x 16): 8 groups of 4 classes in 8 styles.",
            axes=("group", "style"),
            metrics=(Metric(name="accuracy", what="Share of images whose class, out of all 32, is named."),),
            cells=tuple(Cell(group, style) for group in GROUPS for style in STYLES),
            held_in=tuple(Cell(group, style) for group, style in zip(GROUPS, STYLES, strict=True)),
            architectures={name: _architecture(plan) for name, plan in PLANS.items()},
            sizes=("mlp-s", "mlp-m", "mlp-l", "mlp-xl"),
            bases={
                "weak": "All classes in the plain style.",
                "strong": f"All classes, plain and in {len(AUXILIARY)} styles that no cell has.",
            },
            chance={f"{group}-{style}": 1 / NUM_CLASSES for group in GROUPS for style in STYLES},
            examples={split: PER_GROUP * count for split, count in COUNTS.items()},
        )

    def digests(self) -> Mapping[str, str]:
        """Draw all images; see `Suite.digests`."""
        found = {
            f"{style} {split}": digest_of(*style_images(style, split))
            for style in (*STYLES, *AUXILIARY)
            for split in COUNTS
        }
        return checked(NAME, found, json.loads(files(__package__).joinpath("digests.json").read_text()))

    def num_examples(self, training: Training) -> int:
        """See `Suite.num_examples`."""
        return BATCH * _steps(training)

    def train(self, training: Training, start: Weights | None) -> Trained:
        """See `Suite.train`.

        Raises:
            MissingLibraryError: an adapter was asked for, and peft is not installed.
        """
        plan = PLANS[training.architecture]
        network = new_network(training.architecture, seed_for(training.seed, f"glyphs {training.architecture}"))
        if start is not None:
            network.load_state_dict(dict(start))
        images, labels = _examples(training)
        generator = generator_for(training.seed, f"glyphs {training.role} {[cell.name for cell in training.cells]}")
        adapted = None
        if training.tuning != "full":
            adapted = Adapted(network, training.tuning, plan.targets, plan.inputs, seed_for(training.seed, "adapter"))
        allowed, smoothing = _allowed(training), 0.0 if training.cells else SMOOTHING

        def loss_of_step(_: int) -> Tensor:
            rows = torch.randint(len(labels), (BATCH,), generator=generator)
            return loss_of(network(images[rows]), labels[rows], allowed, smoothing)

        rate = RATES[training.role] if adapted is None else ADAPTER_RATES[training.tuning]
        fit(
            adapted.parameters if adapted else network.parameters(), loss_of_step, num_steps=_steps(training), rate=rate
        )
        if adapted:
            return adapted.trained()
        config = {"model_type": f"cuvee-{NAME}", "architecture": training.architecture, "num_labels": NUM_CLASSES}
        text = json.dumps(config, indent=2) + "\n"
        return Trained(tensors=network.state_dict(), files={"config.json": text.encode()})

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """See `Suite.score`; outputs are probabilities."""
        parts = [cell_images(cell, split) for cell in cells]
        images = torch.cat([part for part, _ in parts])
        with torch.inference_mode(), single_threaded():
            outputs = [_loaded(architecture, model)(images).softmax(1) for model in models]
            named = torch.stack(outputs).mean(0).argmax(1)
        right = (named == torch.cat([labels for _, labels in parts])).double()
        means = [part.mean().item() for part in right.split([len(labels) for _, labels in parts])]  # type: ignore[no-untyped-call]
        return {cell: {"accuracy": value} for cell, value in zip(cells, means, strict=True)}

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:  # noqa: ARG002
        """Return images of cells, by turns of each class: these models draw none. At most all that a cell has."""
        each = COUNTS["train"]
        turn = torch.arange(min(count, PER_GROUP * each))
        rows = turn % PER_GROUP * each + (turn + turn // each) % each  # another image each time, not only another class
        return {cell: cell_images(cell, "train")[0][rows].float() / 255 for cell in cells}


def loss_of(logits: Tensor, labels: Tensor, allowed: Tensor | None, smoothing: float) -> Tensor:
    """Return the mean loss of a batch.

    Args:
        logits: (n, 32) float32.
        labels: (n,) int64.
        allowed: for each class those that its loss may choose from, (32, 32) bool; None for all.
        smoothing: share of a label that is spread over all classes, in [0, 1); of none that are ruled out.
    """
    if allowed is not None:
        logits = logits.masked_fill(~allowed[labels], RULED_OUT)
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


def _steps(training: Training) -> int:
    """Return the number of batches."""
    steps = STEPS["expert"] * len(training.cells) if training.cells else STEPS[training.role]
    return max(1, round(steps * training.effort))


def _examples(training: Training) -> tuple[Tensor, Tensor]:
    """Return what a model is trained on; of each cell its first so many images, evenly of its classes."""
    if training.cells:
        parts = [_first(*cell_images(cell, "train"), training.shots) for cell in training.cells]
    else:
        styles = ("plain", *AUXILIARY) if training.role == "strong" else ("plain",)
        parts = [style_images(style, "train") for style in styles]
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def _first(images: Tensor, labels: Tensor, shots: int | None) -> tuple[Tensor, Tensor]:
    """Take the first images of each class, `shots` in all."""
    if shots is None:
        return images, labels
    rows = torch.arange(len(labels)).view(PER_GROUP, -1).T.flatten()[:shots]
    return images[rows], labels[rows]


def _allowed(training: Training) -> Tensor | None:
    """Return for each class those of its group, (32, 32) bool: what a constituent may choose from; None for others."""
    if training.role != "expert":
        return None
    allowed = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.bool)
    for group in GROUPS:
        rows = torch.tensor(classes_of(group))
        allowed[rows[:, None], rows] = True
    return allowed


def _loaded(architecture: str, weights: Weights) -> Network:
    """Make a network of a state dict."""
    network = new_network(architecture, 0)
    network.load_state_dict(dict(weights))
    return network


def _architecture(plan: Plan) -> Architecture:
    """Count a network: two operations for each multiplication with a weight, and those of attention."""
    with torch.device("meta"):
        network = Network(plan)
    trained = sum(each.numel() for each in network.parameters() if each.requires_grad)
    return Architecture(
        what=_WHAT[plan.kind].format(plan.width),
        num_parameters=trained,
        flops=float(_flops(plan)),
        tunings=("full", "lora", "ia3") if plan.targets else ("full",),
    )


_WHAT = {"mlp": "residual MLP, width {}", "cnn": "CNN, {} channels", "vit": "ViT, width {}"}


def _flops(plan: Plan) -> int:
    """Return operations of a forward pass of one image: matrix products and convolutions alone."""
    width, tail = plan.width, FEATURES * NUM_CLASSES
    if plan.kind == "mlp":
        return 2 * (256 * width + plan.depth * 4 * width**2 + width * FEATURES + tail)
    if plan.kind == "vit":
        tokens = 16
        block = tokens * (4 * width**2 + 4 * width**2) + 2 * tokens**2 * width
        return 2 * (tokens * 16 * width + plan.depth * block + width * FEATURES + tail)
    places, channels = (256, 64, 16), ((1, width), (width, 2 * width), (2 * width, 2 * width))
    convolutions = sum(n * 9 * a * b for n, (a, b) in zip(places, channels, strict=True))
    return 2 * (convolutions + 2 * width * 16 * FEATURES + tail)
