"""Networks of transformers, read from a folder, that take the weights of one model after the other."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from cuvee.studies.external.declaration import Network
from cuvee.studies.suite import Trained, Weights

__all__ = ["Hosted", "beside", "device_here"]

KEPT = (".json", ".jinja", ".model", ".txt")  # files beside weights: configuration and tokenizer


def device_here() -> torch.device:
    """Return the GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Hosted:
    """A network, of whose weights some are trained and merged.

    Args:
        module: the network; moved to the GPU where there is one.
        network: what is declared of it.
        folder: where it was read.
        parts: beginnings of the names of the weights that are trained and merged; empty for all.
    """

    def __init__(self, module: nn.Module, network: Network, folder: Path, parts: tuple[str, ...] = ()) -> None:
        self.module = module.to(device_here()).eval()
        self._network, self._folder, self._parts = network, folder, parts
        # Weights that are tied have one name here, the first, so that they are merged once.
        own = {name for name, _ in module.named_parameters()}
        doubled = {name for name, _ in module.named_parameters(remove_duplicate=False)} - own
        self._names = [n for n in module.state_dict() if n not in doubled and (not parts or n.startswith(parts))]

    def copy(self) -> "Hosted":
        """Return one of its own, to train; this one leaves the GPU until it is asked again."""
        self.module.to("cpu")
        return Hosted(copy.deepcopy(self.module), self._network, self._folder, self._parts)

    def put(self, weights: Weights) -> None:
        """Take a model's weights in place of its own."""
        assert set(weights) == set(self._names), set(weights) ^ set(self._names)
        self.module.to(device_here())
        self.module.load_state_dict(dict(weights), strict=False)

    def freeze_others(self) -> None:
        """Let only the weights be trained that are merged."""
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(name in self._names)

    def weights(self) -> Weights:
        """Return a copy of the weights that are merged, on the CPU, in the declared type."""
        state = self.module.state_dict()
        dtype: torch.dtype = getattr(torch, self._network.dtype)
        return {
            name: state[name].detach().to("cpu", dtype if state[name].is_floating_point() else None, copy=True)
            for name in self._names
        }

    def trained(self) -> Trained:
        """Return the model as the runner keeps it."""
        return Trained(tensors=self.weights(), files=beside(self._folder))


def beside(folder: Path) -> Mapping[str, bytes]:
    """Return the small files of a model's folder: configuration, tokenizer."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.suffix in KEPT and not path.name.endswith(".index.json")
    }
