"""The demo's line: train, save, merge, score, table. Whatever it prints was measured in this run."""

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cuvee.errors import OutputError
from cuvee.studies.demo.bars import bars
from cuvee.studies.demo.data import TASKS, UNSEEN, drawn_cell
from cuvee.studies.demo.merges import TRIALS, Chosen, Trial, choose
from cuvee.studies.demo.score import accuracies, mean
from cuvee.studies.demo.table import Row, plain_row, render
from cuvee.studies.demo.train import Job, Report, train_all

__all__ = ["Effort", "Result", "demo"]

MARK = ".cuvee-demo"  # a folder with this file in it is the demo's, and may be made again
MODELS, MERGES, RESULTS = "models", "merges", "results.json"
BASE = "base"
MERGING, SCORING = "merge", "score"
BASE_RATE = 3e-3
EXPERT_RATE = 5e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much work the demo does.

    Attributes:
        base_steps: batches the base is trained on.
        expert_steps: batches each expert is trained on.
        copies: how often each scan is drawn for training.
        processes: how many experts are trained at a time; 0 trains them one by one, in this process.
        trials: what is merged.
    """

    base_steps: int = 1500
    expert_steps: int = 150
    copies: int = 6
    processes: int = field(default_factory=lambda: min(os.cpu_count() or 1, len(TASKS)))
    trials: Sequence[Trial] = TRIALS


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the demo measured.

    Attributes:
        seed: what everything random came from.
        rows: base, experts, merges.
        num_test_images: images per cell that the accuracies were measured on.
        seconds: wall time per stage.
    """

    seed: int
    rows: Sequence[Row]
    num_test_images: Mapping[str, int]
    seconds: Mapping[str, float]


def demo(out: Path, seed: int = 0, *, console: Console | None = None, effort: Effort | None = None) -> Result:
    """Train a base and four experts on images of digits, merge them by several methods, score all, print the table.

    Same seed, same models and same numbers. Settings are chosen on validation images of the experts' tasks; test images
    are looked at once, at the end, by the models in the table.

    Args:
        out: folder for checkpoints, recipes and ``results.json``; one that an earlier demo made is made again.
        seed: decides everything random.
        console: where to print; standard output if None.
        effort: how much work; the default takes about half a minute on two cores.

    Raises:
        OutputError: `out` holds something that is not the demo's.
    """
    console, effort = console or Console(), effort or Effort()
    _prepare(out)
    seconds: dict[str, float] = {}
    with bars(console, [BASE, *(cell.name for cell in TASKS), MERGING, SCORING]) as report:
        with _timed(seconds, "train"):
            _train(out / MODELS, seed, effort, report)
        with _timed(seconds, "merge"):
            merges = _merge(out, seed, effort.trials, report)
        with _timed(seconds, "score"):
            rows, num_test_images = _score(out, seed, merges, report)
    result = Result(seed=seed, rows=rows, num_test_images=num_test_images, seconds=seconds)
    _write(result, out / RESULTS)
    console.print(render(rows))
    console.print(_explanation(result, out), highlight=False, soft_wrap=True)
    return result


def _prepare(out: Path) -> None:
    """Make the folder, or empty it of what an earlier demo left; nothing else in it is touched."""
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).exists():
        raise OutputError(f"{out}: the folder holds something that no earlier demo made; name a new one with --out.")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; the demo needs a folder. Name another one with --out.")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    (out / RESULTS).unlink(missing_ok=True)
    for name in (MODELS, MERGES):
        if (out / name).exists():
            shutil.rmtree(out / name)
        (out / name).mkdir()


def _train(models: Path, seed: int, effort: Effort, report: Report) -> None:
    """Train the base, then the experts from it. The base is a single job, not worth a process."""
    base = Job(out=models / BASE, seed=seed, steps=effort.base_steps, learning_rate=BASE_RATE, copies=effort.copies)
    train_all([base], 0, report)
    experts = [
        Job(
            out=models / cell.name,
            seed=seed,
            steps=effort.expert_steps,
            learning_rate=EXPERT_RATE,
            copies=2 * effort.copies,
            cell=cell,
            start=base.out,
        )
        for cell in TASKS
    ]
    train_all(experts, effort.processes, report)


def _merge(out: Path, seed: int, trials: Sequence[Trial], report: Report) -> list[Chosen]:
    """Merge by every method, with the setting that does best on the experts' tasks together."""
    validation = {cell: drawn_cell(cell, "validation", seed) for cell in TASKS}
    experts = {cell.name: out / MODELS / cell.name for cell in TASKS}
    chosen = []
    for trial in trials:
        chosen.append(
            choose(
                trial,
                out / MERGES,
                out / MODELS / BASE,
                experts,
                seed,
                lambda folder: mean(accuracies(folder, validation)),
            )
        )
        report(MERGING, len(chosen), len(trials))
    return chosen


def _score(out: Path, seed: int, merges: Sequence[Chosen], report: Report) -> tuple[list[Row], dict[str, int]]:
    """Measure base, experts and merges on the test images; say how many images each cell has."""
    tasks = {cell: drawn_cell(cell, "test", seed) for cell in TASKS}
    unseen = {cell: drawn_cell(cell, "test", seed) for cell in UNSEEN}
    by_folder = {chosen.folder: chosen for chosen in merges}
    folders = [out / MODELS / name for name in (BASE, *(cell.name for cell in TASKS))] + list(by_folder)
    rows = []
    for folder in folders:
        chosen = by_folder.get(folder)
        rows.append(
            Row(
                name=folder.name,
                kind="merge" if chosen else "base" if folder.name == BASE else "expert",
                folder=folder.relative_to(out).as_posix(),
                tasks=accuracies(folder, tasks),
                unseen=accuracies(folder, unseen),
                method=chosen.method if chosen else "",
                setting=chosen.setting if chosen else {},
                num_tried=chosen.num_tried if chosen else 1,
            )
        )
        report(SCORING, len(rows), len(folders))
    return rows, {cell.name: len(examples.labels) for cell, examples in (tasks | unseen).items()}


def _write(result: Result, path: Path) -> None:
    content = {
        "seed": result.seed,
        "num_test_images": dict(result.num_test_images),
        "seconds": {stage: round(seconds, 2) for stage, seconds in result.seconds.items()},
        "rows": [plain_row(row) for row in result.rows],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _explanation(result: Result, out: Path) -> str:
    """Say what the columns mean, where the files are, and how to make a merge by hand."""
    best = max((row for row in result.rows if row.kind == "merge"), key=lambda row: mean(row.tasks))
    recipe, again = out / f"{best.folder}.yaml", out / f"{best.name}-again"
    command = "cuvee" if shutil.which("cuvee") else shlex.quote(str(Path(sys.executable).parent / "cuvee"))
    groups = ", ".join(cell.name for cell in UNSEEN)
    lines = [
        "",
        "Rows: the base, the four experts (each trained on the task it is named after), the merges.",
        f"Unseen pairs: what no expert was trained on ({groups}).",
        "Settings were chosen on other images of the four tasks; unseen pairs and test images had no say.",
        "",
        f"Checkpoints  {out / MODELS}/, {out / MERGES}/ (each merge beside its recipe)",
        f"Numbers      {out / RESULTS}",
        f"By hand      {command} merge {shlex.quote(str(recipe))} --out {shlex.quote(str(again))}",
    ]
    return "\n".join(lines)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
