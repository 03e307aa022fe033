"""Measure how time and memory grow with the size of the models, their number, and the number of tensors.

    python benchmarks/growth.py --billions 0.1 0.3 1.1 8 --results docs/performance/growth.json

Three series, each with every case that was asked for: models of growing size, more and more models of a small size, and
more and more tensors that are the smaller the more there are. The floor and ``cuvee merge`` are run in turn, each a
whole command in a process of its own. Prints seconds, peak memory and the peak that the plan foretells. A size that the
disk has no room for is left out with a message. Linux only.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record
from cases import cases
from inputs import BYTES, TINY, add_options, checkpoints, lacking, scratch
from measure import Plan, measure, warn_if_uncached
from tables import SERIES, growth_table


def read_options() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--billions", type=float, nargs="*", default=[0.1, 0.3, 1.1], help="parameters, in 10^9")
    parser.add_argument("--models", type=int, default=3, help="in the series of sizes and of tensors")
    parser.add_argument("--experts", type=int, nargs="*", default=list(range(2, 9)), help="numbers of models")
    parser.add_argument("--tensors", type=int, nargs="*", default=[1_000, 10_000, 44_000], help="numbers of tensors")
    parser.add_argument("--small", type=float, default=0.1, help="billions in the series of experts and of tensors")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=["linear", "ties"], help="as in speed.py")
    parser.add_argument("--workers", type=int, help="threads of cuvee; by default its own choice")
    parser.add_argument("--results", type=Path, help="file to write; by default growth.json in the folder")
    add_options(parser)
    return parser.parse_args()


def points(options: argparse.Namespace) -> Iterator[tuple[str, float, float, int, int | None]]:
    """Yield what is measured: series, value, billions, number of models, number of tensors."""
    for billions in options.billions:
        yield "size", billions, billions, options.models, None
    for experts in options.experts:
        yield "experts", experts, options.small, experts, None
    for tensors in options.tensors:
        yield "tensors", tensors, options.small, options.models, tensors


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every point."""
    result = record.setting("growth", options) | {"cases": []}
    workers = ("--workers", str(options.workers)) if options.workers else ()
    with scratch(options.folder) as folder:
        with checkpoints(options, TINY, options.models) as folders:
            for case in cases(options.models, options.cases):
                print("once at a small size:")
                measure(case, folders, folder, Plan(repetitions=1, options=workers))
        for series, value, billions, num_models, tensors in points(options):
            print(f"\n{SERIES[series][0]}: {value:{SERIES[series][1]}}", flush=True)
            missing = lacking(options, billions, num_models)
            if missing:
                print(f"left out: {missing}", flush=True)
                continue
            size = billions * 1e9 * BYTES
            warn_if_uncached(int(size * (num_models + 1)), int(size))
            with checkpoints(options, billions, num_models, tensors) as folders:
                for case in cases(num_models, options.cases):
                    measured = measure(case, folders, folder, Plan(repetitions=options.repetitions, options=workers))
                    result["cases"].append({"series": series, "value": value, **measured})
    return result


def main() -> None:
    """Read the options, measure, print what follows."""
    options = read_options()
    result = run(options)
    for series in SERIES:
        print(f"\n{growth_table(result, series)}", end="")
    record.save(result, options.results or options.folder / "growth.json")


if __name__ == "__main__":
    main()
