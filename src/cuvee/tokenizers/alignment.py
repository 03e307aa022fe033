"""Which row of which model stands for each token of the output. Arrays of numbers; reads no tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cuvee.sources.table import MEAN, MEAN_OF_ALL, ZERO, Rows
from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Alignment", "Explicit"]

Explicit = Mapping[int, tuple[int, int]]
"""Row of the output to what is given for it: the index of a model (or ZERO), and its row."""


class Alignment:
    """The output's tokens, and the models' rows for them.

    Args:
        places: (models, tokens) int32: the row that each model has for each number of the output, -1 for none.
        is_token: (tokens,) bool: False for numbers that no token has.
        size: rows of the output, tokens and more.
        base: index of the model whose row is taken where several have one; None if no model is a base.
        explicit: rows that the recipe gives.
        forced: numbers of tokens of which all models get the given row.
    """

    def __init__(
        self,
        places: NDArray[np.int32],
        is_token: NDArray[np.bool_],
        size: int,
        *,
        base: int | None = None,
        explicit: Explicit | None = None,
        forced: Iterable[int] = (),
    ) -> None:
        self.size = size
        self._base = base
        self._explicit = dict(explicit or {})
        padding = size - places.shape[1]
        self.places = np.pad(places, ((0, 0), (0, padding)), constant_values=-1)
        self._is_token = np.pad(is_token, (0, padding))
        self._forced = np.zeros(size, np.bool_)
        self._forced[list(forced)] = True
        self._defaults: dict[tuple[bool, ...], tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.int32]]] = {}
        self._rows: dict[tuple[int, tuple[bool, ...]], Rows] = {}

    def rows(self, model: int, present: Sequence[bool]) -> Rows:
        """Return where a model's rows come from.

        Its own row, where it has one and is not forced to another; else what the recipe gives; else the row of the
        only model that has one, the base's, the mean of all that have one, or zeros if none has. Rows of no token are
        the mean of all others.

        Args:
            model: index of the model.
            present: for each model, whether it has the tensor at all; rows are taken from those only.
        """
        key = model, tuple(present)
        if key not in self._rows:
            giver, row, places = self._default(tuple(present))
            own = (places[model] >= 0) & ~self._forced
            self._rows[key] = Rows(
                giver=np.where(own, np.int16(model), giver), row=np.where(own, places[model], row), places=places
            )
        return self._rows[key]

    def is_identity(self, model: int, present: Sequence[bool], rows: int) -> bool:
        """Say whether a model's tensor of so many rows is already as it should be."""
        made = self.rows(model, present)
        if rows != self.size or not bool((made.giver == model).all()):
            return False
        return bool((made.row == np.arange(rows)).all())

    def gives(self, model: int) -> bool:
        """Say whether the recipe gives a row of this model."""
        return any(giver == model for giver, _ in self._explicit.values())

    def _default(self, present: tuple[bool, ...]) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.int32]]:
        """Return giver and row for models that have none of their own, and what can be taken from whom."""
        if present not in self._defaults:
            places = np.where(np.asarray(present)[:, None], self.places, np.int32(-1))
            has = places >= 0
            count = has.sum(axis=0)
            giver = np.where(count == 1, has.argmax(axis=0), np.where(count == 0, ZERO, MEAN)).astype(np.int16)
            if self._base is not None:
                giver[(count > 1) & has[self._base]] = self._base
            row = places[np.maximum(giver, 0), np.arange(self.size)]
            for token, (model, place) in self._explicit.items():
                giver[token], row[token] = model, place
            giver[~self._is_token] = MEAN_OF_ALL
            self._defaults[present] = giver, row, places
        return self._defaults[present]
