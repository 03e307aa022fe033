"""One case, measured: the floor, cuvee and mergekit in turn on the same files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timing
from cases import Case, cuvee, floor, planned
from rival import merge

UNCACHED = 0.02  # share of the inputs that may come from the disk before we say so,
PROGRAMS = 100_000_000  # and bytes of programs and libraries that may do so besides
ROOM = 2  # outputs that have to fit into memory beside the inputs: the one being written, and the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often each command is run.

    Attributes:
        repetitions: of the floor and of cuvee.
        mergekit: mergekit's environment; None leaves it out.
        mergekit_repetitions: of mergekit.
        synced: run a floor that flushes its output to disk as well.
        warm_up: run cuvee and mergekit once before, untimed.
        options: options of ``cuvee merge``.
    """

    repetitions: int
    mergekit: Path | None = None
    mergekit_repetitions: int = 0
    synced: bool = False
    warm_up: bool = False
    options: Sequence[str] = ()


def measure(case: Case, folders: Sequence[Path], scratch: Path, plan: Plan) -> dict[str, Any]:
    """Measure a case.

    Args:
        case: what is merged.
        folders: the base and the models.
        scratch: folder for recipes and outputs.
        plan: how often.

    Returns:
        The case as plain values, with what the plan says of it and every run.
    """
    recipe, out = scratch / "recipe.yaml", scratch / "out"
    recipe.write_text(case.recipe(folders))
    inputs = case.inputs(folders)
    said = planned(recipe, *plan.options)
    num_bytes = sum(file.stat().st_size for folder in inputs for file in folder.glob("*.safetensors"))
    commands = {
        "floor": floor(inputs, out, plan.repetitions),
        "cuvee": cuvee(recipe, out, plan.repetitions, *plan.options),
    }
    if plan.synced:
        commands["floor, synced"] = floor(inputs, out, plan.repetitions, "--sync")
    if plan.mergekit and case.in_mergekit and plan.mergekit_repetitions:
        path = scratch / "mergekit.yaml"
        path.write_text(case.mergekit_recipe(folders))
        commands["mergekit"] = merge(plan.mergekit, path, out, plan.mergekit_repetitions)
    warm_up(commands if plan.warm_up else {"floor": commands["floor"]}, said["bytes_written"])
    runs = []
    for name, cost in timing.in_turn(commands, said["bytes_written"]):
        runs.append({"command": name, **rounded(asdict(cost))})
        print(f"{case.name:24} {name:14} {line(cost)}", flush=True)
        if cost.disk_read > UNCACHED * num_bytes + PROGRAMS:
            print(
                f"  {cost.disk_read / 1e6:.0f} MB of this came from the disk: the inputs were not in memory", flush=True
            )
    return {**asdict(case), **said, "input_bytes": num_bytes, "runs": runs}


def warm_up(commands: Mapping[str, timing.Command], num_bytes: int) -> None:
    """Run commands once each, so that the inputs are in memory, and programs and what they compile are in place."""
    once = {
        name: timing.Command(command.words, command.out, 1, command.environment) for name, command in commands.items()
    }
    for _ in timing.in_turn(once, num_bytes):
        pass


def line(cost: timing.Run) -> str:
    """Return what a run took, as text."""
    return f"{cost.seconds:8.2f} s   {cost.cpu_seconds:8.2f} s of processor   {cost.peak / 1e6:8.0f} MB"


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with seconds to the millisecond."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def warn_if_uncached(input_bytes: int, output_bytes: int) -> None:
    """Say so if the inputs and what is written do not fit into memory."""
    needed, available = input_bytes + ROOM * output_bytes, timing.available_memory()
    if needed > available:
        print(
            f"warning: inputs and outputs take {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB of memory are free; "
            "inputs will come from the disk, and times will be the disk's",
            flush=True,
        )
