"""Write the figures of docs/performance.md anew from the results in docs/performance/.

    python benchmarks/page.py [--check]

Everything between ``<!-- begin: WHAT -->`` and ``<!-- end -->`` is replaced. With ``--check`` nothing is written, and
the exit status is 1 if something would change. benchmarks/chart.py draws the charts.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from summary import summaries, verdicts
from tables import SERIES, growth_table, kernels_table, memory_table, setting, speed_table, targets_table

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "performance.md"
RESULTS = DOCS / "performance"
PARTS = ("speed", "memory", "targets", "kernels", "growth")
NOTHING = "No results yet.\n"


def part(what: str, results: Path) -> str:
    """Make one generated part.

    Args:
        what: which one, of `PARTS`.
        results: folder of the results files.
    """
    path = results / (f"{what}.json" if what in ("growth", "kernels") else "speed.json")
    if not path.exists():
        return NOTHING
    result: dict[str, Any] = json.loads(path.read_text())
    if what == "growth":
        tables = [growth_table(result, series) for series in SERIES if has(result, series)]
        pieces = [setting(result), chart("growth", "Seconds and peak memory as models grow"), *tables]
    elif what == "kernels":
        pieces = [setting(result), kernels_table(result)]
    else:
        measured = summaries(result)
        pieces = {
            "speed": lambda: [setting(result), chart("speed", "Seconds of each merge"), speed_table(measured)],
            "memory": lambda: [memory_table(measured)],
            "targets": lambda: [targets_table(verdicts(measured))],
        }[what]()
    return "\n\n".join(piece.strip() for piece in pieces) + "\n"


def has(result: dict[str, Any], series: str) -> bool:
    """Say whether a series was measured."""
    return any(case["series"] == series for case in result["cases"])


def chart(name: str, words: str) -> str:
    """Return the line that shows a chart."""
    return f"![{words}]({RESULTS.name}/{name}.svg)"


def written(page: str, results: Path) -> str:
    """Return a page with its generated parts as they should be."""
    return re.sub(
        rf"(<!-- begin: ({'|'.join(PARTS)}) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{part(found[2], results)}{found[3]}",
        page,
        flags=re.DOTALL,
    )


def main() -> int:
    """Write the page if it has changed, or, with ``--check``, say whether it would."""
    before = PAGE.read_text()
    after = written(before, RESULTS)
    if before == after:
        return 0
    if "--check" in sys.argv:
        print(f"stale: {PAGE.name}")
        return 1
    PAGE.write_text(after)
    print(f"wrote: {PAGE.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
