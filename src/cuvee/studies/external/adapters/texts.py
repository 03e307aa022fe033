"""Tasks from text to text: the likeliest of some answers, or an answer that is written.

Answers to choose from are ranked by the likelihood of the whole answer, as in Tam et al. (arXiv 2409.18314); it is not
divided by the answer's length.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from cuvee.errors import ScoreError
from cuvee.studies.external.adapters.agreement import AGREEMENTS
from cuvee.studies.external.adapters.prompts import Question, questions_in
from cuvee.studies.external.adapters.speakers import Speakers
from cuvee.studies.external.declaration import Declaration, Remote
from cuvee.studies.external.places import data_folder
from cuvee.studies.external.scoring import Texts
from cuvee.studies.suite import Cell, Pictures, Scores, Split, Trained, Training, Weights

__all__ = ["TextAdapter"]

BATCH = 32  # pairs of prompt and answer that are scored at a time


class TextAdapter:
    """Runs a suite of tasks from text to text; see `Adapter`.

    Args:
        declaration: of the suite.
    """

    libraries: tuple[tuple[str, str], ...] = (("transformers", "hf"),)

    def __init__(self, declaration: Declaration) -> None:
        assert isinstance(declaration.scoring, Texts)
        self._declaration, self._scoring = declaration, declaration.scoring
        self._speakers = Speakers(declaration, declaration.scoring.length, declaration.scoring.generate)
        self._asked = cache(self._questions)

    def files(self, cells: Sequence[Cell]) -> Sequence[Path]:
        """See `Adapter.files`."""
        found = [self._file(cell, split) for cell in cells for split in ("validation", "test")]
        return found + [self._file(cell, "train") for cell in self._declaration.held_in]

    def examine(self) -> None:
        """See `Adapter.examine`."""
        for cell in self._declaration.cells:
            for split in ("validation", "test"):
                self._asked(cell, split)
        for cell in self._declaration.held_in:
            self._asked(cell, "train")

    def models(self, architecture: str) -> Sequence[Remote]:  # noqa: ARG002
        """See `Adapter.models`."""
        return ()

    def read(self, source: Remote, architecture: str) -> Trained:
        """See `Adapter.read`."""
        return self._speakers.read(source, architecture)

    def train(self, training: Training, start: Weights, num_examples: int) -> Trained:
        """See `Adapter.train`."""
        return self._speakers.train(
            training,
            start,
            num_examples,
            stream="texts",
            asked=lambda cell: self._asked(cell, "train"),
            score=lambda network, cell: self._score(
                [self._outputs(network, training.architecture, cell, "validation")], cell, "validation"
            ),
        )

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """See `Adapter.score`; outputs are probabilities of the choices.

        Raises:
            ScoreError: several models should write an answer.
        """
        hosted = self._speakers.hosted(architecture)
        found: dict[Cell, list[Sequence[Tensor | str]]] = {cell: [] for cell in cells}
        for weights in models:
            hosted.put(weights)
            for cell in cells:
                found[cell].append(self._outputs(hosted.module, architecture, cell, split))
        name = self._declaration.metric.name
        return {cell: {name: self._score(outputs, cell, split)} for cell, outputs in found.items()}

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:  # noqa: ARG002
        """Return no images: there are none."""
        return {}

    def _file(self, cell: Cell, split: str) -> Path:
        return data_folder(self._declaration) / self._scoring.files.format(a=cell.a, b=cell.b, split=split)

    def _questions(self, cell: Cell, split: Split) -> Sequence[Question]:
        return questions_in(self._file(cell, split), self._scoring.tasks[cell.a])

    def _outputs(self, network: nn.Module, architecture: str, cell: Cell, split: Split) -> Sequence[Tensor | str]:
        """Return a model's answer to each question: probabilities of the choices, or a text."""
        language, asked = self._speakers.language(architecture), self._asked(cell, split)
        with torch.inference_mode():
            if not self._scoring.tasks[cell.a].choices:
                return [language.written(network, each.prompt) for each in asked]
            pairs = [(each.prompt, choice) for each in asked for choice in each.choices]
            parts = [language.losses(network, pairs[i : i + BATCH]).cpu() for i in range(0, len(pairs), BATCH)]
        return [(-each).softmax(0) for each in torch.cat(parts).split([len(each.choices) for each in asked])]  # type: ignore[no-untyped-call]

    def _score(self, outputs: Sequence[Sequence[Tensor | str]], cell: Cell, split: Split) -> float:
        """Compare what some models answer with what is right."""
        task, asked = self._scoring.tasks[cell.a], self._asked(cell, split)
        if not task.choices:
            if len(outputs) > 1:
                raise ScoreError(f"{self._declaration.name}: answers of '{cell.a}' are written, and texts of several "
                                 "models have no mean. Score the models one by one.")  # fmt: skip
            agrees = AGREEMENTS[task.metric]
            return sum(agrees(str(text), each.target) for text, each in zip(outputs[0], asked, strict=True)) / len(
                asked
            )
        right = 0
        for i, each in enumerate(asked):
            mean = torch.stack([part for model in outputs if isinstance(part := model[i], Tensor)]).mean(0)
            right += int(mean.argmax()) == each.answer
        return right / len(asked)
