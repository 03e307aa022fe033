"""``cuvee inspect`` of an adapter by itself: its kind, ranks and scalings, from configuration and header."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from rich.console import Console

from cuvee.cli.lines import say
from cuvee.cli.tables import family, print_unfolded, table_of
from cuvee.cli.units import size
from cuvee.sources.adapter.folder import AdapterFolder, Factors, Vector

__all__ = ["describe_adapter", "inspect_adapter"]

KINDS = {"LORA": "LoRA", "IA3": "(IA)³"}


class Scaling(TypedDict):
    """Modules whose factors have the same rank and scaling."""

    rank: int
    scaling: float
    modules: int


class StoredTensor(TypedDict):
    """One tensor of an adapter's file."""

    name: str
    shape: list[int]
    dtype: str
    elements: int
    bytes: int


class AdapterDescription(TypedDict):
    """What `describe_adapter` returns; keys may be added, not removed."""

    reference: str
    adapter: str
    base: str | None
    rank: int | None
    alpha: float | None
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    rank_stabilised: bool
    magnitudes: bool
    scalings: list[Scaling]
    scaled: dict[str, int]
    target_modules: list[str]
    whole: list[str]
    elements: int
    bytes: int
    tensors: list[StoredTensor]


def inspect_adapter(folder: AdapterFolder, *, as_json: bool, tensors: bool) -> None:
    """Print what an adapter is; reads its configuration and header only.

    Args:
        folder: the adapter.
        as_json: print the keys of `describe_adapter` as JSON.
        tensors: list every tensor in a table.
    """
    described = describe_adapter(folder)
    if as_json:
        print(json.dumps(described, indent=2))
        return
    console = Console(emoji=False)
    say(console, described["reference"], style="bold")
    for line in _summary(described):
        say(console, line)
    if tensors:
        table = table_of(("tensor", "type", "shape"), ("size",))
        for tensor in described["tensors"]:
            shape = " × ".join(map(str, tensor["shape"])) or "scalar"
            table.add_row(tensor["name"], tensor["dtype"], shape, size(tensor["bytes"]))
        console.print()
        print_unfolded(table)


def describe_adapter(folder: AdapterFolder) -> AdapterDescription:
    """Say what an adapter is.

    Returns:
        * ``reference``: what it is called; ``adapter``: ``"LORA"`` or ``"IA3"``; ``base``: the model that it names, or
          null.
        * ``rank``, ``alpha``: of modules that no pattern names, null for (IA)³; ``rank_pattern``, ``alpha_pattern``;
          ``rank_stabilised`` (the scaling is alpha over the root of the rank); ``magnitudes`` (DoRA).
        * ``scalings``: ``rank``, ``scaling`` and number of ``modules``, for each pair that occurs.
        * ``scaled``: number of modules whose ``inputs`` and ``outputs`` (IA)³ scales.
        * ``target_modules``: as the configuration names them (ends of names, or one expression).
        * ``whole``: tensors of the base that it replaces as a whole.
        * ``elements``, ``bytes``: of all tensors; ``tensors``: each with ``name``, ``shape``, ``dtype``, ``elements``
          and ``bytes``, in stored order.
    """
    configuration = folder.configuration
    is_lora = configuration.kind == "LORA"
    pairs = Counter((part.rank, part.scaling) for part in folder.parts if isinstance(part, Factors))
    sides = Counter("inputs" if part.scales_inputs else "outputs" for part in folder.parts if isinstance(part, Vector))
    specs = folder.header.values()
    return {
        "reference": folder.reference,
        "adapter": configuration.kind,
        "base": configuration.base or None,
        "rank": configuration.rank if is_lora else None,
        "alpha": configuration.alpha if is_lora else None,
        "rank_pattern": dict(configuration.rank_pattern),
        "alpha_pattern": dict(configuration.alpha_pattern),
        "rank_stabilised": configuration.rank_stabilised,
        "magnitudes": configuration.has_magnitudes,
        "scalings": [{"rank": rank, "scaling": scaling, "modules": count} for (rank, scaling), count in pairs.items()],
        "scaled": dict(sides),
        "target_modules": _targets(configuration.options.get("target_modules")),
        "whole": list(folder.whole),
        "elements": sum(spec.size for spec in specs),
        "bytes": sum(spec.nbytes for spec in specs),
        "tensors": [
            {
                "name": name,
                "shape": list(spec.shape),
                "dtype": str(spec.dtype),
                "elements": spec.size,
                "bytes": spec.nbytes,
            }
            for name, spec in folder.header.items()
        ],
    }


def _targets(value: object) -> list[str]:
    """Return what the configuration says of target modules; it has no effect on a merge and was not verified."""
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []


def _summary(described: AdapterDescription) -> Iterable[str]:
    """Yield the lines that are printed, but for the first."""
    base = described["base"]
    yield f"{KINDS[described['adapter']]} adapter {f'of {base}' if base else 'that names no base'}."
    yield f"{len(described['tensors']):,} tensors, {described['elements']:,} parameters, {size(described['bytes'])}."
    if described["rank"] is not None and described["alpha"] is not None:
        yield f"Rank: {described['rank']}{_patterns(described['rank_pattern'])}"
        yield f"Alpha: {described['alpha']:g}{_patterns(described['alpha_pattern'])}"
        rule = "alpha over the root of the rank" if described["rank_stabilised"] else "alpha over rank"
        yield f"Scaling: {_scalings(described['scalings'])} ({rule})"
    if described["magnitudes"]:
        yield "DoRA: rows are given the norms that are stored"
    for side, count in described["scaled"].items():
        yield f"Scales {side} of: {_modules(count)}"
    if described["target_modules"]:
        yield f"Target modules: {', '.join(sorted({*map(family, described['target_modules'])}))}"
    if described["whole"]:
        yield f"Replaces: {', '.join(described['whole'])}"


def _patterns(patterns: Mapping[str, float]) -> str:
    """Say what patterns give other modules."""
    return f"; {', '.join(f'{pattern}: {value:g}' for pattern, value in patterns.items())}" if patterns else ""


def _scalings(scalings: Sequence[Scaling]) -> str:
    """Say which scalings there are, and where."""
    said = [f"{each['scaling']:g} at rank {each['rank']} in {_modules(each['modules'])}" for each in scalings]
    return ", ".join(said) or "no module has factors"


def _modules(count: int) -> str:
    return f"{count:,} module{'s' if count != 1 else ''}"
