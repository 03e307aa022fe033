"""Classification of images with CLIP: the image tower is trained and merged, the text tower makes the head.

As in Tam et al. (arXiv 2409.18314) and Ilharco et al. (arXiv 2212.04089): the head are the directions of texts such as
"A photo of a cat", which never change. An expert is trained on its own cell's classes. A class is its name: one that
stands in two categories is right in either.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.errors import StudyError
from cuvee.evaluate.data import read_text
from cuvee.studies.external.adapters.experts import few, train_expert
from cuvee.studies.external.adapters.hosted import Hosted
from cuvee.studies.external.adapters.pictures import Eye, listed, look_for
from cuvee.studies.external.adapters.zero_shot import directions, open_clip, seen
from cuvee.studies.external.declaration import Declaration, Remote
from cuvee.studies.external.places import data_folder, model_folder
from cuvee.studies.external.scoring import Images
from cuvee.studies.seeds import generator_for
from cuvee.studies.suite import Cell, Pictures, Scores, Split, Trained, Training, Weights

__all__ = ["ImageAdapter"]

TOWER = ("vision_model.", "visual_projection.")
BATCH = 64  # images that are scored at a time


class ImageAdapter:
    """Runs a suite of image classification; see `Adapter`.

    Args:
        declaration: of the suite.
    """

    libraries: tuple[tuple[str, str], ...] = (("transformers", "hf"), ("PIL", "image"))

    def __init__(self, declaration: Declaration) -> None:
        assert isinstance(declaration.scoring, Images)
        self._declaration, self._scoring = declaration, declaration.scoring
        self._hosted = cache(self._open)
        self._head = cache(self._directions)
        self._shown = cache(self._examples)

    def files(self, cells: Sequence[Cell]) -> Sequence[Path]:
        """See `Adapter.files`."""
        found = [self._list(cell, split) for cell in cells for split in ("validation", "test")]
        found += [self._list(cell, "train") for cell in self._declaration.held_in]
        return found + ([self._class_file(cell) for cell in cells] if self._scoring.class_file else [])

    def examine(self) -> None:
        """See `Adapter.examine`; images are looked for, not opened."""
        for cell in self._declaration.cells:
            for split in ("validation", "test"):
                look_for(path for path, _ in self._shown(cell, split))
        for cell in self._declaration.held_in:
            look_for(path for path, _ in self._shown(cell, "train"))

    def models(self, architecture: str) -> Sequence[Remote]:  # noqa: ARG002
        """See `Adapter.models`."""
        return ()

    def read(self, source: Remote, architecture: str) -> Trained:
        """See `Adapter.read`."""
        network, folder = self._declaration.networks[architecture], model_folder(source)
        return Hosted(open_clip(folder), network, folder, TOWER).trained()

    def train(self, training: Training, start: Weights, num_examples: int) -> Trained:
        """See `Adapter.train`."""
        recipe = self._declaration.training
        assert recipe is not None
        hosted = self._hosted(training.architecture).copy()
        hosted.put(start)
        one = len(training.cells) == 1
        shown = [few(self._shown(cell, "train"), training.shots) for cell in training.cells]
        heads = [self.classes(cell) if one else self.choices(cell) for cell in training.cells]
        generator = generator_for(training.seed, f"images {[cell.name for cell in training.cells]}")
        batch = int(recipe.batch.value or 1)

        def loss_of(network: nn.Module) -> Tensor:
            turn = int(torch.randint(len(shown), (1,), generator=generator)) if not one else 0
            rows = torch.randint(len(shown[turn]), (batch,), generator=generator).tolist()
            chosen = [shown[turn][row] for row in rows]
            logits = self._logits(network, training.architecture, [path for path, _ in chosen], heads[turn])
            answers = torch.tensor([heads[turn].index(name) for _, name in chosen])
            return functional.cross_entropy(logits, answers.to(logits.device))

        def validate() -> float:
            found = [
                self._right(self._probabilities(hosted, training.architecture, cell, "validation", head), cell,
                            "validation", head)
                for cell, head in zip(training.cells, heads, strict=True)
            ]  # fmt: skip
            return sum(found) / len(found)

        return train_expert(hosted, training, recipe, num_examples, loss_of=loss_of, validate=validate)

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """See `Adapter.score`; outputs are probabilities of classes."""
        hosted, sums = self._hosted(architecture), dict[Cell, Tensor]()
        for weights in models:
            hosted.put(weights)
            for cell in cells:
                found = self._probabilities(hosted, architecture, cell, split, self.choices(cell))
                sums[cell] = sums[cell] + found if cell in sums else found
        name = self._declaration.metric.name
        return {cell: {name: self._right(sums[cell], cell, split, self.choices(cell))} for cell in cells}

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:  # noqa: ARG002
        """Return examples of the data, in grey; a model draws none."""
        return {
            cell: torch.stack([_grey(path, self._eye(architecture)) for path, _ in self._shown(cell, "test")[:count]])
            for cell in cells
        }

    def classes(self, cell: Cell) -> tuple[str, ...]:
        """Return the names of a cell's own classes."""
        if self._scoring.classes:
            return self._scoring.classes[cell.a]
        return _lines(self._class_file(cell))

    def choices(self, cell: Cell) -> tuple[str, ...]:
        """Return the names of the classes that a model chooses from: each once."""
        cells = self._declaration.cells if self._scoring.head == "shared" else (cell,)
        return tuple(dict.fromkeys(name for each in cells for name in self.classes(each)))

    def _list(self, cell: Cell, split: str) -> Path:
        named = self._scoring.lists.format(a=cell.a, b=cell.b, split=split)
        return data_folder(self._declaration) / named

    def _class_file(self, cell: Cell) -> Path:
        return data_folder(self._declaration) / self._scoring.class_file.format(a=cell.a, b=cell.b)

    def _examples(self, cell: Cell, split: Split) -> Sequence[tuple[Path, str]]:
        """Return the images of a cell with the names of their classes; those of other classes are left out."""
        path, names, found = self._list(cell, split), self.classes(cell), []
        for each in listed(path):
            if self._scoring.label == "folder":
                name = each.path.parent.name
            elif each.number < len(names):
                name = names[each.number]
            else:
                raise StudyError(f"{path}: there is no class of number {each.number}; '{cell.a}' has {len(names)}.")
            if name in names:
                found.append((each.path, name))
        if not found:
            raise StudyError(f"{path}: there is no image of a class of '{cell.a}'.")
        return found

    def _open(self, architecture: str) -> Hosted:
        network = self._declaration.networks[architecture]
        folder = self._folder(architecture)
        return Hosted(open_clip(folder), network, folder, TOWER)

    def _folder(self, architecture: str) -> Path:
        """Return the folder of the base whose text tower makes the head: the strong one, where there is one."""
        bases = self._declaration.networks[architecture].bases
        return model_folder(bases.get("strong") or bases["weak"])

    def _eye(self, architecture: str) -> Eye:
        module: Any = self._hosted(architecture).module
        return Eye(self._folder(architecture), int(module.config.vision_config.image_size))

    def _directions(self, architecture: str, names: tuple[str, ...]) -> Tensor:
        """Return what the text tower makes of the classes: (classes, width) float32."""
        texts = [self._scoring.prompt.replace("{class}", name.replace("_", " ")) for name in names]
        return directions(self._hosted(architecture).module, self._folder(architecture), texts)

    def _logits(self, network: nn.Module, architecture: str, images: Sequence[Path], names: tuple[str, ...]) -> Tensor:
        """Compare images with classes: (images, classes)."""
        return seen(network, self._eye(architecture)(images)) @ self._head(architecture, names).T

    def _probabilities(
        self, hosted: Hosted, architecture: str, cell: Cell, split: Split, names: tuple[str, ...]
    ) -> Tensor:
        """Return probabilities of classes for the images of a cell, (images, classes), on the CPU."""
        paths = [path for path, _ in self._shown(cell, split)]
        with torch.inference_mode():
            found = [
                self._logits(hosted.module, architecture, paths[i : i + BATCH], names).softmax(1).cpu()
                for i in range(0, len(paths), BATCH)
            ]
        return torch.cat(found)

    def _right(self, outputs: Tensor, cell: Cell, split: Split, names: tuple[str, ...]) -> float:
        """Count how often the likeliest class is right."""
        answers = torch.tensor([names.index(name) for _, name in self._shown(cell, split)])
        return (outputs.argmax(1) == answers).double().mean().item()


def _lines(path: Path) -> tuple[str, ...]:
    """Read names of classes."""
    return tuple(line.strip() for line in read_text(path).text.splitlines() if line.strip())


def _grey(path: Path, eye: Eye) -> Tensor:
    """Return an image as a sheet shows it, (edge, edge), 0 is black and 1 is white."""
    return eye.plain([path])[0].mean(0)
