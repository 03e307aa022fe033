"""What a reader asks first, answered: which method, what it costs, what it takes."""

from collections.abc import Sequence

from cuvee.methods.registry import find_method
from cuvee.report.content import Card
from cuvee.report.numbers import shown
from cuvee.studies.registry import find_suite
from cuvee.studies.rows import Row
from cuvee.studies.standings import Standing, alike
from cuvee.studies.verdict import Estimate

__all__ = ["answers"]


def answers(rows: Sequence[Row], found: Sequence[Standing]) -> list[Card]:
    """Answer by what is known of all arms together.

    Args:
        rows: of the study.
        found: its `standings`.
    """
    if not found:
        return []
    plain = [each for each in found if each.num_settings == 1]
    best, general = found[0], max(found, key=lambda each: _mean(each.gained))
    cards = [_best("Which method, if I can choose its settings?", rows, best, found)]
    if plain:
        cards.append(_best("Which, without choosing anything?", rows, plain[0], plain))
    if general.gained:
        cards.append(_general(rows, general, found))
    return [*cards, _cost(found), _needs(best)]


def _general(rows: Sequence[Row], general: Standing, found: Sequence[Standing]) -> Card:
    """Name the method that does best where none of the models was trained."""
    return Card(
        question="Which generalises best?",
        answer=general.name,
        detail=f"On unseen combinations {_ratio(general.gained)} times the base's score, held-in "
        f"{_percent(general.retained)} of the constituents'.{_alike(alike(rows, general, found, unseen=True), found)}",
    )


def _best(question: str, rows: Sequence[Row], best: Standing, found: Sequence[Standing]) -> Card:
    """Name a method, what it keeps, and what may be as good."""
    more = f", and has {_ratio(best.gained)} times the base's on unseen combinations" if best.gained else ""
    return Card(
        question=question,
        answer=best.name,
        detail=f"Keeps {_percent(best.retained)} of its constituents' scores{more} ({_where(best)})."
        f"{_alike(alike(rows, best, found), found)}",
    )


def _where(standing: Standing) -> str:
    """Say what a standing is taken over."""
    counts = sorted({len(row.models) for row in standing.rows})
    models = f"{' or '.join(map(str, counts))} models"
    if standing.num_arms > 1:
        return f"mean over {standing.num_arms} networks and trainings, {models}"
    row = standing.rows[0]
    return f"{find_suite(row.suite).about.name}, {row.architecture}, {row.base} base, {models}"


def _alike(names: Sequence[str] | None, found: Sequence[Standing]) -> str:
    """Say what cannot be told from the best."""
    if len(found) == 1:
        return " There is no other."
    if names is None:
        return " With fewer than three seeds nothing is told apart."
    return f" Not told from it: {', '.join(names)}." if names else " Better than each of the others."


def _cost(found: Sequence[Standing]) -> Card:
    cheapest, dearest = (pick(found, key=lambda e: e.merge_seconds + e.tuning_seconds) for pick in (min, max))
    merges = [each.merge_seconds for each in found]
    return Card(
        question="What will it cost me?",
        answer=f"{_seconds(cheapest)} to {_seconds(dearest)}",
        detail=f"Of one core, with the choice of settings: {cheapest.name} and {dearest.name}. A merge alone takes "
        f"{shown(min(merges), 'seconds')} to {shown(max(merges), 'seconds')}; real models take as much longer as they "
        "are larger.",
    )


def _needs(best: Standing) -> Card:
    """Say what the best method takes."""
    row = best.rows[0]
    method = find_method(row.method)
    parameters = {**method.defaults(len(row.models)), **row.settings}
    needs_base = method.space(parameters) == "deltas"
    things = ["The models", *(["their base"] if needs_base else []), *(["validation examples"] if row.tried else [])]
    return Card(
        question="What do I need to have?",
        answer=", ".join(things),
        detail=f"For {best.name}. The table below says it for every method: base, statistics, data, settings.",
    )


def _mean(estimate: Estimate | None) -> float:
    return estimate.mean if estimate else float("-inf")


def _percent(estimate: Estimate | None) -> str:
    return f"{shown(estimate.mean, 'percent')} %" if estimate else "nothing"


def _ratio(estimate: Estimate | None) -> str:
    return shown(estimate.mean, "") if estimate else "no"


def _seconds(standing: Standing) -> str:
    return shown(standing.merge_seconds + standing.tuning_seconds, "seconds")
