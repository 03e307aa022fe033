"""The judge of drawn images: a small CNN, trained on real ones and frozen, that names class and style.

It knows all classes and all styles, the auxiliary ones too: what a model falls back on when it does not know better
has a name of its own, and is not taken for what was asked. Its weights come with the package, so that a score is the
same everywhere; `train_judge` makes such a judge again.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.errors import StudyError
from cuvee.execute.merge import merge_in_memory
from cuvee.recipe.recipe import Recipe
from cuvee.studies.learning import fit
from cuvee.studies.seeds import generator_for, seed_for
from cuvee.studies.suite import Split
from cuvee.studies.suites.glyph_gen.data import ALL_STYLES, DATA_SEED, NUM_CLASSES, style_images
from cuvee.tensors.framework import single_threaded

__all__ = ["FEATURES", "FILE", "SHA256", "Judge", "accuracy", "judge", "train_judge"]

FILE = Path(__file__).with_name("judge.safetensors")
SHA256 = "4c79a6421edc1dbde486637be1b24ffc77944326b91435d5b2710f19e8086e53"
FEATURES = 32
STEPS, BATCH, RATE = 1500, 128, 3e-3
MOST_NOISE = 0.1  # standard deviation of noise added to pixels in training: a drawing is never as clean as the data


class Judge(nn.Module):
    """Images to features, and features to logits of classes and of styles."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.features = nn.Linear(32 * 16, FEATURES)
        self.classes = nn.Linear(FEATURES, NUM_CLASSES)
        self.styles = nn.Linear(FEATURES, len(ALL_STYLES))

    def see(self, images: Tensor) -> Tensor:
        """Map images, (n, 16, 16) float32 in [0, 1], to features, (n, 32) float32 of length √32."""
        x = 2 * images[:, None] - 1
        for conv in (self.conv1, self.conv2, self.conv3):
            x = functional.gelu(conv(x))
        return functional.layer_norm(self.features(x.flatten(1)), (FEATURES,))

    def name(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features, (n, 32), to logits of classes, (n, 40), and of styles, (n, 12)."""
        return self.classes(features), self.styles(features)


def _all_images(split: Split) -> tuple[Tensor, Tensor, Tensor]:
    """Return all images of a split, uint8, with their classes and styles, int64; the auxiliary ones too."""
    parts = [style_images(style, split) for style in ALL_STYLES]
    styles = torch.arange(len(ALL_STYLES)).repeat_interleave(len(parts[0][1]))
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts]), styles


def train_judge() -> Judge:
    """Train a judge on the training images of all classes in all styles; about 20 seconds.

    Its bytes depend on versions and processor, as those of every training; that is why one is shipped.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(DATA_SEED, "glyph-gen judge"))
        trained = Judge()
    generator = generator_for(DATA_SEED, "glyph-gen judge's examples")
    images, labels, styles = _all_images("train")

    def loss_of(_: int) -> Tensor:
        rows = torch.randint(len(labels), (BATCH,), generator=generator)
        strength = MOST_NOISE * torch.rand(BATCH, 1, 1, generator=generator)
        noisy = images[rows].float() / 255 + strength * torch.randn(images[rows].shape, generator=generator)
        class_logits, style_logits = trained.name(trained.see(noisy))
        return functional.cross_entropy(class_logits, labels[rows]) + functional.cross_entropy(
            style_logits, styles[rows]
        )

    fit(trained.parameters(), loss_of, num_steps=STEPS, rate=RATE, decay=0.01)
    return trained.eval().requires_grad_(False)


def accuracy(critic: Judge, split: Split) -> Mapping[str, float]:
    """Return the shares of real images that a judge names rightly: "joint", "class" and "style"."""
    images, labels, styles = _all_images(split)
    with torch.inference_mode(), single_threaded():
        named = [logits.argmax(1) for logits in critic.name(critic.see(images.float() / 255))]
    right = named[0] == labels, named[1] == styles
    parts = {"joint": right[0] & right[1], "class": right[0], "style": right[1]}
    return {name: part.double().mean().item() for name, part in parts.items()}


@cache
def judge() -> Judge:
    """Return the judge that comes with the package, frozen.

    Raises:
        StudyError: its weights are not those that scores are made with.
    """
    found = hashlib.sha256(FILE.read_bytes()).hexdigest() if FILE.exists() else "no file"
    if found != SHA256:
        raise StudyError(
            f"the judge of glyph-gen is not the one that scores are made with: {FILE} has sha256 {found}, expected "
            f"{SHA256}. Install cuvee again; scores by another judge cannot be compared."
        )
    weights, _ = merge_in_memory(Recipe.from_mapping({"cuvee": 1, "method": "copy", "models": [str(FILE)]}))
    shipped = Judge()
    shipped.load_state_dict(weights)
    return shipped.eval().requires_grad_(False)
