"""A study performed: conducted, judged, written down."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from cuvee.errors import OutputError
from cuvee.studies.conduct import Sheet, conduct
from cuvee.studies.provenance import provenance
from cuvee.studies.registry import find_suite
from cuvee.studies.results import FILE, Finding, Results
from cuvee.studies.rows import Row
from cuvee.studies.runner.jobs import result_of
from cuvee.studies.runner.store import Store
from cuvee.studies.runner.work import Progress
from cuvee.studies.study import Hypothesis, Preset, Study
from cuvee.studies.verdict import verdict

__all__ = ["MARK", "judged", "perform", "prepare"]

MARK = ".cuvee-study"  # a folder with this file in it is a study's, and may be written again


def prepare(out: Path) -> None:
    """Make the folder of a study's results; one that an earlier study made is used again.

    Raises:
        OutputError: it is a file, or holds something that no study made.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; a study needs a folder. Name another one with --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).exists():
        raise OutputError(f"{out}: the folder holds something that no study made; name a new one with --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MARK).touch()
    except OSError as error:
        raise OutputError(f"{out}: the folder cannot be made: {error.strerror}.") from error


def perform(
    study: Study, preset: Preset, name: str, store: Store, out: Path, processes: int, command: str, progress: Progress
) -> Results:
    """Conduct a study, judge its hypotheses, and write the results.

    Args:
        study: which.
        preset: its size.
        name: of the preset.
        store: where trained models and results are kept.
        out: folder for the results, prepared.
        processes: jobs at a time; 0 does all in this process.
        command: what the user said.
        progress: told after each job.

    Raises:
        StudyError: the study asks for what a suite does not have, or this machine draws other data.
        CuveeError: a merge cannot be made, or the results cannot be written.
    """
    _see_that_it_can_be_written(store.folder)
    for suite in sorted({arm.suite for arm in preset.arms}):
        find_suite(suite).digests()
    begun = time.perf_counter()
    conducted = conduct(preset, store, processes, progress)
    results = Results(
        study=study.name,
        preset=name,
        rows=conducted.rows,
        findings=judged(study, conducted.rows),
        sheets=[_sheet(sheet, store) for sheet in conducted.sheets],
        provenance=provenance(command),
        cpu_seconds=conducted.spent.cpu_seconds,
        wall_seconds=time.perf_counter() - begun,
        total_cpu_seconds=conducted.total_cpu_seconds,
    )
    results.save(out / FILE)
    return results


def _see_that_it_can_be_written(folder: Path) -> None:
    """Make the folder of the store, before hours of training find that there is no place for what they make.

    Raises:
        OutputError: it cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix="."):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: trained models and results cannot be kept there: {error.strerror}. Name another folder with "
            "--cache."
        ) from error


def judged(study: Study, rows: Sequence[Row]) -> Sequence[Finding]:
    """Judge a study's hypotheses by rows."""
    return [_finding(hypothesis, rows) for hypothesis in study.hypotheses]


def _finding(hypothesis: Hypothesis, rows: Sequence[Row]) -> Finding:
    found, estimate = verdict(hypothesis.sample(rows), hypothesis.above)
    return Finding(
        name=hypothesis.name,
        statement=hypothesis.statement,
        source=hypothesis.source,
        statistic=hypothesis.statistic,
        unit=hypothesis.unit,
        above=hypothesis.above,
        verdict=found,
        estimate=estimate,
    )


def _sheet(sheet: Sheet, store: Store) -> Mapping[str, Any]:
    """Return images of models as plain values."""
    unit, rows = sheet.unit, []
    for name, job in sheet.jobs:
        pictures = result_of(job, store)["pictures"]
        if pictures:
            cells = [f"{a}-{b}" for (a, b), _ in pictures]
            rows.append({"name": name, "cells": cells, "images": [images for _, images in pictures]})
    arm, suite = unit.arm, find_suite(unit.arm.suite).about.name
    title = f"{suite}, {arm.architecture}, {arm.base} base, {len(unit.models)} models"
    held_in = [cell.name for cell in unit.models]
    return {"title": title, "held_in": held_in, "rows": rows}
