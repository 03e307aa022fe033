"""Images that a latent diffusion model draws, judged by a CLIP that is not trained on them.

A drawing counts where the CLIP takes it for its class, among the classes of all cells, and for its value of the second
attribute, such as its domain, among all of these. That is ours: the metric of Tam et al. (arXiv 2409.18314) is not
published. The product of LoRA's factors is merged, for the runner adds it to the base before it merges.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from torch import Tensor, nn

from cuvee.errors import ScoreError, StudyError
from cuvee.studies.external.adapters.diffusion import Painter, open_unet
from cuvee.studies.external.adapters.experts import drawn, few, train_expert
from cuvee.studies.external.adapters.hosted import Hosted
from cuvee.studies.external.adapters.pictures import Eye, listed, look_for
from cuvee.studies.external.adapters.zero_shot import ZeroShot
from cuvee.studies.external.declaration import Declaration, Remote
from cuvee.studies.external.places import data_folder, model_folder
from cuvee.studies.external.scoring import Drawings
from cuvee.studies.seeds import generator_for
from cuvee.studies.suite import Cell, Pictures, Scores, Split, Trained, Training, Weights

__all__ = ["DrawingAdapter"]


class DrawingAdapter:
    """Runs a suite of image generation; see `Adapter`.

    Args:
        declaration: of the suite.
    """

    libraries: tuple[tuple[str, str], ...] = (("diffusers", "image"), ("transformers", "hf"), ("PIL", "image"))

    def __init__(self, declaration: Declaration) -> None:
        assert isinstance(declaration.scoring, Drawings)
        self._declaration, self._scoring = declaration, declaration.scoring
        self._hosted = cache(self._open)
        self._painter = cache(self._paint)
        self._judge = cache(self._look)
        self._shown = cache(self._examples)

    def files(self, cells: Sequence[Cell]) -> Sequence[Path]:  # noqa: ARG002 - a score needs no images
        """See `Adapter.files`."""
        return [self._list(cell) for cell in self._declaration.held_in]

    def examine(self) -> None:
        """See `Adapter.examine`; images are looked for, not opened."""
        for cell in self._declaration.held_in:
            look_for(path for path, _ in self._shown(cell))

    def models(self, architecture: str) -> Sequence[Remote]:  # noqa: ARG002
        """See `Adapter.models`: the judge."""
        return (Remote(hub=self._scoring.judge),)

    def read(self, source: Remote, architecture: str) -> Trained:
        """See `Adapter.read`: the U-Net."""
        folder = model_folder(source)
        return Hosted(open_unet(folder), self._declaration.networks[architecture], folder / "unet").trained()

    def train(self, training: Training, start: Weights, num_examples: int) -> Trained:
        """See `Adapter.train`."""
        recipe = self._declaration.training
        assert recipe is not None
        hosted, painter = self._hosted(training.architecture).copy(), self._painter(training.architecture)
        hosted.put(start)
        parts = [few(self._shown(cell), training.shots) for cell in training.cells]
        generator = generator_for(training.seed, f"drawings {[cell.name for cell in training.cells]}")
        eye = Eye(data_folder(self._declaration), self._scoring.size)
        batch = int(recipe.batch.value or 1)

        def loss_of(network: nn.Module) -> Tensor:
            shown = drawn(parts, batch, generator)
            images = eye.plain([path for path, _ in shown])
            return painter.loss(network, images, [prompt for _, prompt in shown], generator)

        def validate() -> float:
            found = [self._score(hosted.module, training.architecture, cell, "validation") for cell in training.cells]
            return sum(found) / len(found)

        return train_expert(hosted, training, recipe, num_examples, loss_of=loss_of, validate=validate)

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """See `Adapter.score`.

        Raises:
            ScoreError: several models should draw one image.
        """
        if len(models) > 1:
            raise ScoreError(
                f"{self._declaration.name}: images of several models have no mean. Score the models one by one."
            )
        hosted, name = self._hosted(architecture), self._declaration.metric.name
        hosted.put(models[0])
        return {cell: {name: self._score(hosted.module, architecture, cell, split)} for cell in cells}

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:
        """See `Adapter.draw`; images are made grey."""
        hosted = self._hosted(architecture)
        hosted.put(weights)
        return {cell: self._drawn(hosted.module, architecture, cell, "test", count)[0].mean(1) for cell in cells}

    def _drawn(
        self, unet: nn.Module, architecture: str, cell: Cell, split: str, count: int
    ) -> tuple[Tensor, Sequence[str]]:
        """Draw images of a cell's classes in turn; return them, and their classes."""
        own = self._scoring.classes[cell.a]
        names = [own[i % len(own)] for i in range(count)]
        prompts = [self._prompt(name, cell.b) for name in names]
        generator = generator_for(0, f"{self._declaration.name} {cell.name} {split}")
        painter = self._painter(architecture)
        return painter.drawn(unet, prompts, generator, self._scoring.steps, self._scoring.guidance), names

    def _score(self, unet: nn.Module, architecture: str, cell: Cell, split: str) -> float:
        """Draw, and count what the judge takes for what it should be."""
        said = self._scoring
        images, names = self._drawn(unet, architecture, cell, split, said.count)
        every = tuple(dict.fromkeys(name for own in said.classes.values() for name in own))
        others = tuple(dict.fromkeys(each.b for each in self._declaration.cells))
        of_a = self._judge().likeliest(images, tuple(said.judged_a.replace("{class}", _words(each)) for each in every))
        of_b = self._judge().likeliest(images, tuple(said.judged_b.replace("{b}", _words(each)) for each in others))
        right: list[bool] = [
            every[a] == name and others[b] == cell.b
            for name, a, b in zip(names, of_a.tolist(), of_b.tolist(), strict=True)
        ]
        return sum(right) / len(right)

    def _prompt(self, name: str, b: str) -> str:
        return self._scoring.prompt.replace("{class}", _words(name)).replace("{b}", _words(b))

    def _list(self, cell: Cell) -> Path:
        return data_folder(self._declaration) / self._scoring.lists.format(a=cell.a, b=cell.b, split="train")

    def _examples(self, cell: Cell) -> Sequence[tuple[Path, str]]:
        """Return the images of a cell to train on, with their prompts."""
        path, names = self._list(cell), self._scoring.classes[cell.a]
        found = [(each.path, self._prompt(each.path.parent.name, cell.b)) for each in listed(path)
                 if each.path.parent.name in names]  # fmt: skip
        if not found:
            raise StudyError(f"{path}: there is no image of a class of '{cell.a}'.")
        return found

    def _folder(self, architecture: str) -> Path:
        """Return the folder of the pipeline whose other parts are taken: the strong base's, where there is one."""
        bases = self._declaration.networks[architecture].bases
        return model_folder(bases.get("strong") or bases["weak"])

    def _open(self, architecture: str) -> Hosted:
        folder = self._folder(architecture)
        return Hosted(open_unet(folder), self._declaration.networks[architecture], folder / "unet")

    def _paint(self, architecture: str) -> Painter:
        return Painter(self._folder(architecture), self._scoring.size)

    def _look(self) -> ZeroShot:
        return ZeroShot(model_folder(Remote(hub=self._scoring.judge)))


def _words(name: str) -> str:
    """Write a name of a class or cell as words."""
    return name.replace("_", " ")
