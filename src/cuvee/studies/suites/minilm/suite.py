"""Training and scores of minilm.

A phrase is answered with the label whose direction is nearest to its own. The labels' directions are those that the
pretrained encoder gives their English texts, and never change: the head is part of the score and not of the merge, as
the text tower of CLIP is. With a head of its own for each expert nothing could be asked of a merge on other tasks, and
with a trained one merging would be confounded with how heads are put together. A constituent is trained to choose among
the labels of its own task, as in the code of Tam et al. (arXiv 2409.18314); scores are over the task's labels too.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from cuvee.studies.adapters import Adapted
from cuvee.studies.digests import checked, digest_of
from cuvee.studies.learning import fit
from cuvee.studies.seeds import generator_for, seed_for
from cuvee.studies.suite import (
    About,
    Architecture,
    Cell,
    Metric,
    Pictures,
    Scores,
    Split,
    Trained,
    Training,
    Weights,
)  # fmt: skip
from cuvee.studies.suites.minilm.encoder import DISTRIBUTION, Encoder, embedded
from cuvee.studies.suites.minilm.lexicon import COUNTS, LANGUAGES, TASKS, Question, chance_of, labels, questions

__all__ = ["Minilm"]

NAME = "minilm"
BATCH = 32
STEPS = 48
RATES = {"full": 2e-4, "lora": 4e-3}
RANK = 8
TARGETS = ("query", "value")
SHARPNESS = 20.0  # what a cosine is worth as a logit, as sentence-transformers train with
LENGTH = 12  # pieces of a typical phrase, which operations are counted for
SPLITS: tuple[Split, ...] = ("train", "statistics", "validation", "test")


class Minilm:
    """The suite; see `Suite`.

    Args:
        folder: of another BERT to use in place of the package's, such as a tiny one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._encoder = Encoder(folder)

    @cached_property
    def about(self) -> About:
        """What it is."""
        cells = tuple(Cell(task, language) for task in TASKS for language in LANGUAGES)
        shape = self._encoder.shape
        return About(
            name=NAME,
            version=1,
            what="Real words in a pretrained encoder (all-MiniLM-L6-v2): 6 tasks in 6 languages.",
            axes=("task", "language"),
            metrics=(
                Metric(name="accuracy", what="Share of phrases that are nearest to the right one of the labels."),
            ),
            cells=cells,
            held_in=tuple(Cell(task, language) for task, language in zip(TASKS, LANGUAGES, strict=True)),
            architectures={
                NAME: Architecture(
                    what=f"BERT, {shape.depth} layers, width {shape.width}",
                    num_parameters=shape.num_parameters,
                    flops=float(shape.flops(LENGTH)),
                    tunings=("full", "lora"),
                )
            },
            sizes=(NAME,),
            bases={
                "weak": "Nothing: random weights.",
                "strong": "What the package ships: a billion pairs of mostly English sentences.",
            },
            libraries=(DISTRIBUTION, "transformers", "tokenizers"),
            chance={cell.name: chance_of(cell.a) for cell in cells},
            examples=COUNTS,
        )

    def digests(self) -> Mapping[str, str]:
        """Ask all questions, and look at the encoder's files; see `Suite.digests`."""
        found = {
            f"{cell.name} {split}": _digest(questions(cell, split)) for cell in self.about.cells for split in SPLITS
        }
        found |= {f"encoder {file}": digest for file, digest in self._encoder.digests().items()}
        return checked(NAME, found, json.loads(files(__package__).joinpath("digests.json").read_text()))

    def num_examples(self, training: Training) -> int:
        """See `Suite.num_examples`; a base takes none here."""
        return BATCH * _steps(training) if training.cells else 0

    def train(self, training: Training, start: Weights | None) -> Trained:
        """See `Suite.train`."""
        if not training.cells:
            return self._whole(self._base(training))
        assert start is not None
        network = self._encoder.fresh(0)
        network.load_state_dict(dict(start))
        adapted = None
        if training.tuning != "full":
            adapted = Adapted(network, training.tuning, TARGETS, (), seed_for(training.seed, "adapter"), RANK)
        trained = adapted.network if adapted else network
        parts = [questions(cell, "train")[: training.shots] for cell in training.cells]
        pieces = [self._encoder.pieces_of([each.text for each in part]) for part in parts]
        generator = generator_for(training.seed, f"minilm {training.role} {[cell.name for cell in training.cells]}")

        def loss_of(step: int) -> Tensor:
            turn = step % len(parts)  # a batch is of one cell, so that its questions have the same number of labels
            rows = torch.randint(len(parts[turn]), (BATCH,), generator=generator).tolist()
            found = embedded(trained, [pieces[turn][row] for row in rows])
            chosen = [parts[turn][row] for row in rows]
            return functional.cross_entropy(self._logits(found, chosen), torch.tensor([each.answer for each in chosen]))

        parameters = adapted.parameters if adapted else list(network.parameters())
        fit(parameters, loss_of, num_steps=_steps(training), rate=RATES[training.tuning])
        return adapted.trained() if adapted else self._whole(network.state_dict())

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:  # noqa: ARG002
        """See `Suite.score`; outputs are probabilities of the labels there are to choose from."""
        asked = {cell: questions(cell, split) for cell in cells}
        texts = [each.text for part in asked.values() for each in part]
        sizes = [len(part) for part in asked.values()]
        directions = [self._encoder.encode(texts, model).split(sizes) for model in models]  # type: ignore[no-untyped-call]
        return {
            cell: {"accuracy": self._accuracy(part, [each[i] for each in directions])}
            for i, (cell, part) in enumerate(asked.items())
        }

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:  # noqa: ARG002
        """Return no images: there are none."""
        return {}

    def _base(self, training: Training) -> Weights:
        """Return a base's weights, its own."""
        if training.role == "strong":
            return {name: value.clone() for name, value in self._encoder.pretrained.items()}
        return self._encoder.fresh(seed_for(training.seed, "minilm weak")).state_dict()

    def _whole(self, weights: Weights) -> Trained:
        """Return what a whole model's folder contains."""
        text = json.dumps(self._encoder.config, indent=2, sort_keys=True) + "\n"
        return Trained(tensors=weights, files={"config.json": text.encode()})

    def _accuracy(self, asked: Sequence[Question], directions: Sequence[Tensor]) -> float:
        """Average the models' probabilities, and count how often the likeliest label is right."""
        outputs = torch.stack([self._logits(each, asked).softmax(1) for each in directions]).mean(0)
        right = outputs.argmax(1) == torch.tensor([each.answer for each in asked])
        return right.double().mean().item()

    def _logits(self, directions: Tensor, asked: Sequence[Question]) -> Tensor:
        """Compare phrases' directions, (n, width), with those of their choices: (n, choices)."""
        numbers, head = self._head
        rows = torch.tensor([[numbers[label] for label in each.choices] for each in asked])
        if bool((rows == rows[0]).all()):
            return SHARPNESS * directions @ head[rows[0]].T
        return SHARPNESS * (head[rows] @ directions[:, :, None]).squeeze(2)

    @cached_property
    def _head(self) -> tuple[Mapping[str, int], Tensor]:
        """The labels' numbers, and their directions by the pretrained encoder, (labels, width) float32."""
        texts = labels()
        return {text: i for i, text in enumerate(texts)}, self._encoder.encode(texts, self._encoder.pretrained).clone()


def _steps(training: Training) -> int:
    """Return the number of batches."""
    return max(1, round(STEPS * len(training.cells) * training.effort))


def _digest(asked: Sequence[Question]) -> str:
    """Return a digest of questions."""
    text = json.dumps([(each.text, each.choices, each.answer) for each in asked])
    return digest_of(torch.tensor(list(text.encode()), dtype=torch.uint8))
