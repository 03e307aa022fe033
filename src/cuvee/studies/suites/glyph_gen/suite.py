"""Training and scores of drawn glyphs: conditional flow matching, judged by a frozen judge.

Lipman, Chen, Ben-Hamu, Nickel and Le, "Flow Matching for Generative Modeling", ICLR 2023 (arXiv 2210.02747), the
straight (optimal-transport) path of section 4.1 with σ_min = 0: x_t = (1 - t) x₀ + t x₁. Difference: the loss is the
squared error of the image that the velocity leads to, (1 - t)² times that of the velocity, so that late times, where
the velocity divides by little, do not drown the others.

The protocol is that of Tam et al., "Realistic Evaluation of Model Merging for Compositional Generalization" (arXiv
2409.18314), section on image generation: constituents see one cell, with all weights or with an adapter, of which the
product is merged. The paper's metric is unknown to us; those here are ours.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from importlib.resources import files

import torch
from torch import Tensor

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
from cuvee.studies.suites.glyph_gen.data import (
    ALL_STYLES,
    AUXILIARY_CLASSES,
    AUXILIARY_STYLES,
    COUNTS,
    GROUPS,
    NUM_CLASSES,
    STYLES,
    cell_images,
    style_images,
)  # fmt: skip
from cuvee.studies.suites.glyph_gen.drawing import EULER_STEPS, drawn, noise_for, wanted
from cuvee.studies.suites.glyph_gen.examples import MISNAMED, Examples, examples_of
from cuvee.studies.suites.glyph_gen.frechet import frechet_distance
from cuvee.studies.suites.glyph_gen.judge import judge
from cuvee.studies.suites.glyph_gen.network import PLANS, TARGETS, Network, Plan, flops_of, new_network
from cuvee.tensors.framework import single_threaded

__all__ = ["GlyphGen"]

NAME = "glyph-gen"
BATCH = 128
STEPS = {"weak": 2000, "strong": 4000, "expert": 300}
RATES = {"weak": 2e-3, "strong": 2e-3, "expert": 5e-4, "multitask": 5e-4}
ADAPTER_RATE = 3e-3
DRAWN: Mapping[Split, int] = {"statistics": 64, "validation": 64, "test": 96}
"""Images that are drawn in a cell, two or three times as many as the judge has features. Real images instead of drawn
ones have a Fréchet distance of 0.4 (64) or 0.3 (96) in the mean over cells: that much of any is for want of samples."""
METRICS = (
    Metric(name="joint", what="Share of drawn images in which the judge sees the class and the style asked for."),
    Metric(name="class", what="Share of drawn images in which the judge sees the class asked for."),
    Metric(name="style", what="Share of drawn images in which the judge sees the style asked for."),
    Metric(
        name="frechet",
        what="Fréchet distance between drawn and real images of the cell, in the judge's features.",
        is_better_high=False,
        is_share=False,
    ),
)


class GlyphGen:
    """The suite; see `Suite`."""

    @cached_property
    def about(self) -> About:
        """What it is."""
        return About(
            name=NAME,
            version=1,
            what="Drawing glyphs (16 x 16) by flow matching: 8 groups of 4 classes in 8 styles.",
            axes=("group", "style"),
            metrics=METRICS,
            cells=tuple(Cell(group, style) for group in GROUPS for style in STYLES),
            held_in=tuple(Cell(group, style) for group, style in zip(GROUPS, STYLES, strict=True)),
            architectures={name: _architecture(plan) for name, plan in PLANS.items()},
            sizes=tuple(PLANS),
            bases={
                "weak": (
                    f"All {NUM_CLASSES} classes in the plain style; {MISNAMED:.0%} of the images are called by any "
                    "style's name, so that each name has been heard and none means a thing."
                ),
                "strong": (
                    f"All {NUM_CLASSES} classes, plain and in {len(AUXILIARY_STYLES)} styles that no cell has, and "
                    f"{AUXILIARY_CLASSES} classes that no cell has in all {len(ALL_STYLES)} styles: of the cells only "
                    "those in the plain style."
                ),
            },
            chance={f"{group}-{style}": 1 / (NUM_CLASSES * len(ALL_STYLES)) for group in GROUPS for style in STYLES},
            draws=True,
            examples={split: count * EULER_STEPS for split, count in DRAWN.items()},
        )

    def digests(self) -> Mapping[str, str]:
        """Draw all real images, and read the judge; see `Suite.digests`."""
        found = {f"{style} {split}": digest_of(*style_images(style, split)) for style in ALL_STYLES for split in COUNTS}
        found["judge"] = digest_of(*judge().state_dict().values())
        return checked(NAME, found, json.loads(files(__package__).joinpath("digests.json").read_text()))

    def num_examples(self, training: Training) -> int:
        """See `Suite.num_examples`."""
        return BATCH * _steps(training)

    def train(self, training: Training, start: Weights | None) -> Trained:
        """See `Suite.train`."""
        network = new_network(training.architecture, seed_for(training.seed, f"{NAME} {training.architecture}"))
        if start is not None:
            network.load_state_dict(dict(start))
        adapted = None
        if training.tuning == "lora":
            adapted = Adapted(network, "lora", TARGETS, (), seed_for(training.seed, "adapter"))
        examples = examples_of(training)
        generator = generator_for(training.seed, f"{NAME} {training.role} {[cell.name for cell in training.cells]}")
        fit(
            adapted.parameters if adapted else network.parameters(),
            lambda _: _loss(network, examples, generator),
            num_steps=_steps(training),
            rate=ADAPTER_RATE if adapted else RATES[training.role],
        )
        if adapted:
            return adapted.trained()
        config = {"model_type": f"cuvee-{NAME}", "architecture": training.architecture}
        text = json.dumps(config, indent=2) + "\n"
        return Trained(tensors=network.state_dict(), files={"config.json": text.encode()})

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """See `Suite.score`; outputs are velocities."""
        fields = [_loaded(architecture, model) for model in models]
        count, critic = DRAWN[split], judge()
        scores: dict[Cell, Mapping[str, float]] = {}
        for cell in cells:  # one after the other: the activations of a cell stay in the processor's cache
            labels, styles = wanted(cell, count)
            with torch.inference_mode(), single_threaded():
                seen = critic.see(drawn(fields, noise_for(cell, split, count), labels, styles))
                named = [logits.argmax(1) for logits in critic.name(seen)]
            is_class, is_style = named[0] == labels, named[1] == styles
            shares = {"joint": is_class & is_style, "class": is_class, "style": is_style}
            scores[cell] = {
                **{name: right.double().mean().item() for name, right in shares.items()},
                "frechet": frechet_distance(seen, _seen(cell, split)),
            }
        return scores

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:
        """See `Suite.draw`; the model's, each class in turn."""
        network = _loaded(architecture, weights)
        with torch.inference_mode(), single_threaded():
            return {cell: drawn([network], noise_for(cell, "sheet", count), *wanted(cell, count)) for cell in cells}


@cache
def _seen(cell: Cell, split: Split) -> Tensor:
    """Return the judge's features of a cell's real images."""
    with torch.inference_mode(), single_threaded():
        return judge().see(cell_images(cell, split)[0].float() / 255)


def _steps(training: Training) -> int:
    """Return the number of batches."""
    steps = STEPS["expert"] * len(training.cells) if training.cells else STEPS[training.role]
    return max(1, round(steps * training.effort))


def _loss(network: Network, examples: Examples, generator: torch.Generator) -> Tensor:
    """Draw a batch, and return the mean squared error of the images that it is led to."""
    images, labels, styles = examples.batch(BATCH, generator)
    target = 2 * images.flatten(1).float() / 255 - 1
    t = torch.rand(BATCH, generator=generator)
    noise = torch.randn(target.shape, generator=generator)
    x = torch.lerp(noise, target, t[:, None])
    return (network.aim(x, t, labels, styles) - target).square().mean()


def _loaded(architecture: str, weights: Weights) -> Network:
    """Make a network of a state dict."""
    network = new_network(architecture, 0)
    network.load_state_dict(dict(weights))
    return network


def _architecture(plan: Plan) -> Architecture:
    """Count a network."""
    with torch.device("meta"):
        num_parameters = sum(each.numel() for each in Network(plan).parameters())
    return Architecture(
        what=f"flow MLP, width {plan.width}",
        num_parameters=num_parameters,
        flops=float(flops_of(plan)),
        tunings=("full", "lora"),
    )
