"""What an adapter is: it reads the data of a suite, trains experts on them, and scores models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cuvee.studies.external.declaration import Remote
from cuvee.studies.suite import Cell, Pictures, Scores, Split, Trained, Training, Weights

__all__ = ["Adapter"]


class Adapter(Protocol):
    """Runs one declared suite, from files that lie on this machine.

    Attributes:
        libraries: modules that it needs, and the extra of cuvee that each comes with.
    """

    libraries: tuple[tuple[str, str], ...]

    def files(self, cells: Sequence[Cell]) -> Sequence[Path]:
        """List the files of data that it reads for some cells; whether they are there or not."""
        ...

    def examine(self) -> None:
        """Read all examples, so that what is wrong in the data is told before anything is trained.

        Raises:
            ScoreError: a file cannot be read, or is empty.
            StudyError: an example is not what the declaration says.
        """
        ...

    def models(self, architecture: str) -> Sequence[Remote]:
        """List what has to lie here besides bases and experts, such as a judge."""
        ...

    def read(self, source: Remote, architecture: str) -> Trained:
        """Return the part of a published model that is trained and merged."""
        ...

    def train(self, training: Training, start: Weights, num_examples: int) -> Trained:
        """Train an expert, or a multitask model.

        Args:
            training: what to train.
            start: weights that it starts from, which stay as they are.
            num_examples: how many it sees at most, each counted as often as it is seen.
        """
        ...

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """Measure a model, or the mean of the outputs of several; see `Suite.score`."""
        ...

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:
        """Return images that a model draws of each cell; {} where it draws none."""
        ...
