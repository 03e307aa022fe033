"""A velocity field over images: a residual MLP that time, class and style modulate.

The network says where the image is going, x̂ = f(x, t, class, style), and the velocity of the straight path that leads
there is v = (x̂ - x) / (1 - t). That is the same family of fields, and a layer narrower than the image loses no noise
that the velocity would have to give back. Every condition has its embedding from the start, so that combinations that
no training has seen can be asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.studies.suites.glyph_gen.data import ALL_STYLES, IMAGE_SIZE, NUM_CLASSES

__all__ = ["PLANS", "TARGETS", "Network", "Plan", "flops_of", "new_network"]

PIXELS = IMAGE_SIZE**2
WAVES = 16  # frequencies that tell the time, each as sine and cosine
CONDITION = 64  # width of the embeddings
TARGETS = ("fc1", "fc2", "modulation", "embed", "out")
"""Linear layers that adapters go on, by the end of their names: all but that of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network's shape.

    Attributes:
        width: of the residual stream.
        depth: blocks.
    """

    width: int
    depth: int = 3


PLANS: Mapping[str, Plan] = {"flow-s": Plan(width=128), "flow-m": Plan(width=224)}


class Block(nn.Module):
    """A residual MLP, twice as wide inside, whose input is scaled and shifted by the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(CONDITION, 2 * width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map (n, width) and (n, condition) to (n, width)."""
        scale, shift = self.modulation(condition).chunk(2, 1)
        y: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(x) * (1 + scale) + shift)))
        return x + y


class Network(nn.Module):
    """Noisy images, times and conditions to velocities."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.classes = nn.Embedding(NUM_CLASSES, CONDITION)
        self.styles = nn.Embedding(len(ALL_STYLES), CONDITION)
        self.time = nn.Linear(2 * WAVES, CONDITION)
        self.embed = nn.Linear(PIXELS, plan.width)
        self.blocks = nn.ModuleList(Block(plan.width) for _ in range(plan.depth))
        self.norm = nn.LayerNorm(plan.width)
        self.out = nn.Linear(plan.width, PIXELS)

    def aim(self, x: Tensor, t: Tensor, labels: Tensor, styles: Tensor) -> Tensor:
        """Say where images are going.

        Args:
            x: images on their way, (n, 256) float32: noise at time 0, pixels in [-1, 1] at time 1.
            t: times, (n,) float32 in [0, 1).
            labels: classes, (n,) int64.
            styles: places in `ALL_STYLES`, (n,) int64.
        """
        angles = t[:, None] * torch.arange(1, WAVES + 1) * (torch.pi / 2)
        condition = self.time(torch.cat([angles.sin(), angles.cos()], 1)) + self.classes(labels) + self.styles(styles)
        condition = functional.silu(condition)
        y = self.embed(x)
        for block in self.blocks:
            y = block(y, condition)
        aimed: Tensor = self.out(functional.gelu(self.norm(y)))
        return aimed

    def forward(self, x: Tensor, t: Tensor, labels: Tensor, styles: Tensor) -> Tensor:
        """Return velocities, (n, 256); arguments as of `aim`."""
        return (self.aim(x, t, labels, styles) - x) / (1 - t[:, None])


def new_network(architecture: str, seed: int) -> Network:
    """Make a network with fresh weights. The caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(PLANS[architecture])


def flops_of(plan: Plan) -> int:
    """Return operations of one velocity of one image: two for each multiplication with a weight of a linear layer."""
    block = CONDITION * 2 * plan.width + 4 * plan.width**2
    return 2 * (2 * WAVES * CONDITION + 2 * PIXELS * plan.width + plan.depth * block)
