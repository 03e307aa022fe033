"""Studies on declared suites in ``cuvee study``: what there is, and what they would take."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cuvee.cli.lines import say
from cuvee.cli.tables import print_unfolded, table_of
from cuvee.cli.units import size
from cuvee.errors import StudyError
from cuvee.studies.catalogue import PAPER, preset_of
from cuvee.studies.external.facts import Amount
from cuvee.studies.external.obstacles import check
from cuvee.studies.external.paper import paper_preset
from cuvee.studies.external.plan import SPEED, Passes, Plan, planned
from cuvee.studies.external.shipped import find_declaration, shipped_names, suites_for
from cuvee.studies.study import Preset, Study

__all__ = ["list_suites", "runs_of", "show_external_plans", "suites_of"]


def suites_of(study: Study, suite: str | None) -> Sequence[str]:
    """Return the declared suites that the preset "paper" is of: the one that is named, or all of the study's.

    Raises:
        StudyError: none is named, and the study has none.
    """
    found = (suite,) if suite is not None else suites_for(study.name)
    if not found:
        preset_of(study, PAPER)  # says which presets there are
    return found


def runs_of(
    study: Study, suites: Sequence[str], methods: tuple[str, ...], seeds: int | None, out: Path, processes: int = 0
) -> Sequence[tuple[Preset, Path]]:
    """Return what can be run on this machine of a study on declared suites, and a folder for the results of each.

    What cannot is told with what is missing; where it is all, that is an error.

    Raises:
        StudyError: no suite can be run here.
    """
    runs, refused = list[tuple[Preset, Path]](), list[StudyError]()
    for name in suites:
        declaration = find_declaration(name)
        preset = paper_preset(study, declaration, methods, seeds)
        try:
            check(declaration, preset, processes)
            runs.append((preset, out if len(suites) == 1 else out / declaration.name))
        except StudyError as error:
            refused.append(error)
    if not runs:
        raise StudyError("\n".join(map(str, refused)))
    for reason in refused:
        say(Console(stderr=True, emoji=False), f"cuvee: left out: {reason}")
    return runs


def list_suites(console: Console) -> None:
    """Print the declared suites."""
    say(console, "Declared suites, of published data and models, for --preset paper, or --suite NAME:")
    for name in shipped_names():
        declaration = find_declaration(name)
        say(console, f"  {name:20} {declaration.what} For: {', '.join(declaration.factors)}.")


def show_external_plans(
    study: Study, suites: Sequence[str], methods: tuple[str, ...], seeds: int | None, *, as_json: bool
) -> None:
    """Print what a study on declared suites would do and cost."""
    plans = [planned(study, find_declaration(name), methods, seeds) for name in suites]
    if as_json:
        print(json.dumps([plan.as_mapping() for plan in plans], indent=2))
        return
    console = Console(emoji=False)
    for plan in plans:
        _show(console, plan)


def _show(console: Console, plan: Plan) -> None:
    """Print one plan."""
    say(console, f"{plan.suite}: {plan.what}")
    say(console, f"  {plan.paper}")
    other = "" if plan.declared_for == plan.study else f", with the factors of '{plan.declared_for}'"
    say(
        console,
        f"  study '{plan.study}'{other}: {plan.num_held_in} of {plan.num_cells} cells have constituents; "
        f"{_several(plan.num_arms, 'arm')}, {_several(plan.num_seeds, 'seed')}\n",
    )
    _show_downloads(plan)
    _show_work(plan)
    say(
        console,
        f"\n{bytes_of(plan.disk)} of disk, {bytes_of(plan.gpu)} of GPU memory for weights, gradients and AdamW, "
        f"activations besides (declared: {bytes_of(plan.stated)}).\n"
        f"{_hours(plan.gpu_hours)} of one GPU at {SPEED / 1e12:.0f} TFLOP/s. Trainings may end earlier.",
    )
    if plan.lacks:
        say(console, f"Methods of the paper that cuvee does not have: {', '.join(plan.lacks)}.")
    for note in plan.notes:
        say(console, f"Note: {note}")
    say(console, "")


def _show_downloads(plan: Plan) -> None:
    """Print what is downloaded."""
    table = table_of(("download",), ("bytes",), ("known by", "from", "revision"))
    for each in plan.downloads:
        table.add_row(each.what, bytes_of(each.size), each.mark, each.hub, each.revision)
    print_unfolded(table)
    print()


def _show_work(plan: Plan) -> None:
    """Print what is trained, merged and evaluated."""
    table = table_of(("work",), ("count", "examples", "FLOP", "GPU hours", "bytes"))
    for each in plan.trained:
        of = f"{each.network}, {each.base} base, {each.tuning}"
        examples = Amount(each.examples, each.flops.unknown)
        table.add_row(
            f"train {each.role}: {of}",
            *(str(each.count), _short(examples), _short(each.flops), f"{each.gpu_hours:.1f}", bytes_of(each.size)),
        )
    merges = plan.merges
    table.add_row("merge, settings tried", str(merges.settings), "", "", "", "")
    table.add_row("merge, chosen", str(merges.chosen), "", "", "", "")
    table.add_row("  models read for both", "", "", "", "", bytes_of(merges.read))
    table.add_row("  merged weights, in memory", "", "", "", "", bytes_of(merges.made))
    for name, passes in (("validation", plan.validation), ("test", plan.test)):
        table.add_row(f"evaluate, {name}", *_of_passes(passes), "")
    print_unfolded(table)


def _of_passes(passes: Passes) -> tuple[str, ...]:
    return str(passes.scores), _short(passes.examples), _short(passes.flops), f"{passes.gpu_hours:.1f}"


def bytes_of(amount: Amount) -> str:
    """Write a number of bytes."""
    return _bounded(amount, size(amount.known))


def _short(amount: Amount) -> str:
    return _bounded(amount, f"{amount.known:.3g}")


def _bounded(amount: Amount, said: str) -> str:
    """Say of a sum whose parts are not all known that it is a lower bound."""
    if not amount.unknown:
        return said
    return f">= {said}" if amount.known else "unknown"


def _hours(hours: float) -> str:
    return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.1f} h"


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
