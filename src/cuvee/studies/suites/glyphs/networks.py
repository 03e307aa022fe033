"""Networks that name a glyph: residual MLPs of four widths, a small CNN and a small ViT, under one frozen head.

The head stands for the text tower of CLIP: directions of the classes, drawn once, the same in every model. No network
has running statistics, which would not merge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.studies.seeds import seed_for
from cuvee.studies.suites.glyphs.data import DATA_SEED, IMAGE_SIZE, NUM_CLASSES

__all__ = ["PLANS", "Network", "new_network"]

FEATURES = 64
HEAD_LENGTH = 3.0  # of each direction: features have length 8 after the norm, so a match is worth up to 24
PATCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network's shape.

    Attributes:
        kind: of the trunk.
        width: of its layers; channels of the CNN.
        depth: blocks.
        num_heads: of attention.
        targets: linear layers that adapters go on, by the end of their names.
        inputs: those of them whose inputs (IA)³ scales, instead of outputs.
    """

    kind: Literal["mlp", "cnn", "vit"]
    width: int
    depth: int = 3
    num_heads: int = 4
    targets: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


PLANS: Mapping[str, Plan] = {
    "mlp-s": Plan(kind="mlp", width=48, targets=("fc1", "fc2"), inputs=("fc2",)),
    "mlp-m": Plan(kind="mlp", width=128, targets=("fc1", "fc2"), inputs=("fc2",)),
    "mlp-l": Plan(kind="mlp", width=256, targets=("fc1", "fc2"), inputs=("fc2",)),
    "mlp-xl": Plan(kind="mlp", width=512, targets=("fc1", "fc2"), inputs=("fc2",)),
    "cnn": Plan(kind="cnn", width=16),
    "vit": Plan(kind="vit", width=64, targets=("q", "v", "fc1", "fc2"), inputs=("fc2",)),
}


class Block(nn.Module):
    """A residual MLP: norm, twice as wide, back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same."""
        y: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(x))))
        return x + y


class Attention(nn.Module):
    """Self-attention, then a residual MLP."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.mlp = Block(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, tokens, width) to the same."""
        y = self.norm(x)
        q, k, v = (each(y).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(3)
        out: Tensor = self.mlp(x + self.o((weights @ v).transpose(1, 2).flatten(2)))
        return out


class Convolution(nn.Module):
    """Convolution, norm over the whole image, activation."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
        self.norm = nn.GroupNorm(1, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        return functional.gelu(self.norm(self.conv(x)))


class Network(nn.Module):
    """Images to logits of all classes."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        width = plan.width
        if plan.kind == "cnn":
            shapes = ((1, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 2))
            self.blocks = nn.ModuleList(Convolution(*shape) for shape in shapes)
            last = 2 * width * (IMAGE_SIZE // 4) ** 2
        elif plan.kind == "vit":
            self.embed = nn.Linear(PATCH**2, width)
            self.positions = nn.Parameter(torch.randn((IMAGE_SIZE // PATCH) ** 2, width) * 0.1)
            self.blocks = nn.ModuleList(Attention(width, plan.num_heads) for _ in range(plan.depth))
            last = width
        else:
            self.embed = nn.Linear(IMAGE_SIZE**2, width)
            self.blocks = nn.ModuleList(Block(width) for _ in range(plan.depth))
            last = width
        self.projection = nn.Linear(last, FEATURES)
        self.norm = nn.LayerNorm(FEATURES)
        self.head = nn.Linear(FEATURES, NUM_CLASSES, bias=False)
        self.head.weight.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (n, 16, 16) uint8, to logits, (n, 32) float32."""
        logits: Tensor = self.head(self.norm(self.projection(self._features(2 * images.float() / 255 - 1))))
        return logits

    def _features(self, x: Tensor) -> Tensor:
        if self.plan.kind == "cnn":
            x = x[:, None]
        elif self.plan.kind == "vit":
            tokens = x.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).flatten(3).flatten(1, 2)
            x = self.embed(tokens) + self.positions
        else:
            x = self.embed(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return x.mean(1) if self.plan.kind == "vit" else x.flatten(1)


def new_network(architecture: str, seed: int) -> Network:
    """Make a network with fresh weights, and the head that all share. The caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(PLANS[architecture])
        torch.manual_seed(seed_for(DATA_SEED, "glyphs head"))
        directions = torch.randn(NUM_CLASSES, FEATURES)
        network.head.weight.copy_(HEAD_LENGTH * directions / directions.norm(dim=1, keepdim=True))
    return network
