"""``cuvee study``."""

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from cuvee.cli.external import list_suites, runs_of, show_external_plans, suites_of
from cuvee.cli.leaderboard import bars, show_boards
from cuvee.cli.lines import say
from cuvee.cli.tables import print_unfolded, table_of
from cuvee.cli.units import duration, size
from cuvee.errors import StudyError
from cuvee.report.figures import check_libraries
from cuvee.report.write import PAGE, write
from cuvee.studies.catalogue import PAPER, find_study, preset_of, studies
from cuvee.studies.external.shipped import find_declaration, suites_for
from cuvee.studies.forecast import Forecast, forecast
from cuvee.studies.perform import perform, prepare
from cuvee.studies.results import Finding, Results
from cuvee.studies.runner.store import Store
from cuvee.studies.study import POINTS
from cuvee.studies.telling import report_of

__all__ = ["run"]

SMOKE = "smoke"
CACHE = "CUVEE_STUDIES"
"""Environment variable: where trained models and results are kept."""


def run(
    name: str | None,
    *,
    preset: str | None,
    suite: str | None,
    out: Path | None,
    methods: str | None,
    seeds: int | None,
    cache: Path | None,
    processes: int | None,
    plans: bool,
    as_json: bool,
) -> None:
    """List studies, plan one, or perform one."""
    if name is None:
        _list(as_json=as_json)
        return
    study = find_study(name)
    named = tuple(part.strip() for part in (methods or "").split(",") if part.strip())
    if methods is not None and not named:
        raise StudyError("--methods names no method; write names with commas between them, or leave it out.")
    preset = preset or (SMOKE if suite is None else PAPER)
    if suite is not None and preset != PAPER:
        raise StudyError(f"--suite takes declared suites, which have the preset '{PAPER}' alone; found '{preset}'.")
    if preset == PAPER and plans:
        show_external_plans(study, suites_of(study, suite), named, seeds, as_json=as_json)
        return
    store = Store(cache or _cache())
    if plans:
        chosen = preset_of(study, preset, named, seeds)
        _show_plan(forecast(name, preset, chosen, store), as_json=as_json)
        return
    check_libraries()
    count = processes if processes is not None else 0 if preset == PAPER else os.cpu_count() or 1  # a GPU has one user
    out = out or Path(f"{name}-{find_declaration(suite).name if suite is not None else preset}")
    if preset == PAPER:
        runs = runs_of(study, suites_of(study, suite), named, seeds, out, count)
    else:
        runs = [(preset_of(study, preset, named, seeds), out)]
    asked = (("--suite", suite), ("--methods", ",".join(named)), ("--seeds", seeds))
    more = [word for flag, value in asked if value for word in (flag, str(value))]
    command = shlex.join(["cuvee", "study", name, "--preset", preset, *more])  # all that decides results
    for chosen, place in runs:
        prepare(place)
        with bars() as progress:
            results = perform(study, chosen, preset, store, place, count, command, progress)
        write(report_of(study, results), place)
        if as_json:
            found = {"out": str(place), "findings": [asdict(finding) for finding in results.findings]}
            print(json.dumps(found, indent=2))
        else:
            _show(results, place)


def _cache() -> Path:
    """Return where trained models are kept by default."""
    if place := os.environ.get(CACHE):
        return Path(place)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cuvee" / "studies"


def _list(*, as_json: bool) -> None:
    """Print the studies."""
    known = studies()
    if as_json:
        found = [
            {
                "name": study.name,
                "question": study.question,
                "paper": study.paper,
                "presets": {name: preset.what for name, preset in study.presets.items()},
                "external": list(suites_for(study.name)),
            }
            for study in known.values()
        ]
        print(json.dumps(found, indent=2))
        return
    console = Console(emoji=False)
    for study in known.values():
        say(console, f"{study.name}: {study.question}")
        say(console, f"  {study.paper}")
        for name, preset in study.presets.items():
            say(console, f"  --preset {name:8} {preset.what}")
        say(console, f"  --preset {PAPER:8} {', '.join(suites_for(study.name))}; for machines with GPUs")
        say(console, "")
    list_suites(console)
    say(console, "\ncuvee study NAME --preset smoke --plan shows what a study would do.")


def _show_plan(found: Forecast, *, as_json: bool) -> None:
    """Print what a study would do."""
    if as_json:
        print(json.dumps(found.as_mapping(), indent=2))
        return
    counted = ("bases", "experts", "multitask", "done", "settings tried", "done", "test scores")
    table = table_of(("suite",), (*counted, "training", "scoring", "stored"))
    for part in found.parts:
        bases = part.trainings.get("weak", 0) + part.trainings.get("strong", 0)
        counts = (bases, part.trainings.get("expert", 0), part.trainings.get("multitask", 0), part.done[0])
        table.add_row(
            part.suite,
            *map(str, counts),
            *map(str, (part.merges, part.done[1], part.tests)),
            *(f"{flops / 1e12:.2f} TFLOP" for flops in (part.training_flops, part.scoring_flops)),
            size(part.stored_bytes),
        )
    print_unfolded(table)


def _show(results: Results, out: Path) -> None:
    """Print the leaderboards and verdicts."""
    console = Console(emoji=False)
    show_boards(console, results.rows)
    say(console, "")
    for finding in results.findings:
        say(console, f"{finding.verdict:>13}  {finding.name}: {finding.statement}{_estimated(finding)}")
    say(
        console,
        f"\nTraining, merges and scores: {duration(results.total_cpu_seconds)} of one core, "
        f"{duration(results.cpu_seconds)} of them in this run, which took {duration(results.wall_seconds)}. "
        f"Report: {out / PAGE}",
    )


def _estimated(finding: Finding) -> str:
    """Write an estimate for people."""
    estimate, scale = finding.estimate, finding.scale
    if estimate is None:
        return ""
    mean = f"{scale * estimate.mean:.3g}{' points' if finding.unit == POINTS else ''}"
    if estimate.low is None or estimate.high is None:
        return f" ({mean}; {estimate.num_seeds} of the three seeds that a verdict needs)"
    return f" ({mean}, 95 % from {scale * estimate.low:.3g} to {scale * estimate.high:.3g})"
