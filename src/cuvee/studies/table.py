"""Rows of results side by side: each merge with its base, its constituents and the multitask model of the same set."""

from collections.abc import Mapping, Sequence

from cuvee.studies.registry import find_suite
from cuvee.studies.rows import Row, mean, unseen
from cuvee.studies.suite import Cell, Metric
from cuvee.studies.verdict import Sample

__all__ = ["LEAST_ABOVE_CHANCE", "Table", "sample_of"]

LEAST_ABOVE_CHANCE = 0.01
"""A ratio to a score that is not one point above guessing says nothing; such cells are left out of ratios."""


def sample_of(row: Row, value: float) -> Sample:
    """Return a row's value as a sample."""
    return Sample(seed=row.seed, value=value, weight=row.weight, models=tuple(row.models), suite=row.suite)


class Table:
    """Rows, with what each is compared to.

    Args:
        rows: of one study.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._bases = {(row.arm, row.seed): row for row in rows if row.kind == "base"}
        self._constituents = {(row.arm, row.seed, row.models[0]): row for row in rows if row.kind == "constituent"}
        self._of_sets = {
            (row.arm, row.seed, row.models, row.name, row.chosen): row
            for row in rows
            if row.kind in ("multitask", "mixture", "merge", "alone")
        }

    def merges(self, *names: str, num_models: int | None = None, oracle: bool = False) -> list[Row]:
        """Return rows of merges, by names of trials and number of models; the oracle's only if asked for."""
        return [
            row
            for row in self.rows
            if row.kind == "merge"
            and (not names or row.name in names)
            and (num_models is None or len(row.models) == num_models)
            and (row.chosen == "oracle") == oracle
        ]

    def of(self, suite: str = "", architecture: str = "", base: str = "", tuning: str = "") -> "Table":
        """Return the part of a suite, network, base or training."""
        wanted = (suite, architecture, base, tuning)
        return Table([row for row in self.rows if all(w in ("", has) for w, has in zip(wanted, row.arm, strict=True))])

    def base(self, row: Row) -> Row:
        """Return the base that a row's models start from."""
        return self._bases[row.arm, row.seed]

    def constituent(self, row: Row, cell: str) -> Row:
        """Return the constituent of a cell, of the row's arm and seed."""
        return self._constituents[row.arm, row.seed, cell]

    def multitask(self, row: Row) -> Row | None:
        """Return the multitask model of a row's set, which may be that of all constituents; every set has its row."""
        return self._of_sets.get((row.arm, row.seed, row.models, "multitask", "fixed"))

    def other(self, row: Row, name: str) -> Row | None:
        """Return what another trial, or baseline, made of a row's set, with settings chosen in the same way."""
        for chosen in (row.chosen, "fixed", "validation"):
            found = self._of_sets.get((row.arm, row.seed, row.models, name, chosen))
            if found is not None:
                return found
        return None

    def held_in(self, row: Row, of: Row | None = None) -> float:
        """Return the mean main score on the cells of a row's set; of another row's scores where one is given."""
        return mean((of or row).scores, self.cells(row)[0], self.metric(row))

    def unseen(self, row: Row, of: Row | None = None) -> float:
        """Return the mean main score on the unseen combinations of a row's set."""
        return mean((of or row).scores, self.cells(row)[1], self.metric(row))

    def everywhere(self, row: Row, of: Row | None = None, *, metric: str) -> float:
        """Return the mean of a metric over the held-in and unseen cells of a row's set; of another row's scores."""
        held_in, others = self.cells(row)
        return mean((of or row).scores, [*held_in, *others], metric)

    def others(self, row: Row) -> Sequence[Metric]:
        """Return the metrics of a row's suite besides the main one."""
        return find_suite(row.suite).about.metrics[1:]

    def worst(self, row: Row, of: Row | None = None) -> float:
        """Return the lowest main score over the cells of a row's set, held-in and unseen; of another row's scores."""
        held_in, others = self.cells(row)
        return min((of or row).scores[cell.name][self.metric(row)] for cell in (*held_in, *others))

    def against_multitask(self, row: Row, of: Row | None = None) -> float:
        """Return how far the held-in score lies above the multitask model's; not a number where there is none."""
        multitask = self.multitask(row)
        return float("nan") if multitask is None else self.held_in(row, of) - self.held_in(row, multitask)

    def retained(self, row: Row, of: Row | None = None) -> float:
        """Return the mean, over held-in cells, of the score divided by the cell's constituent's; 1 is as good."""
        return self._ratio(row, of or row, self._constituents_of(row))

    def gained(self, row: Row, of: Row | None = None) -> float:
        """Return the mean, over unseen cells, of the score divided by the base's; above 1 is better than the base."""
        return self._ratio(row, of or row, self._bases_of(row))

    def left_out(self, row: Row) -> Sequence[str]:
        """Name the cells that ratios leave out, since what they are divided by is not above chance."""
        pairs = [*self._constituents_of(row), *self._bases_of(row)]
        return [cell.name for cell, of in pairs if not self._is_above_chance(row, cell, of)]

    def _constituents_of(self, row: Row) -> list[tuple[Cell, Row]]:
        """Return what the score of each held-in cell is divided by."""
        return [(cell, self.constituent(row, cell.name)) for cell in self.cells(row)[0]]

    def _bases_of(self, row: Row) -> list[tuple[Cell, Row]]:
        """Return what the score of each unseen cell is divided by."""
        return [(cell, self.base(row)) for cell in self.cells(row)[1]]

    def _is_above_chance(self, row: Row, cell: Cell, of: Row) -> bool:
        least = self._chance(row).get(cell.name, 0.0) + LEAST_ABOVE_CHANCE
        return of.scores[cell.name][self.metric(row)] >= least

    def _ratio(self, row: Row, scored: Row, pairs: Sequence[tuple[Cell, Row]]) -> float:
        metric = self.metric(row)
        ratios = [
            scored.scores[cell.name][metric] / of.scores[cell.name][metric]
            for cell, of in pairs
            if self._is_above_chance(row, cell, of)
        ]
        return sum(ratios) / len(ratios) if ratios else float("nan")

    def cells(self, row: Row) -> tuple[Sequence[Cell], Sequence[Cell]]:
        """Return a row's held-in cells, and the unseen combinations of their attributes."""
        every = find_suite(row.suite).about.cells
        models = [cell for cell in every if cell.name in row.models]
        return models, unseen(models, every)

    def metric(self, row: Row) -> str:
        """Return the name of the main metric of a row's suite."""
        return find_suite(row.suite).about.metrics[0].name

    @staticmethod
    def _chance(row: Row) -> Mapping[str, float]:
        return find_suite(row.suite).about.chance
