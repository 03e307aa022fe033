"""Results of a study as a file, from which report and documents are made again without running anything."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cuvee.errors import OutputError, StudyError
from cuvee.studies.provenance import Provenance
from cuvee.studies.rows import Row
from cuvee.studies.study import POINTS
from cuvee.studies.verdict import Estimate, Verdict

__all__ = ["FILE", "FORMAT", "Finding", "Results"]

FILE = "results.json"
FORMAT = 1
DIGITS = 12  # of what is measured: ranks tell nearly equal shares apart, and findings are to follow from rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of a hypothesis.

    Attributes:
        name, statement, source, statistic, unit, above: as it was declared before the run.
        verdict: what the interval says.
        estimate: of the statistic; None where no row has it.
    """

    name: str
    statement: str
    source: str
    statistic: str
    unit: str
    above: float
    verdict: Verdict
    estimate: Estimate | None

    @property
    def scale(self) -> float:
        """What its numbers are told in: scores lie in [0, 1], and points are hundredths of that."""
        return 100.0 if self.unit == POINTS else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a run of a study found.

    Attributes:
        study, preset: names.
        rows: one per model that was scored.
        findings: one per hypothesis.
        sheets: images: title, and rows of (name, cells, images as lists of 0 to 255).
        provenance: where it ran.
        cpu_seconds, wall_seconds: of this run, without what earlier runs had done.
        total_cpu_seconds: of all trainings and results that it is made of, whenever they were made.
    """

    study: str
    preset: str
    rows: Sequence[Row]
    findings: Sequence[Finding]
    sheets: Sequence[Mapping[str, Any]]
    provenance: Provenance
    cpu_seconds: float
    wall_seconds: float
    total_cpu_seconds: float

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            OutputError: it cannot be written.
        """
        content = {"format": FORMAT, **asdict(self)}
        work = path.with_name(f".{path.name}.part")
        try:
            work.write_text(json.dumps(_rounded(content), indent=None, separators=(",", ":")) + "\n")
            work.replace(path)
        except OSError as error:
            raise OutputError(f"{path}: the results cannot be written: {error.strerror}.") from error

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read the file.

        Raises:
            StudyError: it is no such file, or of another format.
        """
        try:
            content = json.loads(path.read_text())
            if content.pop("format") != FORMAT:
                raise StudyError(f"{path}: these results have another format; run the study again.")
            return cls(
                **{
                    **content,
                    "rows": [_row(each) for each in content["rows"]],
                    "findings": [_finding(each) for each in content["findings"]],
                    "provenance": Provenance(**content["provenance"]),
                }
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudyError(f"{path}: not the results of a study ({error}). Name the {FILE} of a run.") from error


def _row(values: Mapping[str, Any]) -> Row:
    """Make a row of plain values."""
    known = {field.name for field in fields(Row)}
    tried = [(settings, value) for settings, value in values["tried"]]
    return Row(
        **{
            name: value
            for name, value in {**values, "tried": tried, "models": tuple(values["models"])}.items()
            if name in known
        }
    )


def _finding(values: Mapping[str, Any]) -> Finding:
    """Make a finding of plain values."""
    found = values["estimate"]
    return Finding(**{**values, "estimate": Estimate(**found) if found else None})


def _rounded(value: Any) -> Any:
    """Shorten numbers."""
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case Mapping():
            return {key: _rounded(each) for key, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
    return value
