"""Accuracy of a classifier of texts or images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cuvee.errors import MissingLibraryError, ScoreError
from cuvee.evaluate.data import Row, Table, word_in
from cuvee.evaluate.declare import Count, column_of, score
from cuvee.evaluate.measure import Measure, share
from cuvee.evaluate.subject import Subject
from cuvee.sources.strict_json import shown

if TYPE_CHECKING:
    import torch

__all__ = ["classification"]

Name = Annotated[str, column_of("data")]


def _readable(settings: Mapping[str, Any]) -> str:
    """Verify that the examples are texts or images, and that images can be read."""
    if settings["image"]:
        try:
            import PIL  # noqa: F401
        except ImportError as error:
            raise MissingLibraryError(
                "images are read with Pillow, which is not installed; run: pip install pillow"
            ) from error
    if bool(settings["text"]) == bool(settings["image"]):
        return "the examples are texts or images: name one column, text=COLUMN or image=COLUMN."
    if settings["image"] and settings["pair"]:
        return "an image has no second text: leave 'pair' out."
    for row in settings["data"].rows:
        for column in filter(None, (settings["text"], settings["pair"], settings["image"])):
            value = word_in(row, column)
            if settings["image"] and not (row.path.parent / value).is_file():
                return f"{row.place}: there is no image {row.path.parent / value}."
    return ""


def _suits(subject: Subject, settings: Mapping[str, Any]) -> str:
    """Verify that the model takes such examples, and knows every label."""
    is_image = subject.can("image_classifier")
    if is_image != bool(settings["image"]):
        kind, column = ("images", "image") if is_image else ("texts", "text")
        return f"the model is a {subject.architecture} and names {kind}; name their column: {column}=COLUMN."
    numbers = _numbers(subject)
    for row in settings["data"].rows:
        value = row.values[settings["label"]]
        if _number(value, numbers) is None:
            return f"{row.place}: the label {shown(value)} is none of the model's: {', '.join(list(numbers)[:20])}."
    return ""


@score(models=("text_classifier", "image_classifier"), check=_readable, suits=_suits)
def classification(
    subject: Subject,
    *,
    data: Table,
    text: Name = "",
    pair: Name = "",
    image: Name = "",
    label: Name = "label",
    batch: Count = 16,
) -> Sequence[Measure]:
    """Share of texts or images that a classifier names rightly.

    The model's own head decides: the class with the largest logit is its answer. Labels are names as in its
    configuration (`label2id`), or numbers of classes.

    Args:
        data: table of examples (.jsonl, .csv, .tsv).
        text: column of the texts.
        pair: column of second texts, for models that compare two.
        image: column of paths of images, relative to the table.
        label: column of the right answers.
        batch: examples at a time.
    """
    import torch

    numbers = _numbers(subject)
    hits: list[bool] = []
    with torch.inference_mode():
        for first in range(0, len(data.rows), batch):
            rows = data.rows[first : first + batch]
            inputs = _images(subject, rows, image) if image else _texts(subject, rows, text, pair)
            logits = subject.network(**inputs).logits
            answers = torch.where(logits.isfinite().all(-1), logits.argmax(-1), -1).tolist()  # what is NaN is no answer
            hits += [answer == _number(row.values[label], numbers) for row, answer in zip(rows, answers, strict=True)]
    return [share("accuracy", hits)]


def _numbers(subject: Subject) -> Mapping[str, int]:
    """Return the model's classes by name."""
    named = subject.settings.id2label or {}
    return {str(name): int(number) for number, name in named.items()}


def _number(value: object, numbers: Mapping[str, int]) -> int | None:
    """Return the number of a label, or None if the model has no such class."""
    if str(value) in numbers and not isinstance(value, int | bool):
        return numbers[str(value)]
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if number in numbers.values() and not isinstance(value, bool) else None


def _texts(subject: Subject, rows: Sequence[Row], text: str, pair: str) -> "Mapping[str, torch.Tensor]":
    """Make the network's input of texts."""
    texts = [word_in(row, text) for row in rows]
    return subject.encode(texts, [word_in(row, pair) for row in rows] if pair else None)


def _images(subject: Subject, rows: Sequence[Row], column: str) -> "Mapping[str, torch.Tensor]":
    """Make the network's input of images."""
    from PIL import Image

    images = []
    for row in rows:
        path = row.path.parent / word_in(row, column)
        try:
            with Image.open(path) as image:
                images.append(image.convert("RGB"))
        except OSError as error:
            raise ScoreError(f"{row.place}: the image {path} cannot be read: {error}.") from error
    inputs = subject.image_processor(images=images, return_tensors="pt")
    return {"pixel_values": inputs["pixel_values"].to(subject.device, subject.network.dtype)}
