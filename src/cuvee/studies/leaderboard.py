"""Which method is best, of each arm: rows averaged over seeds and sets of models, with intervals."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from cuvee.studies.registry import find_suite
from cuvee.studies.rows import Row
from cuvee.studies.table import Table, sample_of
from cuvee.studies.verdict import Estimate, estimate

__all__ = ["Board", "Place", "boards"]

BASELINES = ("base", "constituents", "multitask", "mixture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A method or baseline on a leaderboard.

    Attributes:
        name: of the trial or baseline.
        kind: ``"merge"``, ``"baseline"`` or ``"oracle"``.
        held_in, unseen: main score in [0, 1].
        retained: share of the constituents' scores on held-in cells.
        gained: ratio to the base on unseen cells.
        worst: lowest score of a cell, averaged like the others.
        against_multitask: held-in score less that of the multitask model.
        more: the suite's other metrics, over all cells, by name.
        merge_seconds, tuning_seconds: of the processor, per merge.
        num_settings: how many settings it was chosen from.
        peak_bytes: most memory that a merge took beyond its models.
        rows: what it is taken over.
    """

    name: str
    kind: str
    held_in: Estimate | None
    unseen: Estimate | None
    retained: Estimate | None
    gained: Estimate | None
    worst: Estimate | None
    against_multitask: Estimate | None
    more: Mapping[str, Estimate | None]
    merge_seconds: float
    tuning_seconds: float
    num_settings: int
    peak_bytes: int
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Methods and baselines with the same models.

    Attributes:
        arm: suite, network, base, training.
        num_models: merged; 0 for all numbers together.
        places: merges from the best held-in to the worst, then baselines, then the oracle's rows, from the best unseen.
        left_out: cells that are in no ratio of some sets, as what they would be divided by is not above chance: of how
            many sets (times seeds), by name.
    """

    arm: tuple[str, str, str, str]
    num_models: int
    places: Sequence[Place]
    left_out: Mapping[str, int]

    @property
    def title(self) -> str:
        """Name it for a reader."""
        suite, architecture, base, tuning = self.arm
        return f"{find_suite(suite).about.name}, {architecture}, {base} base" + (
            "" if tuning == "full" else f", {tuning}"
        )


def boards(rows: Sequence[Row], num_models: int = 0) -> Sequence[Board]:
    """Make a leaderboard for each arm, of merges of `num_models`, or of every number."""
    found = []
    for arm in dict.fromkeys(row.arm for row in rows if row.kind == "merge"):
        table = Table([row for row in rows if row.arm == arm])
        merges = [row for oracle in (False, True) for row in table.merges(num_models=num_models or None, oracle=oracle)]
        if not merges:
            continue
        groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in merges:
            groups[row.name, "oracle" if row.chosen == "oracle" else "merge"].append(row)
        places = [_place(table, name, kind, group) for (name, kind), group in groups.items()]
        own = sorted((p for p in places if p.kind == "merge"), key=lambda p: -(p.held_in.mean if p.held_in else 0))
        oracle = sorted((p for p in places if p.kind == "oracle"), key=lambda p: -(p.unseen.mean if p.unseen else 0))
        places = [*own, *_baselines(table, merges), *oracle]
        found.append(Board(arm=arm, num_models=num_models, places=places, left_out=_left_out(table, merges)))
    return found


def _left_out(table: Table, merges: Sequence[Row]) -> Mapping[str, int]:
    """Count the sets in whose ratios a cell is missing."""
    sets = {(row.seed, row.models): row for row in merges}
    return dict(sorted(Counter(name for row in sets.values() for name in table.left_out(row)).items()))


def _place(table: Table, name: str, kind: str, rows: Sequence[Row]) -> Place:
    def over(score: Callable[[Row], float]) -> Estimate | None:
        return estimate([sample_of(row, score(row)) for row in rows])

    return Place(
        name=name,
        kind=kind,
        held_in=over(table.held_in),
        unseen=over(table.unseen),
        retained=over(table.retained),
        gained=over(table.gained),
        worst=over(table.worst),
        against_multitask=over(table.against_multitask),
        more={metric.name: over(partial(table.everywhere, metric=metric.name)) for metric in table.others(rows[0])},
        merge_seconds=fmean(row.costs["merge"] for row in rows),
        tuning_seconds=fmean(row.costs["tuning"] for row in rows),
        num_settings=max(len(row.tried) for row in rows) or 1,
        peak_bytes=max(row.peak_bytes for row in rows),
        rows=rows,
    )


def _baselines(table: Table, merges: Sequence[Row]) -> list[Place]:
    """Score what merges are compared with on the cells of the same sets."""
    sets = list({(row.seed, row.models): row for row in merges}.values())
    places = []
    for name in BASELINES:
        scored = [(row, others) for row in sets if (others := _others(table, row, name))]
        if scored:
            places.append(_baseline(table, name, scored))
    return places


def _baseline(table: Table, name: str, scored: Sequence[tuple[Row, Sequence[Row]]]) -> Place:
    """Average a baseline over sets: pairs of a merge of the set and the baseline's rows.

    Constituents have a held-in score together, each on its own cell; the rest is the mean of them alone.
    """

    def over(score: Callable[[Row, Row], float]) -> Estimate | None:
        return estimate([sample_of(row, fmean(score(row, each) for each in others)) for row, others in scored])

    used = list({id(each): each for _, others in scored for each in others}.values())
    is_several = name == "constituents"
    own = estimate([sample_of(row, _each_on_its_own(table, row, others)) for row, others in scored])
    return Place(
        name=name,
        kind="baseline",
        held_in=own if is_several else over(table.held_in),
        unseen=over(table.unseen),
        retained=None if is_several else over(table.retained),
        gained=over(table.gained),
        worst=over(table.worst),
        against_multitask=None if is_several or name == "multitask" else over(table.against_multitask),
        more={metric.name: over(partial(table.everywhere, metric=metric.name)) for metric in table.others(used[0])},
        merge_seconds=0.0,
        tuning_seconds=0.0,
        num_settings=1,
        peak_bytes=0,
        rows=used,
    )


def _others(table: Table, row: Row, name: str) -> list[Row]:
    """Return a baseline's rows for a set: several for its constituents."""
    match name:
        case "base":
            return [table.base(row)]
        case "constituents":
            return [table.constituent(row, cell) for cell in row.models]
        case "multitask":
            found = table.multitask(row)
        case _:
            found = table.other(row, "mixture of outputs")
    return [found] if found is not None else []


def _each_on_its_own(table: Table, row: Row, others: Sequence[Row]) -> float:
    """Return the mean score of constituents, each on its own cell; of other baselines nothing."""
    own = [other.scores[other.name][table.metric(row)] for other in others if other.kind == "constituent"]
    return fmean(own) if own else float("nan")
