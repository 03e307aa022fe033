"""The demo's result: a row per model, as a table for the terminal and as plain values for a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.table import Table

from cuvee.studies.demo.score import mean

__all__ = ["Row", "plain_row", "render"]

Kind = Literal["base", "expert", "merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model's accuracies on the test images.

    Attributes:
        name: what the table calls it.
        kind: base, expert or merge.
        folder: where the checkpoint is, relative to the demo's folder.
        tasks: accuracy in [0, 1] on each expert's task.
        unseen: accuracy in [0, 1] on each combination no expert was trained on.
        method: a merge's method.
        setting: a merge's parameters that were chosen from several values.
        num_tried: number of settings a merge was chosen from, on validation images.
    """

    name: str
    kind: Kind
    folder: str
    tasks: Mapping[str, float]
    unseen: Mapping[str, float]
    method: str = ""
    setting: Mapping[str, float] = field(default_factory=dict)
    num_tried: int = 1


def plain_row(row: Row) -> dict[str, object]:
    """Return a row as values that JSON can hold."""
    content: dict[str, object] = {"name": row.name, "kind": row.kind, "folder": row.folder}
    if row.kind == "merge":
        content |= {"method": row.method, "setting": dict(row.setting), "settings_tried": row.num_tried}
    return content | {
        "tasks": dict(row.tasks),
        "tasks_mean": mean(row.tasks),
        "unseen": dict(row.unseen),
        "unseen_mean": mean(row.unseen),
    }


def render(rows: Sequence[Row]) -> Table:
    """Lay the rows out for a terminal of 80 columns, accuracies in percent.

    Bold: each expert on its own task, and the best merge of each column.

    Args:
        rows: base, experts, merges; all with the same cells.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.title, table.title_justify = "Accuracy on test images, %", "left"
    table.add_column("\nmodel", no_wrap=True)
    table.add_column("\nsetting", no_wrap=True, style="dim")
    for name in rows[0].tasks:
        table.add_column(name.replace("-", "\n"), justify="right")
    table.add_column("four\ntasks", justify="right", style="cyan")
    table.add_column("unseen\npairs", justify="right", style="cyan")
    best = [max(column) for column in zip(*(_values(row) for row in rows if row.kind == "merge"), strict=True)]
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        stands_out = [
            value == top if row.kind == "merge" else name == row.name
            for name, value, top in zip((*row.tasks, "", ""), _values(row), best, strict=True)
        ]
        cells = [
            f"[bold]{100 * value:.1f}[/]" if bold else f"{100 * value:.1f}"
            for value, bold in zip(_values(row), stands_out, strict=True)
        ]
        setting = "\n".join(f"{name} {value:g}" for name, value in row.setting.items())
        table.add_row(row.name, setting, *cells, end_section=following is not None and following.kind != row.kind)
    return table


def _values(row: Row) -> list[float]:
    """Return what a row of the table shows: each task, the mean of the tasks, the mean of the unseen combinations."""
    return [*row.tasks.values(), mean(row.tasks), mean(row.unseen)]
