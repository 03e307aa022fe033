"""``cuvee diff``: how far apart two checkpoints are."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cuvee.cli.downloads import show_downloads
from cuvee.cli.lines import say
from cuvee.cli.tables import family, print_unfolded, table_of
from cuvee.evaluate.difference import Sums, TensorDifference, by_layer, difference, total
from cuvee.sources.open import open_source
from cuvee.spec import Source, TensorSpec

__all__ = ["diff"]

_SAID = {
    "unequal": "integers or the like that differ",
    "shape": "shapes differ",
    "dtype": "element types cannot be compared",
    "only_a": "only in the first",
    "only_b": "only in the second",
}


def diff(a: str, b: str, *, as_json: bool, tensors: bool) -> None:
    """Print how two checkpoints differ: in total, per layer, and per tensor.

    The JSON is an object:

    * ``a``, ``b``: the two references.
    * ``total``: an object of measures, over all tensors that were compared: ``elements``, ``distance`` (L2),
      ``relative_distance`` (to the norm of a), ``cosine``, ``sign_agreement`` (share of elements with equal sign, zero
      being a sign of its own), ``largest`` (absolute difference), ``non_finite`` (elements left out because one side
      is NaN or infinite), ``identical`` (all bytes equal). What is undefined (a cosine with zero) is null.
    * ``layers``: layer, or ``before the layers`` and ``after the layers``, to its measures.
    * ``tensors``: always every tensor, each with ``name``, ``status`` (``compared``; ``equal`` or ``unequal`` for
      integers and the like; ``shape``, ``dtype``, ``only_a``, ``only_b``), ``a`` and ``b`` (``shape`` and ``dtype``, or
      null), and ``measures`` (null unless compared).

    Args:
        a: checkpoint folder or safetensors file, the reference for relative distances.
        b: the other one.
        as_json: print JSON instead of tables.
        tensors: list every tensor, in a table and in what is said of those that could not be compared.

    Raises:
        SourceError: a checkpoint cannot be read.
    """
    first, second = open_source(a), open_source(b)
    try:
        found = _compared(first, second)
    finally:
        first.close()
        second.close()
    if as_json:
        print(json.dumps(_described(first.reference, second.reference, found), indent=2))
        return
    _print(Console(emoji=False), first.reference, second.reference, found, tensors)


def _compared(a: Source, b: Source) -> list[TensorDifference]:
    """Compare, with a progress bar if someone is watching."""
    console = Console(stderr=True)
    found = []
    bar = Progress(console=console, transient=True, disable=not sys.stderr.isatty())
    with bar as progress, show_downloads(progress):
        task = progress.add_task("comparing", total=sum(spec.nbytes for spec in a.header.values()))
        for one in difference(a, b):
            found.append(one)
            progress.advance(task, one.a.nbytes if one.a else 0)
    return found


def _described(a: str, b: str, found: Iterable[TensorDifference]) -> dict[str, Any]:
    """Return what is printed as JSON."""
    every = list(found)
    return {
        "a": a,
        "b": b,
        "total": _measures(total(every)),
        "layers": {layer: _measures(sums) for layer, sums in by_layer(every).items()},
        "tensors": [
            {
                "name": one.name,
                "status": one.status,
                "a": _spec(one.a),
                "b": _spec(one.b),
                "measures": None if one.sums is None else _measures(one.sums),
            }
            for one in every
        ],
    }


def _measures(sums: Sums) -> dict[str, Any]:
    """Return the measures by name; null for what is undefined or infinite, which JSON cannot say."""
    values = {
        "elements": sums.size,
        "distance": sums.distance,
        "relative_distance": sums.relative_distance,
        "cosine": sums.cosine,
        "sign_agreement": sums.sign_agreement,
        "largest": sums.largest,
        "non_finite": sums.non_finite,
        "identical": sums.identical,
    }
    return {name: value if isfinite(value) else None for name, value in values.items()}


def _spec(spec: TensorSpec | None) -> dict[str, Any] | None:
    """Return a specification as JSON."""
    return None if spec is None else {"shape": list(spec.shape), "dtype": str(spec.dtype)}


def _print(console: Console, a: str, b: str, found: list[TensorDifference], tensors: bool) -> None:
    """Print the tables and what could not be compared."""
    say(console, f"{a} and {b}", style="bold")
    compared = {one.name: one.sums for one in found if one.sums is not None}
    if compared:
        layers = {**by_layer(found), "total": total(found)}
        if tensors:
            print_unfolded(_table("tensor", compared))
            console.print()
        print_unfolded(_table("layer", layers))
        same = sum(sums.identical for sums in compared.values())
        left_out = layers["total"].non_finite
        note = f" Elements left out, being NaN or infinite: {left_out:,}." if left_out else ""
        console.print(f"\nIdentical tensors: {same:,} of {len(compared):,}.{note}", highlight=False)
    statuses = Counter(one.status for one in found)
    if statuses["equal"]:
        console.print(f"Equal tensors of integers or the like: {statuses['equal']:,}.", highlight=False)
    for line in _uncompared(found, tensors):
        say(console, line)


def _uncompared(found: Iterable[TensorDifference], every: bool) -> list[str]:
    """Say what could not be compared: a line for each tensor, or for those that differ only in their layer's number."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for one in found:
        if one.status in _SAID:
            specs = ", ".join(f"{spec.dtype} {spec.shape}" for spec in (one.a, one.b) if spec is not None)
            groups[one.name if every else family(one.name), f"{_SAID[one.status]}: {specs}"].append(one.name)
    return [
        f"{names[0]}: {said}" if len(names) == 1 else f"{name} ({len(names):,} tensors): {said}"
        for (name, said), names in groups.items()
    ]


def _table(title: str, rows: Mapping[str, Sums]) -> Table:
    """Make a table of measures."""
    table = table_of((title,), ("elements", "distance", "relative", "cosine", "equal sign", "largest"))
    for name, sums in rows.items():
        measures = (f"{sums.distance:.4g}", f"{sums.relative_distance:.4g}", f"{sums.cosine:.6f}")
        signs = f"{sums.sign_agreement:.2%}"
        shown = ("identical", "", "", "", "") if sums.identical else (*measures, signs, f"{sums.largest:.3g}")
        table.add_row(name, f"{sums.size:,}", *(cell.replace("nan%", "-").replace("nan", "-") for cell in shown))
    return table
