"""The demo's network: a small convolutional classifier, and its life as a checkpoint folder."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.sources.open import open_source
from cuvee.tensors.convert import from_bytes
from cuvee.writers.save import save_state_dict

__all__ = ["DigitNetwork", "load_network", "new_network", "save_network"]

CHANNELS = 16
FEATURES = 64
DIGITS = 10
# Length of each row of the head. Features have length 8 (layer norm over 64), so a match is worth up to 24: enough to
# be sure of a digit after a small change of the weights, and small changes are what merges well.
HEAD_LENGTH = 3.0


class Layer(nn.Module):
    """Convolution, normalisation over the whole image (no running statistics: those would not merge), activation."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1)
        self.norm = nn.GroupNorm(1, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        return functional.gelu(self.norm(self.conv(x)))


class DigitNetwork(nn.Module):
    """Ten-way classifier of 16 x 16 images, 47,000 parameters.

    The head is drawn once and frozen, so that base, experts and merges share one space of labels: ten orthogonal
    directions.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = ((1, CHANNELS, 1), (CHANNELS, 2 * CHANNELS, 2), (2 * CHANNELS, 2 * CHANNELS, 2))
        self.layers = nn.ModuleList(Layer(*width) for width in widths)
        self.projection = nn.Linear(2 * CHANNELS * 4 * 4, FEATURES)
        self.norm = nn.LayerNorm(FEATURES)
        self.head = nn.Linear(FEATURES, DIGITS, bias=False)
        nn.init.orthogonal_(self.head.weight, gain=HEAD_LENGTH)
        self.head.weight.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, 1, 16, 16) to logits (n, 10)."""
        x = 2 * images - 1
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(self.norm(self.projection(x.flatten(1))))
        return logits


def new_network(seed: int) -> DigitNetwork:
    """Make a network with fresh weights. The caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitNetwork()


def save_network(network: DigitNetwork, folder: Path) -> None:
    """Write the network as an ordinary checkpoint: ``model.safetensors`` and ``config.json``."""
    config = {"model_type": "cuvee-demo", "channels": CHANNELS, "features": FEATURES, "num_labels": DIGITS}
    text = json.dumps(config, indent=2) + "\n"
    save_state_dict(folder, network.state_dict(), files={"config.json": text.encode()})


def load_network(folder: Path) -> DigitNetwork:
    """Read a checkpoint folder, whoever wrote it: the training or a merge.

    Raises:
        SourceError: it cannot be read.
    """
    source = open_source(folder)
    state = {}
    try:
        for name, spec in source.header.items():
            data = np.empty(spec.nbytes, dtype=np.uint8)
            source.read_into(data.data, name)
            state[name] = from_bytes(data, spec.dtype).reshape(spec.shape)
    finally:
        source.close()
    network = new_network(0)
    network.load_state_dict(state)
    return network
