"""``cuvee extract``."""

from pathlib import Path

from rich.console import Console

from cuvee.cli.lines import say
from cuvee.cli.merge import progress_bar
from cuvee.cli.tables import print_unfolded, table_of
from cuvee.cli.units import size
from cuvee.execute.adapter.extract import extract
from cuvee.plan.limits import Limits

__all__ = ["run"]


def run(
    base: str,
    finetuned: str,
    out: Path,
    *,
    rank: int | None,
    error: float | None,
    save_others: bool,
    overwrite: bool,
    limits: Limits,
) -> None:
    """Extract an adapter, and print what became of each tensor that differs."""
    with progress_bar(Console(stderr=True, emoji=False), "extracting") as progress:
        found = extract(
            base,
            finetuned,
            out,
            rank=rank,
            error=error,
            save_others=save_others,
            overwrite=overwrite,
            limits=limits,
            progress=progress,
        )
    if found.modules:
        table = table_of(("module",), ("rank", "norm", "relative error"))
        for each in found.modules:
            table.add_row(each.module, str(each.rank), f"{each.norm:.4g}", f"{each.error:.3g}")
        print_unfolded(table)
    if found.others:
        table = table_of(("other tensors that differ",), ("norm",), ("in the adapter",))
        for other in found.others:
            table.add_row(other.name, f"{other.norm:.4g}", "as a whole" if other.saved else "no")
        print_unfolded(table)
    report = found.report
    said = (
        f"{found.unchanged:,} tensors are equal. Wrote {out}: {size(report.bytes_written)} in {report.seconds:.1f} s."
    )
    say(Console(emoji=False), said)
