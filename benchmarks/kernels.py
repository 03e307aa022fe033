"""Time the compiled kernels on blocks in memory, one thread: what arithmetic costs a merge, besides moving its bytes.

    python benchmarks/kernels.py --models 3 --dtype BF16 --repetitions 9 --results docs/performance/kernels.json

Each line is one reading of one block of every model (and the base, for task vectors): nanoseconds per element of the
output, and the rate at which raw inputs are consumed. The median of the repetitions, with the fastest and the slowest.
Stays in the processor's caches; compare it with copying the same inputs, which is the first line.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
from tables import kernels_table

from cuvee.spec import DTYPES
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.convert import from_bytes
from cuvee.tensors.kernels.machine_code import kernel
from cuvee.tensors.operands import Block, TaskVector
from cuvee.tensors.passes import Position, advance
from cuvee.tensors.random import Dropped, Key
from cuvee.tensors.selection import Cut, Trimmed, trim
from cuvee.tensors.signs import disjoint_merge, sign_vote

ELEMENTS = 1 << 18
ROUNDS = 8  # blocks that one repetition goes through

Kernels = dict[str, tuple[int, Callable[[], object]]]
"""By what they do: how many blocks they read, and one call."""


def blocks(count: int, dtype: str, seed: int) -> list[Block]:
    """Make a base and models that differ from it by a tenth of its size, as raw elements."""
    random = np.random.default_rng(seed)
    base = random.standard_normal(ELEMENTS).astype(np.float32) * 0.02
    values = [base] + [
        base + random.standard_normal(ELEMENTS).astype(np.float32) * np.float32(0.002) for _ in range(count)
    ]
    raw = {"F32": lambda x: x, "F16": lambda x: x.astype(np.float16), "BF16": _bf16}[dtype]
    return [Block(raw(x).view(np.uint8), DTYPES[dtype], 1, from_bytes) for x in values]


def _bf16(values: Any) -> Any:
    """Cut float32 to the upper 16 bits."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def kernels(count: int, dtype: str, seed: int) -> Kernels:
    """Return what is timed."""
    base, *models = blocks(count, dtype, seed)
    deltas = [TaskVector(model, base) for model in models]
    out, spare = np.zeros_like(base.data), np.zeros_like(base.data)
    weights = [1 / count] * count

    def copy() -> None:
        for model in models:
            spare[:] = model.data

    def store(result: Any, added: Block | None) -> Callable[[], object]:
        return lambda: result.store(added, DTYPES[dtype], out)

    apart = Position(size=ELEMENTS, whole=False)
    asked: Any = advance(trim, [], False, deltas, [0.5] * count, apart)
    candidates = asked.answer(asked.measure())
    tally: Any = advance(trim, [candidates], False, deltas, [0.5] * count, apart)
    trimmed: Any = advance(trim, [], True, deltas, [0.5] * count, Position(size=ELEMENTS))
    bands = [Trimmed(x.operand, x.keep, _outliers(x.keep)) for x in trimmed]
    dropped = [Dropped(x, 0.5, 2.0, Key.of(seed, f"m{i}", ["w"]), 0) for i, x in enumerate(deltas)]
    return {
        "copy the inputs": (count, copy),
        "weighted sum": (count, store(weighted_sum(models, weights), None)),
        "weighted sum of task vectors": (count + 1, store(weighted_sum(deltas, weights), base)),
        "inner products": (count, lambda: gram_matrix(models)),
        "tally of magnitudes": (count + 1, tally.measure),
        "sign vote after a trim": (count + 1, lambda: sign_vote(trimmed, weights)),
        "trim, elect, mean": (count + 1, store(disjoint_merge(trimmed, weights, 1, how="mean", scale=1.0), base)),
        "sum of bands": (count + 1, store(weighted_sum(bands, weights), base)),
        "random drop, sum": (count + 1, store(weighted_sum(dropped, weights), base)),
        "random drop, elect, mean": (
            count + 1, store(disjoint_merge(dropped, weights, 1, how="mean", scale=1.0), base),
        ),
    }  # fmt: skip


def _outliers(keep: Cut) -> Cut:
    """Cut off some of what is kept: magnitudes from twice the smallest on."""
    return Cut(keep.bits + (1 << 23), np.zeros_like(keep.spare), np.zeros_like(keep.before))


def timed(call: Callable[[], object], repetitions: int) -> list[float]:
    """Return seconds per block of each repetition, of processor time of this thread; the first call is not timed."""
    call()
    found = []
    for _ in range(repetitions):
        began = time.thread_time()
        for _ in range(ROUNDS):
            call()
        found.append((time.thread_time() - began) / ROUNDS)
    return sorted(found)


def main() -> int:
    """Read the options, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", type=int, default=3, help="besides the base")
    parser.add_argument("--dtype", choices=["BF16", "F16", "F32"], default="BF16")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="file to write")
    options = parser.parse_args()
    if kernel() is None:
        print("There are no compiled kernels here: is numba installed?")
        return 1
    result = record.setting("kernels", options)
    width = DTYPES[options.dtype].bits // 8
    result["kernels"] = [
        {
            "kernel": name,
            "input_bytes": reads * width,
            "nanoseconds": [1e9 * seconds / ELEMENTS for seconds in timed(call, options.repetitions)],
        }
        for name, (reads, call) in kernels(options.models, options.dtype, options.seed).items()
    ]
    print(kernels_table(result))
    if options.results:
        record.save(result, options.results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
