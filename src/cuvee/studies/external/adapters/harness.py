"""Tasks of lm-evaluation-harness by cell, through its Python entry point.

The harness has its own test documents, and none to choose settings by that all tasks would have. So its documents are
divided: the first ones choose, the others are the test. The harness fetches the data of its tasks itself, unless they
are files; experts are trained on files of one's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from torch import nn

from cuvee.errors import ScoreError
from cuvee.evaluate.scores.lm_eval import explained, quiet_harness
from cuvee.studies.external.adapters.prompts import Question, questions_in
from cuvee.studies.external.adapters.speakers import Speakers
from cuvee.studies.external.declaration import Declaration, Remote
from cuvee.studies.external.places import data_folder
from cuvee.studies.external.scoring import ENCODER_DECODER, Harness, Task
from cuvee.studies.suite import Cell, Pictures, Scores, Split, Trained, Training, Weights

__all__ = ["HarnessAdapter"]

BATCH = 8  # questions at a time
TRAINED_ON = Task(prompt="{prompt}", target="{target}", metric="exact_match")


class HarnessAdapter:
    """Runs a suite of tasks of the harness; see `Adapter`.

    Args:
        declaration: of the suite.
    """

    libraries: tuple[tuple[str, str], ...] = (("transformers", "hf"), ("lm_eval", "eval"))

    def __init__(self, declaration: Declaration) -> None:
        assert isinstance(declaration.scoring, Harness)
        self._declaration, self._scoring = declaration, declaration.scoring
        self._speakers = Speakers(declaration, declaration.scoring.length, 1)
        self._loaded = cache(self._load)
        self._asked = cache(self._examples)

    def files(self, cells: Sequence[Cell]) -> Sequence[Path]:  # noqa: ARG002 - scoring is the harness's
        """See `Adapter.files`: what experts are trained on."""
        return [self._file(cell) for cell in self._declaration.held_in] if self._scoring.files else []

    def examine(self) -> None:
        """See `Adapter.examine`: what experts are trained on; documents of its tasks are the harness's affair."""
        for cell in self._declaration.held_in if self._scoring.files else ():
            self._asked(cell)

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
            stream="harness",
            asked=self._asked,
            score=lambda network, cell: self._score(network, training.architecture, cell, "validation"),
        )

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """See `Adapter.score`.

        Raises:
            ScoreError: several models should be scored as one, or the harness fails.
        """
        if len(models) > 1:
            raise ScoreError(
                f"{self._declaration.name}: lm-evaluation-harness scores one model, and no mean of several. Score the "
                "models one by one."
            )
        hosted = self._speakers.hosted(architecture)
        hosted.put(models[0])
        name = self._declaration.metric.name
        return {cell: {name: self._score(hosted.module, architecture, cell, split)} for cell in cells}

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:  # noqa: ARG002
        """Return no images: there are none."""
        return {}

    def _file(self, cell: Cell) -> Path:
        return data_folder(self._declaration) / self._scoring.files.format(a=cell.a, b=cell.b, split="train")

    def _examples(self, cell: Cell) -> Sequence[Question]:
        return questions_in(self._file(cell), TRAINED_ON)

    def _load(self) -> Any:
        """Return what knows the tasks: those of a folder of one's own, or the harness's."""
        from lm_eval.tasks import TaskManager

        if not self._scoring.folder:
            return TaskManager()
        return TaskManager(
            include_path=str(data_folder(self._declaration) / self._scoring.folder), include_defaults=False
        )

    def _score(self, network: nn.Module, architecture: str, cell: Cell, split: Split) -> float:
        """Return the mean over a cell's tasks."""
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        names = list(self._scoring.tasks[cell])
        with quiet_harness(), redirect_stderr(StringIO()), explained(names):  # a study shows a bar of its own
            samples = self._documents(names, split)
            model = HFLM(
                pretrained=network,
                tokenizer=self._speakers.language(architecture).tokenizer,
                backend="seq2seq" if self._speakers.kind(architecture) == ENCODER_DECODER else "causal",
                batch_size=BATCH,
            )
            found = simple_evaluate(
                model=model,
                tasks=names,
                task_manager=self._loaded(),
                num_fewshot=self._scoring.shots,
                samples=samples,
                bootstrap_iters=0,
                log_samples=False,
            )
        values = [self._value(name, found["results"]) for name in names]
        return sum(values) / len(values)

    def _documents(self, names: Sequence[str], split: Split) -> Mapping[str, Sequence[int]]:
        """Return the numbers of the documents of a split, by task; groups are taken apart."""
        from lm_eval.tasks import get_task_dict

        first, found = self._scoring.validation, {}
        for name, task in _leaves(get_task_dict(list(names), self._loaded())):
            count = len(task.eval_docs)
            if count <= first:
                raise ScoreError(
                    f"{self._declaration.name}: the task {name} has {count} documents, and the first {first} of them "
                    "choose settings; none is left for the test. Lower 'validation'."
                )
            found[name] = list(range(first)) if split == "validation" else list(range(first, count))
        return found

    def _value(self, name: str, results: Mapping[str, Mapping[str, Any]]) -> float:
        """Return the first of the declared metrics that a task has."""
        for metric in self._scoring.metrics:
            for key, value in results[name].items():
                if key.partition(",")[0] == metric and isinstance(value, int | float):
                    return float(value)
        known = ", ".join(sorted({key.partition(",")[0] for key in results[name] if "," in key}))
        raise ScoreError(
            f"{self._declaration.name}: the task {name} has no metric {' or '.join(self._scoring.metrics)}; it has "
            f"{known}. Change 'metrics'."
        )


def _leaves(tasks: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Walk through groups of tasks, and groups in them."""
    for name, task in tasks.items():
        if isinstance(task, Mapping):
            yield from _leaves(task)
        else:
            yield str(name), task
