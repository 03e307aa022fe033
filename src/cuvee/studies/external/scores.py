"""How a declared suite scores, read from its part of the file, one function for each kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from cuvee.studies.external.document import Part
from cuvee.studies.external.scoring import Drawings, Harness, Images, Nothing, Scoring, Task, Texts
from cuvee.studies.suite import Cell

__all__ = ["KINDS", "read_scoring"]

OF_CELL = ("a", "b")
OF_SPLIT = (*OF_CELL, "split")
METRICS: tuple[Literal["accuracy", "exact_match", "squad", "rouge"], ...] = (
    "accuracy", "exact_match", "squad", "rouge",
)  # fmt: skip


def read_scoring(part: Part, cells: Sequence[Cell]) -> Scoring:
    """Read the part ``scoring``.

    Args:
        part: it.
        cells: of the suite; each must be scored somehow.

    Raises:
        StudyError: something in it is wrong; names file and line.
    """
    found = KINDS[part.one_of("kind", list(KINDS))](part, cells)
    part.done()
    return found


def _images(part: Part, cells: Sequence[Cell]) -> Images:
    return Images(
        prompt=part.template("prompt", ("class",)),
        lists=part.template("lists", OF_SPLIT),
        classes=_classes(part, cells) if part.has("classes") else {},
        class_file=part.template("class_file", OF_CELL) if not part.has("classes") else "",
        label="folder" if part.one_of("label", ("number", "folder"), "number") == "folder" else "number",
        head="shared" if part.one_of("head", ("shared", "cell"), "cell") == "shared" else "cell",
    )


def _classes(part: Part, cells: Sequence[Cell]) -> Mapping[str, tuple[str, ...]]:
    """Read names of classes by value of the first attribute."""
    inner = part.part("classes")
    found = {a: inner.texts(a) for a in dict.fromkeys(cell.a for cell in cells)}
    inner.done()
    return found


def _texts(part: Part, cells: Sequence[Cell]) -> Texts:
    inner = part.part("tasks")
    tasks = {a: _task(inner.part(a)) for a in dict.fromkeys(cell.a for cell in cells)}
    inner.done(list(tasks))
    return Texts(
        tasks=tasks,
        files=part.template("files", OF_SPLIT),
        length=part.whole("length", least=1),
        generate=part.whole("generate", 1, least=1),
    )


def _task(part: Part) -> Task:
    choices = part.texts("choices", ())
    if len(choices) == 1:
        raise part.error("choices", f"a choice is between two answers at least; found '{choices[0]}' alone.")
    said = part.one_of("metric", ("accuracy",) if choices else METRICS[1:], "accuracy" if choices else "exact_match")
    found = Task(
        prompt=part.text("prompt"),
        choices=choices,
        answer=part.text("answer") if choices else "",
        target="" if choices else part.text("target"),
        metric=METRICS[METRICS.index(said)],
    )
    part.done()
    return found


def _harness(part: Part, cells: Sequence[Cell]) -> Harness:
    inner = part.part("tasks")
    tasks = {cell: inner.texts(cell.name) for cell in cells}
    inner.done()
    return Harness(
        tasks=tasks,
        metrics=part.texts("metrics"),
        validation=part.whole("validation", least=1),
        files=part.template("files", OF_SPLIT, ""),
        shots=part.whole("shots", 0),
        folder=part.text("folder", ""),
        runs_code=part.texts("runs_code", ()),
        length=part.whole("length", 512, least=1),
    )


def _drawings(part: Part, cells: Sequence[Cell]) -> Drawings:
    return Drawings(
        prompt=part.template("prompt", ("class", "b")),
        judge=part.text("judge"),
        judged_a=part.template("judged_a", ("class",)),
        judged_b=part.template("judged_b", ("b",)),
        lists=part.template("lists", OF_SPLIT),
        classes=_classes(part, cells),
        steps=part.whole("steps", least=1),
        guidance=part.number("guidance"),
        count=part.whole("count", least=1),
        size=part.whole("size", least=1),
    )


def _nothing(part: Part, cells: Sequence[Cell]) -> Nothing:  # noqa: ARG001 - as the others
    return Nothing(why=part.text("why"))


KINDS: Mapping[str, Callable[[Part, Sequence[Cell]], Scoring]] = {
    "image-classification": _images,
    "text-to-text": _texts,
    "lm-eval": _harness,
    "image-generation": _drawings,
    "none": _nothing,
}
"""What ``kind`` can be."""
