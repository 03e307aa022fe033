"""Merge the same random models in many ways and compare the bytes.

    python benchmarks/same_bytes.py --elements 1300000 --seed 0

For every method and every scope it has: several numbers of workers and block sizes, rows in stored and in random order.
Prints one line per setting, and ``N passed, N failed`` at the end; exits with 1 if any differ.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from dataclasses import replace

import torch

import cuvee
from cuvee.execute.merged import open_sources
from cuvee.execute.run import execute
from cuvee.methods.declare import Method
from cuvee.plan.limits import budget_of
from cuvee.plan.planner import make_plan
from cuvee.writers.memory import MemoryWriter

Weights = dict[str, torch.Tensor]
RUNS = [(1, 8 << 20, False), (2, 1 << 20, False), (8, 1, True), (3, 600_000, True)]  # workers, block bytes, shuffled


def models(elements: int, seed: int) -> list[Weights]:
    """Make a base and three models in bfloat16, whose task vectors take few values so that magnitudes tie."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "z.weight": (elements // 300, 300),
        "a.weight": (elements // 7, 3),
        "a.bias": (elements // 2,),
        "one": (1,),
    }
    base = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    experts = [
        {n: t + torch.randint(-4, 5, t.shape, generator=generator) / 64 for n, t in base.items()} for _ in range(3)
    ]
    return [{name: tensor.bfloat16() for name, tensor in model.items()} for model in (base, *experts)]


def settings(method: Method) -> Iterator[dict[str, object]]:
    """Yield its defaults, and every other scope it has."""
    yield {}
    for parameter in method.parameters.values():
        if parameter.role == "scope":
            yield from ({parameter.name: word} for word in parameter.choices if word != parameter.default)


def merged(recipe: cuvee.Recipe, workers: int, block_bytes: int, order: random.Random | None) -> Weights:
    """Merge in memory, with the rows in another order if asked."""
    with open_sources() as sources:
        plan = make_plan([sources.resolve(recipe)])
        if order is not None:
            plan = replace(plan, rows=order.sample(list(plan.rows), len(plan.rows)))
        writer = MemoryWriter(list(plan.outputs[0].items()))
        execute(plan, [writer], budget_of(plan, cuvee.Limits(workers=workers, block_bytes=block_bytes)))
        return writer.tensors()


def main() -> None:
    """Read the options, merge, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--elements", type=int, default=1_300_000, help="of the largest tensor; a cell has 524,288")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base, *others = models(options.elements, options.seed)
    passed = failed = 0
    for name, method in cuvee.methods().items():
        for parameters in settings(method):
            chosen = others[: method.models[1] or 3]
            recipe = cuvee.Recipe(method=name, models=chosen, base=base, parameters=parameters, seed=options.seed)
            reference = merged(recipe, 1, 1 << 30, None)
            for workers, block_bytes, shuffle in RUNS:
                again = merged(recipe, workers, block_bytes, random.Random(options.seed) if shuffle else None)
                same = all(torch.equal(reference[n].view(torch.int16), again[n].view(torch.int16)) for n in reference)
                passed, failed = passed + same, failed + (not same)
                words = f"{workers} workers, {block_bytes} bytes a block{', rows shuffled' if shuffle else ''}"
                print(f"{'same' if same else 'DIFFER'}  {name} {parameters or ''} {words}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
