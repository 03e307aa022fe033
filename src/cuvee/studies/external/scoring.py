"""How a declared suite scores a model in a cell: a dataclass for each adapter, and one for there being none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from cuvee.studies.suite import Cell

__all__ = ["DECODER", "ENCODER_DECODER", "Drawings", "Harness", "Images", "Nothing", "Scoring", "Task", "Texts"]

DECODER, ENCODER_DECODER = "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"
"""Classes of transformers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Classification of images with CLIP, whose text tower stays as it is and makes the head.

    Attributes:
        kinds: of the networks that are scored so.
        prompt: text of a class, with ``{class}``.
        lists: files of lines ``path number``, with ``{a}``, ``{b}`` and ``{split}``.
        classes: names of classes by value of the first attribute; empty where a file says them.
        class_file: file of names of classes, one for each line, with ``{a}`` and ``{b}``; "" where `classes` has them.
        label: what says an image's class: the ``"number"`` in the list, an index into the cell's classes, or the
            ``"folder"`` that the image lies in, whose name is the class. Images of other classes are not the cell's.
        head: ``"shared"``: a model chooses among the classes of all cells; ``"cell"``: of the cell's own.
    """

    kinds: ClassVar[tuple[str, ...]] = ("CLIPModel",)
    prompt: str
    lists: str
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    class_file: str = ""
    label: Literal["number", "folder"] = "number"
    head: Literal["shared", "cell"] = "cell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task whose input and output are text.

    Attributes:
        prompt: with ``{column}``, or ``{column.key.0}`` for what lies within.
        choices: answers to choose from by their likelihood, with placeholders as in the prompt; empty: text is
            generated.
        answer: the column with the number, or the text, of the right choice.
        target: the right text, where there are no choices; as the prompt.
        metric: what is measured: of choices ``accuracy``; of texts ``exact_match``, ``squad`` (mean of exact match and
            F1), or ``rouge`` (mean of ROUGE-1, 2 and L).
    """

    prompt: str
    choices: tuple[str, ...] = ()
    answer: str = ""
    target: str = ""
    metric: Literal["accuracy", "exact_match", "squad", "rouge"] = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Tasks from text to text, of encoder-decoders and decoders.

    Attributes:
        kinds: of the networks that are scored so.
        tasks: by the value of the first attribute.
        files: JSON lines, or tables with commas or tabs, with ``{a}``, ``{b}`` and ``{split}``.
        length: tokens of an input, at most.
        generate: tokens that are generated, at most.
    """

    kinds: ClassVar[tuple[str, ...]] = (DECODER, ENCODER_DECODER)
    tasks: Mapping[str, Task]
    files: str
    length: int
    generate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """Tasks of lm-evaluation-harness.

    Attributes:
        kinds: of the networks that are scored so.
        tasks: names of tasks by cell; a cell's score is their mean.
        metrics: the harness's names of what counts; of each task the first that it has.
        validation: the first so many documents of each task choose settings; the others are the test.
        files: as of `Texts`, with columns ``prompt`` and ``target`` to train on; "" where experts are published.
        shots: examples in the prompt.
        folder: of task files of one's own; "" for the harness's.
        runs_code: tasks that run programs that the model writes; cuvee does not.
        length: tokens of an example in training, at most.
    """

    kinds: ClassVar[tuple[str, ...]] = (DECODER, ENCODER_DECODER)
    tasks: Mapping[Cell, tuple[str, ...]]
    metrics: tuple[str, ...]
    validation: int
    files: str = ""
    shots: int = 0
    folder: str = ""
    runs_code: tuple[str, ...] = ()
    length: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawings:
    """Images that Stable Diffusion draws, judged by a CLIP that is not trained.

    Attributes:
        kinds: of the networks that are scored so.
        prompt: what is drawn, with ``{class}`` and ``{b}``.
        judge: name on the hub, or path, of the CLIP.
        judged_a: text of a class, with ``{class}``.
        judged_b: text of a value of the second attribute, with ``{b}``.
        lists: as of `Images`; an image's folder is its class.
        classes: as of `Images`.
        steps: of a drawing.
        guidance: how much the prompt counts.
        count: images of a cell, for each scored split.
        size: edge of an image, in pixels.
    """

    kinds: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline",)
    prompt: str
    judge: str
    judged_a: str
    judged_b: str
    lists: str
    classes: Mapping[str, tuple[str, ...]]
    steps: int
    guidance: float
    count: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No adapter: the suite can be planned, and not be run.

    Attributes:
        kinds: of networks; empty: any.
        why: what is missing, one sentence.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    why: str


Scoring: TypeAlias = Images | Texts | Harness | Drawings | Nothing
