"""Time whole merges against the floor and against mergekit, on the same files, in turn.

    python benchmarks/speed.py --billions 1.1 --models 3 --repetitions 5 --results docs/performance/speed.json

Every registered method that works on any block is one case, with passes over each tensor and a density of 0.5 where it
has these settings; TIES is another one with passes over the whole model. A run is a whole command in a process of its
own, start-up included: the floor (benchmarks/floor.py), ``cuvee merge``, and ``mergekit-yaml`` where mergekit has the
method. Prints every run, then ratios, memory and which targets are met. mergekit is installed into an environment of
its own the first time. Linux only.
"""

import argparse
from pathlib import Path
from typing import Any

import record
import rival
from cases import cases
from inputs import BYTES, TINY, add_options, checkpoints, lacking, scratch
from measure import Plan, measure, warn_if_uncached
from summary import summaries, verdicts
from tables import memory_table, speed_table, targets_table


def read_options() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--billions", type=float, default=1.1, help="parameters of each model, in 10^9")
    parser.add_argument("--models", type=int, default=3, help="besides the base")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--mergekit-repetitions", type=int, help="by default as many")
    parser.add_argument("--cases", nargs="+", help="some only, such as: linear 'ties, whole model'")
    parser.add_argument("--workers", type=int, help="threads of cuvee; by default its own choice")
    parser.add_argument("--synced-floor", action="store_true", help="add a floor that flushes its output to disk")
    parser.add_argument("--mergekit", type=Path, help="environment that mergekit is in, or is installed into")
    parser.add_argument("--no-mergekit", action="store_true")
    parser.add_argument("--torch-index", help="package index for mergekit's torch, to avoid GPU libraries")
    parser.add_argument("--no-warm-up", action="store_true", help="do not run everything once at a small size before")
    parser.add_argument("--results", type=Path, help="file to write; by default speed.json in the folder")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    add_options(parser)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every case."""
    result = record.setting("speed", options)
    place = None if options.no_mergekit else options.mergekit or options.folder / rival.PLACE
    if place:
        result["mergekit"] = rival.prepare(place, options.torch_index)
    plan = Plan(
        repetitions=options.repetitions,
        mergekit=place,
        mergekit_repetitions=options.mergekit_repetitions or options.repetitions,
        synced=options.synced_floor,
        options=("--workers", str(options.workers)) if options.workers else (),
    )
    chosen = cases(options.models, options.cases)
    with scratch(options.folder) as folder:
        if not options.no_warm_up:
            with checkpoints(options, TINY, options.models) as folders:
                print("once at a small size:")
                once = Plan(repetitions=1, mergekit=place, mergekit_repetitions=1, options=plan.options)
                for case in chosen:
                    measure(case, folders, folder, once)
                print()
        with checkpoints(options, options.billions, options.models) as folders:
            size = options.billions * 1e9 * BYTES
            warn_if_uncached(int(size * (options.models + 1)), int(size))
            result["cases"] = [measure(case, folders, folder, plan) for case in chosen]
    return result


def main() -> int:
    """Read the options, measure, print what follows; return the exit status."""
    options = read_options()
    missing = lacking(options, options.billions, options.models)
    if missing:
        print(missing)
        return 1
    result = run(options)
    measured = summaries(result)
    judged = verdicts(measured)
    for table in (speed_table(measured), memory_table(measured), targets_table(judged)):
        print(f"\n{table}", end="")
    record.save(result, options.results or options.folder / "speed.json")
    return int(options.strict and not all(verdict.is_met for verdict in judged))


if __name__ == "__main__":
    raise SystemExit(main())
