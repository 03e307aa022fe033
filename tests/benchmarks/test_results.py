"""What is made of timings: medians, ratios, verdicts, tables, the page."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Import = Callable[[str], ModuleType]
ROOT = Path(__file__).resolve().parents[2]


def test_a_summary_has_medians_of_seconds_and_the_largest_peak(module: Import, result: dict[str, Any]) -> None:
    linear = module("summary").summaries(result)[0]
    assert (linear.floor.seconds, linear.cuvee.seconds, linear.mergekit.seconds) == (2.0, 2.5, 50.0)
    assert (linear.floors, linear.faster, linear.cuvee.peak) == (1.25, 20.0, 200_000_000)
    assert (str(linear.cuvee), str(linear.mergekit)) == ("2.50 (2.00–3.00)", "50.00")


def test_a_pass_is_compared_with_that_of_linear(module: Import, result: dict[str, Any]) -> None:
    summary = module("summary")
    assert summary.times_linear(summary.summaries(result)[:2]) == {"linear": 1.0, "ties": 6.0 / 2.5}
    assert summary.times_linear(summary.summaries(result)[1:2]) == {}


def test_verdicts_are_met_or_missed(module: Import, result: dict[str, Any]) -> None:
    summary = module("summary")
    found = {(v.case, v.what): (v.asked, v.reached, v.is_met) for v in summary.verdicts(summary.summaries(result)[:2])}
    assert found == {
        ("linear", "mergekit ÷ cuvee"): ("≥ 12", "20.0", True),
        ("linear", "cuvee ÷ floor"): ("≤ 1.5", "1.25", True),
        ("linear", "peak memory, MB"): ("≤ 500", "200", True),
        ("linear", "pass ÷ linear"): ("≤ 2", "1.00", True),
        ("ties", "cuvee ÷ floor"): ("≤ 4", "12.00", False),
        ("ties", "peak memory, MB"): ("≤ 700", "800", False),
        ("ties", "pass ÷ linear"): ("≤ 2", "2.40", False),
    }


def test_every_target_names_a_case_that_is_measured(module: Import) -> None:
    assert set(module("summary").TARGETS) <= {case.name for case in module("cases").cases(3)}


def test_tables_line_up(module: Import, result: dict[str, Any]) -> None:
    tables, summary = module("tables"), module("summary")
    measured = summary.summaries(result)[:2]
    judged = tables.targets_table(summary.verdicts(measured))
    growth = tables.growth_table(result, "size")
    for table in (tables.speed_table(measured), tables.memory_table(measured), judged, growth):
        assert len({len(line) for line in table.splitlines()}) == 1
    assert tables.growth_table(result, "tensors").count("\n") == 2


def test_the_page_is_filled_between_its_marks(module: Import, result: dict[str, Any], tmp_path: Path) -> None:
    page = module("page")
    (tmp_path / "growth.json").write_text(json.dumps(result))
    text = "before\n<!-- begin: growth -->\nold\n<!-- end -->\nbetween\n<!-- begin: speed -->\n<!-- end -->\nafter\n"
    after = page.written(text, tmp_path)
    assert page.written(after, tmp_path) == after
    assert "old" not in after
    assert "commit `0123456789ab`, with changes that were not committed, on 2 cores of A CPU with 25 GB" in after
    assert after.startswith("before\n<!-- begin: growth -->\n")
    assert after.endswith("between\n<!-- begin: speed -->\nNo results yet.\n<!-- end -->\nafter\n")


def test_figures_of_the_page_are_those_of_the_results(module: Import) -> None:
    page = module("page")
    text = (ROOT / "docs" / "performance.md").read_text()
    assert page.written(text, page.RESULTS) == text, "run python benchmarks/page.py"
    assert all(f"<!-- begin: {part} -->" in text for part in page.PARTS)


def test_charts_are_the_same_for_the_same_results(
    module: Import, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    chart = module("chart")
    for name in ("speed", "growth"):
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    monkeypatch.setattr("sys.argv", ["chart.py", str(tmp_path)])
    chart.main()
    first = {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")}
    chart.main()
    assert set(first) == {"speed.svg", "growth.svg"}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")} == first
