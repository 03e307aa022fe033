"""The language models of a declared suite, each opened once, with the tokenizer that all models of a network share."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

from torch import Tensor, nn

from cuvee.studies.external.adapters.experts import drawn, few, train_expert
from cuvee.studies.external.adapters.hosted import Hosted
from cuvee.studies.external.adapters.language import Language, open_model
from cuvee.studies.external.adapters.prompts import Question
from cuvee.studies.external.declaration import Declaration, Remote
from cuvee.studies.external.places import model_folder
from cuvee.studies.seeds import generator_for
from cuvee.studies.suite import Cell, Trained, Training, Weights

__all__ = ["Speakers"]


class Speakers:
    """Opens models and tokenizers.

    Args:
        declaration: of the suite.
        length: tokens of an input, at most.
        generate: tokens that are written, at most.
    """

    def __init__(self, declaration: Declaration, length: int, generate: int) -> None:
        self._declaration, self._length, self._generate = declaration, length, generate
        self.hosted = cache(self._open)
        self.language = cache(self._speak)

    def read(self, source: Remote, architecture: str) -> Trained:
        """Return a published model."""
        network, folder = self._declaration.networks[architecture], model_folder(source)
        return Hosted(open_model(folder, network.kind), network, folder).trained()

    def train(
        self,
        training: Training,
        start: Weights,
        num_examples: int,
        *,
        stream: str,
        asked: Callable[[Cell], Sequence[Question]],
        score: Callable[[nn.Module, Cell], float],
    ) -> Trained:
        """Train an expert, or a multitask model: a batch has questions of all cells.

        Args:
            training: what to train.
            start: weights that it starts from.
            num_examples: how many it sees at most.
            stream: name of the stream of random numbers that draws batches.
            asked: questions of a cell to train on.
            score: validation score of the network in a cell.
        """
        recipe, language = self._declaration.training, self.language(training.architecture)
        assert recipe is not None
        hosted = self.hosted(training.architecture).copy()
        hosted.put(start)
        parts = [few(asked(cell), training.shots) for cell in training.cells]
        generator = generator_for(training.seed, f"{stream} {[cell.name for cell in training.cells]}")
        batch = int(recipe.batch.value or 1)

        def loss_of(network: nn.Module) -> Tensor:
            return language.mean_loss(network, [(each.prompt, each.target) for each in drawn(parts, batch, generator)])

        def validate() -> float:
            return fmean(score(hosted.module, cell) for cell in training.cells)

        return train_expert(hosted, training, recipe, num_examples, loss_of=loss_of, validate=validate)

    def kind(self, architecture: str) -> str:
        """Return the class of a network's models."""
        return self._declaration.networks[architecture].kind

    def _folder(self, architecture: str) -> Path:
        """Return the folder whose tokenizer is taken: the strong base's, where there is one."""
        bases = self._declaration.networks[architecture].bases
        return model_folder(bases.get("strong") or bases["weak"])

    def _open(self, architecture: str) -> Hosted:
        network, folder = self._declaration.networks[architecture], self._folder(architecture)
        return Hosted(open_model(folder, network.kind), network, folder)

    def _speak(self, architecture: str) -> Language:
        return Language(self._folder(architecture), self.kind(architecture), self._length, self._generate)
