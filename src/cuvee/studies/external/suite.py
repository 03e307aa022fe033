"""A declared suite as the runner takes it: the protocol of every suite, over a declaration and an adapter."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec

from cuvee.digest import digest_of_bytes
from cuvee.errors import MissingLibraryError
from cuvee.studies.external.adapters.adapter import Adapter
from cuvee.studies.external.adapters.opening import open_adapter
from cuvee.studies.external.declaration import Declaration
from cuvee.studies.external.places import data_folder
from cuvee.studies.external.scoring import Drawings
from cuvee.studies.suite import (
    About,
    Architecture,
    Cell,
    Pictures,
    Scores,
    Split,
    Trained,
    Training,
    Weights,
)  # fmt: skip

__all__ = ["ExternalSuite"]

VERSIONS = 1 << 48  # a declared version stands above the digest of what is declared


class ExternalSuite:
    """A declared suite; see `Suite`. What it is costs nothing to know; only training and scoring need files.

    Args:
        declaration: what it is.
    """

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration

    @cached_property
    def about(self) -> About:
        """What it is. Its version counts all that decides weights or scores, so that a changed file scores anew."""
        said = self.declaration
        first = next(iter(said.networks.values()))
        return About(
            name=said.name,
            version=said.version * VERSIONS + int(said.digest, 16),
            what=said.what,
            axes=said.axes,
            metrics=(said.metric,),
            cells=said.cells,
            held_in=said.held_in,
            architectures={
                name: Architecture(
                    what=each.what,
                    num_parameters=int(each.parameters.value or 0),
                    flops=each.flops,
                    tunings=said.training.tunings if said.training else ("full",),
                )
                for name, each in said.networks.items()
            },
            sizes=tuple(said.networks),
            bases={
                "weak": first.bases["weak"].hub if "weak" in first.bases else "None is declared.",
                "strong": first.bases["strong"].hub if "strong" in first.bases else "None is declared.",
            },
            libraries=("transformers",),
            chance={cell.name: said.chance for cell in said.cells},
            draws=isinstance(said.scoring, Drawings),
            examples={split: int(fact.value or 0) for split, fact in said.examples.items()},
        )

    def num_examples(self, training: Training) -> int:
        """See `Suite.num_examples`; what is downloaded takes none."""
        recipe = self.declaration.training
        if recipe is None or not training.cells:
            return 0
        steps = (recipe.steps.value or 0) * len(training.cells)
        if len(training.cells) > 1 and recipe.multitask_steps is not None:
            steps = recipe.multitask_steps.value or 0
        return round(steps * training.effort) * int(recipe.batch.value or 0)

    def digests(self) -> Mapping[str, str]:
        """Return digests of the data's files. There is nothing to compare them with: users bring them.

        Raises:
            ScoreError: a file cannot be read, or is empty.
            StudyError: an example is not what the declaration says.
            MissingLibraryError: a library that the adapter needs is not installed.
        """
        self._adapter.examine()
        folder = data_folder(self.declaration)
        files = sorted(set(self._adapter.files(self.about.cells)))
        return {path.relative_to(folder).as_posix(): digest_of_bytes(path.read_bytes()) for path in files}

    def train(self, training: Training, start: Weights | None) -> Trained:
        """See `Suite.train`; bases and published experts are read from where they lie."""
        said = self.declaration
        if not training.cells:
            base = said.networks[training.architecture].bases[training.role]
            return self._adapter.read(base, training.architecture)
        for expert in said.experts:
            if training.cells == (expert.cell,) and training.architecture == expert.network:
                return self._adapter.read(expert.source, expert.network)
        assert start is not None
        return self._adapter.train(training, start, self.num_examples(training))

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """See `Suite.score`."""
        return self._adapter.score(models, architecture, cells, split)

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:
        """See `Suite.draw`."""
        return self._adapter.draw(weights, architecture, cells, count)

    @cached_property
    def _adapter(self) -> Adapter:
        adapter = open_adapter(self.declaration)
        for name, extra in adapter.libraries:
            if find_spec(name) is None:
                raise MissingLibraryError(
                    f"{self.declaration.name}: the suite needs {name}, which is not installed; run: "
                    f"pip install 'cuvee[{extra}]'"
                )
        return adapter
