"""Adapters that suites train: peft puts them on and writes them, so that they are what users have."""

import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cuvee.errors import MissingLibraryError, StudyError
from cuvee.studies.suite import Trained, Tuning

if TYPE_CHECKING:
    from peft import PeftConfig

__all__ = ["Adapted"]

RANK = 4


class Adapted:
    """A network with an adapter on it, whose own weights are frozen.

    Args:
        network: changed in place.
        tuning: ``"lora"`` (rank 4, alpha 8 unless said otherwise) or ``"ia3"``.
        targets: linear layers that it goes on, by the end of their names; none: as peft knows the architecture.
        inputs: those of them whose inputs (IA)³ scales, instead of outputs.
        seed: of fresh factors.
        rank: of LoRA's factors.
        alpha: of LoRA; twice the rank where it is not said.
        dropout: of LoRA's inputs, in [0, 1].

    Raises:
        MissingLibraryError: peft is not installed.
        StudyError: there is no layer of that name.
    """

    def __init__(
        self,
        network: nn.Module,
        tuning: Tuning,
        targets: Sequence[str],
        inputs: Sequence[str],
        seed: int,
        rank: int = RANK,
        alpha: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        try:
            import peft
        except ImportError as error:
            raise MissingLibraryError(
                "adapters are trained with peft, which is not installed; run: pip install 'cuvee[studies]'"
            ) from error
        self._config: PeftConfig = (
            peft.LoraConfig(
                r=rank,
                lora_alpha=2 * rank if alpha is None else alpha,
                lora_dropout=dropout,
                target_modules=list(targets) or None,
            )
            if tuning == "lora"
            else peft.IA3Config(target_modules=list(targets) or None, feedforward_modules=list(inputs) or None)
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of peft, about layers that it does not know by their model
            torch.manual_seed(seed)
            try:
                self.network = peft.get_peft_model(network, self._config)
            except ValueError as error:
                raise StudyError(
                    f"an adapter cannot be put on the network: {' '.join(str(error).split())} Change 'targets'."
                ) from error
        self._state = peft.get_peft_model_state_dict

    @property
    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return [each for each in self.network.parameters() if each.requires_grad]

    def trained(self) -> Trained:
        """Return the adapter as peft writes it."""
        config = {key: _plain(value) for key, value in self._config.to_dict().items()}
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        tensors = {name: value.detach().clone() for name, value in self._state(self.network).items()}
        return Trained(tensors=tensors, files={"adapter_config.json": text.encode()})


def _plain(value: Any) -> Any:
    """Put sets, whose order is no order, into one."""
    return sorted(value) if isinstance(value, set) else value
