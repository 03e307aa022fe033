"""Image files as a network takes them: resized, cropped and scaled as the model's preprocessing file says."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cuvee.errors import StudyError
from cuvee.evaluate.data import read_text

__all__ = ["Eye", "Picture", "listed", "look_for"]

MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training images, by channel (Radford et al., 2021), where no file says others."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A line of a list.

    Attributes:
        path: the image.
        number: of its class.
    """

    path: Path
    number: int


def listed(path: Path) -> Sequence[Picture]:
    """Read a list of images: in each line a path, relative to the list's folder, and the number of a class.

    Raises:
        ScoreError: it cannot be read, or is empty.
        StudyError: a line is something else.
    """
    found = []
    for i, line in enumerate(read_text(path).text.splitlines(), 1):
        name, _, number = line.strip().rpartition(" ")
        if not name or not number.isdecimal():
            raise StudyError(f"{path}:{i}: expected an image and the number of its class, such as 'real/cat/1.jpg 64'.")
        found.append(Picture(path.parent / name, int(number)))
    return found


def look_for(paths: Iterable[Path]) -> None:
    """See that images are there.

    Raises:
        StudyError: one is not.
    """
    for path in paths:
        if not path.is_file():
            raise StudyError(f"{path}: there is no such image. Fetch it, or take it off the list.")


class Eye:
    """Prepares images for a network.

    Args:
        folder: the model's, with ``preprocessor_config.json``, or without, which means as CLIP does.
        size: edge of the network's images, in pixels, where that file says none.
    """

    def __init__(self, folder: Path, size: int) -> None:
        path = folder / "preprocessor_config.json"
        said: Mapping[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        self.edge = _edge(said.get("size"), size)
        self.crop = _edge(said.get("crop_size"), size)
        self._mean = torch.tensor(said.get("image_mean", MEAN)).view(3, 1, 1)
        self._spread = torch.tensor(said.get("image_std", SPREAD)).view(3, 1, 1)

    def __call__(self, images: Sequence[Path | Tensor]) -> Tensor:
        """Prepare images.

        Args:
            images: files, or images (3, height, width) in [0, 1].

        Returns:
            Values for the network, (n, 3, edge, edge) float32.

        Raises:
            StudyError: a file is no image.
        """
        return (self.plain(images) - self._mean) / self._spread

    def plain(self, images: Sequence[Path | Tensor]) -> Tensor:
        """Return images that are resized and cut out, not scaled: (n, 3, edge, edge), 0 is black and 1 is white."""
        return torch.stack([self._seen(image) for image in images])

    def _seen(self, image: Path | Tensor) -> Tensor:
        """Return an image whose shorter edge is resized and whose middle is cut out, (3, crop, crop) in [0, 1]."""
        from PIL import Image  # here, for it may be missing where no images are looked at

        if isinstance(image, Tensor):
            opened = Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
        else:
            try:
                with Image.open(image) as file:
                    opened = file.convert("RGB")
            except OSError as error:
                raise StudyError(
                    f"{image}: the image cannot be read. Fetch it again, or take it off the list."
                ) from error
        width, height = opened.size
        ratio = self.edge / min(width, height)
        resized = opened.resize((max(self.crop, round(width * ratio)), max(self.crop, round(height * ratio))), 3)
        left, top = (resized.size[0] - self.crop) // 2, (resized.size[1] - self.crop) // 2
        cut = resized.crop((left, top, left + self.crop, top + self.crop))
        values = torch.frombuffer(bytearray(cut.tobytes()), dtype=torch.uint8).view(self.crop, self.crop, 3)
        return values.permute(2, 0, 1).float() / 255


def _edge(said: object, default: int) -> int:
    """Read an edge, which files of transformers write in several ways."""
    if isinstance(said, Mapping):
        return int(said.get("shortest_edge") or said.get("height") or default)
    return int(said) if isinstance(said, int) else default
