"""What a suite is: a grid of cells, networks to train on them, and scores. Knows no study, no method and no file.

A *cell* is a combination of two attributes, such as a group of classes in a style, or a task in a language.
*Constituents* (experts) are trained on the held-in cells, one each, from a common base; the other cells are unseen
combinations of the same attributes. That is the protocol of Tam et al., "Realistic Evaluation of Model Merging for
Compositional Generalization" (arXiv 2409.18314).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "About",
    "Architecture",
    "Cell",
    "Metric",
    "Pictures",
    "Role",
    "Scores",
    "Split",
    "Suite",
    "Trained",
    "Training",
    "Tuning",
    "Weights",
]

Split = Literal["train", "statistics", "validation", "test"]
"""Disjoint parts of a cell's data: to train on, to estimate statistics from, to choose settings by, and to report."""
Role = Literal["weak", "strong", "expert", "multitask"]
"""What a model is trained to be: a weak or a strong base, a constituent of one cell, or one model for several cells."""
Tuning = Literal["full", "lora", "ia3"]
"""What is trained: all weights, or an adapter (LoRA, Hu et al., 2021; (IA)³, Liu et al., 2022)."""
Weights: TypeAlias = Mapping[str, "Tensor"]
"""A whole model's state dict, on the CPU."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """A combination of two attributes.

    Attributes:
        a: value of the first, such as a group of classes or a task.
        b: value of the second, such as a style or a language.
    """

    a: str
    b: str

    @property
    def name(self) -> str:
        """A label for files and recipes."""
        return f"{self.a}-{self.b}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What is measured in a cell.

    Attributes:
        name: a word or two, in the field's language: "accuracy".
        what: one sentence.
        is_better_high: larger values are better.
        is_share: values are in [0, 1], and told in percent.
    """

    name: str
    what: str
    is_better_high: bool = True
    is_share: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network of a suite.

    Attributes:
        what: a few words: "residual MLP, width 64".
        num_parameters: weights that are trained and merged.
        flops: floating-point operations of a forward pass of one example.
        tunings: how constituents can be trained.
    """

    what: str
    num_parameters: int
    flops: float
    tunings: tuple[Tuning, ...] = ("full",)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a suite says of itself; knowing it costs no data and no training.

    Attributes:
        name: in commands and results.
        version: grows when the same training would give another file, or the same file another score.
        what: one sentence for users.
        axes: what the two attributes are: ("group", "style").
        metrics: what is measured; the first one is what settings are chosen by. In [0, 1], larger is better.
        cells: all that are scored.
        held_in: those with constituents, in order.
        architectures: networks by name.
        sizes: names of networks of one family, from small to large, for studies of size.
        bases: what the weak and the strong base have been trained on, a sentence each.
        libraries: distributions whose version decides data or weights, besides torch and numpy.
        chance: score of guessing in a cell, of the first metric, by the cell's name; 0 where it is not said.
        draws: models draw images themselves, instead of being shown some.
        examples: how many a cell has of each split that is scored: forward passes, where an example takes several.
    """

    name: str
    version: int
    what: str
    axes: tuple[str, str]
    metrics: tuple[Metric, ...]
    cells: tuple[Cell, ...]
    held_in: tuple[Cell, ...]
    architectures: Mapping[str, Architecture]
    sizes: tuple[str, ...]
    bases: Mapping[Literal["weak", "strong"], str]
    libraries: tuple[str, ...] = ()
    chance: Mapping[str, float] = field(default_factory=dict)
    draws: bool = False
    examples: Mapping[Split, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A model to train: all that decides its bytes, besides the suite's version and the libraries'.

    Attributes:
        role: what it becomes.
        architecture: a name of the suite's.
        seed: decides fresh weights and the order of examples. The data are the same for every seed.
        cells: what an expert (one) or a multitask model (several) is trained on; empty for a base.
        start: what it is trained from; None for a base, which starts from fresh weights or from what a package ships.
        tuning: what is trained.
        shots: only so many training examples of each cell; None takes all.
        effort: factor on the suite's number of steps. A multitask model of k cells takes k times an expert's.
    """

    role: Role
    architecture: str
    seed: int
    cells: tuple[Cell, ...] = ()
    start: "Training | None" = None
    tuning: Tuning = "full"
    shots: int | None = None
    effort: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training made: the content of a checkpoint's folder, or of an adapter's, as peft writes it.

    Attributes:
        tensors: a state dict. Of an adapter: peft's names (``base_model.model.MODULE.lora_A.weight``).
        files: what lies beside the weights, by name: ``config.json``, or ``adapter_config.json``, which makes it an
            adapter.
    """

    tensors: Weights
    files: Mapping[str, bytes]


Scores: TypeAlias = Mapping[Cell, Mapping[str, float]]
"""Values by cell and name of the metric; the mean over the cell's examples of the split."""
Pictures: TypeAlias = Mapping[Cell, "Tensor"]
"""Images by cell, (n, height, width) float32, 0 is black and 1 is white."""


class Suite(Protocol):
    """A grid of cells that models are trained on and scored with.

    The same arguments give the same bytes on one platform with one set of library versions, in whatever process and
    order. Runs on one thread. Data that are drawn once are kept for the life of the process.
    """

    @property
    def about(self) -> About:
        """What it is."""
        ...

    def digests(self) -> Mapping[str, str]:
        """Draw the data and return a digest per part, as `about.version` has them: equal to those that are shipped.

        Raises:
            StudyError: a part has another digest: this machine draws other data than the suite is made of.
        """
        ...

    def num_examples(self, training: Training) -> int:
        """Return how many examples (each counted as often as it is seen) the training takes."""
        ...

    def train(self, training: Training, start: Weights | None) -> Trained:
        """Train a model.

        Args:
            training: what to train.
            start: weights of `training.start`, which stay as they are; None where there is none.
        """
        ...

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """Measure a model, or the mixture of several: the mean of their outputs.

        Args:
            models: state dicts with equal names and shapes.
            architecture: their network.
            cells: what to measure.
            split: which examples; never "train".
        """
        ...

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:
        """Return `count` images of each cell: the model's if it draws, else the data's; {} where there are none."""
        ...
