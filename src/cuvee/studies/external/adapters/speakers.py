"""The language models of a declared suite, each opened once, with the tokenizer that all models of a network share."""

from functools import cache
from pathlib import Path

from cuvee.studies.external.adapters.hosted import Hosted
from cuvee.studies.external.adapters.language import Language, open_model
from cuvee.studies.external.declaration import Declaration, Remote
from cuvee.studies.external.places import model_folder
from cuvee.studies.suite import Trained

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
