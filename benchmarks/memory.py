"""Measure the peak resident memory of whole merges, against what the plan predicts.

    python benchmarks/memory.py --billions 0.5 --models 4 --workers 2 --seed 0 --cases linear ties dare_ties

Makes a base and models, merges them once by each method with ``cuvee merge`` in a process of its own, and prints one
line for each: peak and predicted bytes, seconds. Exits with 1 if a prediction was too low. Linux only.
"""

import argparse

from cases import cases
from inputs import add_options, checkpoints, lacking, scratch
from measure import Plan, measure
from summary import summaries


def main() -> int:
    """Read the options, make the models, measure; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--billions", type=float, default=0.5, help="parameters of each model, in 10^9")
    parser.add_argument("--models", type=int, default=4, help="besides the base")
    parser.add_argument("--tensors", type=int, help="a mixture of experts with this many tensors")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cases", nargs="+", help="as in speed.py; by default all")
    add_options(parser)
    options = parser.parse_args()
    missing = lacking(options, options.billions, options.models)
    if missing:
        print(missing)
        return 1
    plan = Plan(repetitions=1, options=("--workers", str(options.workers)))
    with (
        scratch(options.folder) as folder,
        checkpoints(options, options.billions, options.models, options.tensors) as folders,
    ):
        measured = [measure(case, folders, folder, plan) for case in cases(options.models, options.cases)]
    too_low = 0
    for summary in summaries({"cases": measured}):
        peak, predicted = summary.cuvee.peak, summary.case["peak_memory"]
        too_low += predicted < peak
        print(
            f"{summary.name:24} peak {peak / 1e6:7.1f} MB   predicted {predicted / 1e6:7.1f} MB   "
            f"{summary.cuvee.seconds:7.1f} s{'   TOO LOW' if predicted < peak else ''}"
        )
    return int(too_low > 0)


if __name__ == "__main__":
    raise SystemExit(main())
