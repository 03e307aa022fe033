"""Draws configurations of mergekit: every method, every form, every feature of the schema, and some that are wrong.

A case depends on seed and number alone, so that one of them can be drawn again without the others.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mistakes
import parameters
from case import Case, Cast, Document
from families import ADAPTERS, FAMILIES, LAYERS
from settings import DECLARED
from vocabulary_blocks import add_vocabulary

__all__ = ["KINDS", "METHODS", "draw"]

METHODS = tuple(DECLARED)
SCHEDULE = (
    "models", "slices", "scopes", "wrong", "models", "vocabularies", "scopes", "models", "slices", "modules", "models",
    "adapters", "scopes", "models", "vocabularies", "wrong", "slices", "models", "documents", "scopes",
)  # fmt: skip
KINDS = tuple(dict.fromkeys(SCHEDULE))
TRAINED = ("one", "two", "three", "coarse", "coarser")
ADAPTED = ("llama", "mistral", "qwen2", "gpt2", "phi3", "t5")
REFUSED = ("bert-words",)  # by the reference, whatever is asked; a few are enough
LISTED = ("qwen2", "qwen3", "gemma2")  # their configuration has an entry for each layer, which the library checks
SMOOTH = ("linear", "task_arithmetic", "slerp", "passthrough")
# Of these, the reference refuses tensors that too few models have, or takes one model's without its weight.
COMPLETE = ("nuslerp", "multislerp")
MOST = 3  # models besides the base
RICH = {"scopes": 0.7, "wrong": 0.0, "vocabularies": 0.05}


def draw(seed: int, index: int, root: Path, families: Sequence[str]) -> Case:
    """Draw a configuration.

    Args:
        seed: of all of them.
        index: its number.
        root: folder that its models will be in.
        families: to choose from.
    """
    rng = random.Random(f"{seed}/{index}")
    kind, method = SCHEDULE[index % len(SCHEDULE)], METHODS[(7 * index + index // len(METHODS)) % len(METHODS)]
    suited = [name for name in families if _suits(kind, name)] or list(FAMILIES)
    if kind == "modules" and "t5" in suited and rng.random() < 0.7:
        suited = ["t5"]
    dtypes = rng.choices((("float32",), ("bfloat16",), ("float16",), ("float32", "bfloat16")), (11, 6, 1, 2))[0]
    if kind in ("documents", "adapters") or (kind == "vocabularies" and method not in SMOOTH):
        dtypes = ("float32",)  # nothing tells what to choose of inputs that are made first
    family = rng.choice(suited)
    lacking = [name for name in suited if FAMILIES[name].lacks]
    if kind in ("models", "scopes") and lacking and rng.random() < 0.1:
        family = rng.choice(lacking)
    if family in REFUSED and rng.random() < 0.8:
        family = rng.choice(suited)
    cast = Cast(rng, root, family, method, dtypes)
    documents, note = _documents(cast, kind)
    return Case(
        index=index,
        kind=kind,
        note=note,
        method=method,
        family=cast.family,
        documents=documents,
        models=cast.models,
    )


def _suits(kind: str, name: str) -> bool:
    family = FAMILIES[name]
    if kind == "slices":
        return family.stacks
    if kind == "vocabularies":
        return family.reads_text
    return name in ADAPTED if kind == "adapters" else True


def _documents(cast: Cast, kind: str) -> tuple[list[Document], str]:
    rich = RICH.get(kind, 0.15)
    if kind in ("slices", "modules"):
        document = _header(cast, kind)
        (_add_slices if kind == "slices" else _add_modules)(cast, document, rich)
        return [document], ""
    document = _header(cast, kind)
    names = _models(cast, kind)
    _add_models(cast, document, document, names, rich)
    if kind == "vocabularies":
        add_vocabulary(cast, document)
    if kind == "adapters":
        place = cast.rng.choice(document["models"])
        if place["model"] != document.get("base_model"):
            place["model"] = cast.adapted("base", cast.rng.choice(ADAPTERS))
    if kind in ("documents", "vocabularies") and cast.method.startswith(("dare", "della")):
        _keep_all(document)  # what chance did to results of results, or to rows in another order, is not judged
    if kind == "documents":
        return _chained(cast, document), ""
    if kind == "wrong":
        return [document], mistakes.make(cast, document)
    if cast.often(0.05):
        document |= {"name": "unused", "residual_weight": 0.5}
    return [document], ""


def _keep_all(document: Document) -> None:
    """Let a random method drop nothing."""
    for place in document["models"]:
        place.get("parameters", {}).pop("density", None)
    document["parameters"] = {**document.get("parameters", {}), "density": 1.0}


def _header(cast: Cast, kind: str) -> Document:
    rng, document = cast.rng, {"merge_method": cast.method}
    if kind in ("vocabularies", "documents", "adapters"):
        dtype, out = rng.choice((None, "float32")), None
    else:
        dtype = rng.choices((None, "float32", "bfloat16", "float16", "torch.bfloat16"), (10, 4, 4, 1, 1))[0]
        out = rng.choices((None, "bfloat16", "float32", "float16"), (14, 3, 2, 1))[0]
    if dtype:
        document["dtype"] = dtype
    if out:
        document["out_dtype"] = out
    return document


def _models(cast: Cast, kind: str) -> list[str]:
    """Choose the models, without the base."""
    declared, rng = DECLARED[cast.method], cast.rng
    most = min(declared.most or MOST, MOST)
    count = rng.randint(declared.least, max(declared.least, most))
    chosen = rng.sample(TRAINED, count)
    family = FAMILIES[cast.family]
    if kind == "models" and family.ties and cast.often(0.1):
        chosen[-1] = "flipped"
    if kind in ("models", "scopes") and family.lacks and cast.method not in COMPLETE and cast.often(0.6):
        chosen = ["bare", "barer"][:count] if cast.often(0.5) else [*chosen[:-1], "bare"]
    if family.relays and not family.in_memory and cast.often(0.3):
        chosen[0] = "relaid"
    if kind == "vocabularies":
        others = rng.sample(("longer", "shuffled", "padded", "one"), min(count, 4))
        chosen = others[:count]
        if family.ties and cast.often(0.2):
            chosen[-1] = "flipped"  # only one of two has a head of its own
    return [cast.model(variant) for variant in chosen]


def _base(cast: Cast) -> str | None:
    wanted = {"required": 1.0, "optional": 0.5, "ignored": 0.15}[DECLARED[cast.method].base]
    if cast.method == "passthrough":
        wanted = 0.03
    return cast.model("base") if cast.often(wanted) else None


def _add_models(cast: Cast, document: Document, entry: Document, names: Sequence[str], rich: float) -> None:
    """Write models, and their parameters in all scopes, into a document or a module."""
    base = document.get("base_model") or _base(cast)
    places = parameters.each(cast, rich)
    entries: list[dict[str, Any]] = []
    for name in names:
        own = parameters.of_model(cast, places["models"], rich)
        entries.append({"model": name, "parameters": own} if own else {"model": name})
    if base:
        document["base_model"] = base
        if cast.often(0.5):
            own = parameters.of_model(cast, places["models"], rich) if _needs_own(cast) or cast.often(0.3) else {}
            entries.insert(
                cast.rng.randint(0, len(entries)), {"model": base, "parameters": own} if own else {"model": base}
            )
        elif _needs_own(cast):
            places["outside"] |= parameters.of_model(cast, places["models"], 0.0)
    outside = parameters.shared(cast, rich) | places["outside"]
    if rich > 0.5 and cast.often(0.1):
        entries[0].setdefault("parameters", {})["normalize"] = False  # shared: does nothing here
    entry["models"] = entries
    if outside:
        entry["parameters"] = outside


def _needs_own(cast: Cast) -> bool:
    return DECLARED[cast.method].base == "ignored"


def _add_slices(cast: Cast, document: Document, rich: float) -> None:
    rng = cast.rng
    places, outside = parameters.each(cast, rich), parameters.shared(cast, rich)
    base = _base(cast) if DECLARED[cast.method].base != "ignored" else None
    slices = []
    for length in _lengths(cast):
        names = _models(cast, "slices")
        if base:
            place = rng.randint(0, len(names))
            names.insert(0 if cast.family == "vit" else place, base)  # the reference sees nothing after its layers
        sources: list[dict[str, Any]] = []
        for name in names:
            start = rng.randint(0, LAYERS - length)
            own = parameters.of_model(cast, places["models"], rich)
            source: dict[str, Any] = {"model": name, "layer_range": [start, start + length]}
            sources.append(source | {"parameters": own} if own else source)
        one: dict[str, Any] = {"sources": sources}
        if cast.often(0.3) and (own := parameters.shared(cast, rich)):
            one["parameters"] = own
        if base and cast.often(0.2):
            one["base_model"] = base
        slices.append(one)
    document |= {"slices": slices} | ({"base_model": base} if base else {})
    if outside | places["outside"]:
        document["parameters"] = outside | places["outside"]


def _lengths(cast: Cast) -> list[int]:
    """Choose the lengths of slices; configurations that list their layers can only keep their number of them."""
    if cast.often(0.9 if cast.family in LISTED else 0.2):
        return cast.rng.choice(([1, 2], [2, 1], [1, 1, 1], [LAYERS]))
    return [cast.rng.randint(1, LAYERS) for _ in range(cast.rng.randint(1, 3))]


def _add_modules(cast: Cast, document: Document, rich: float) -> None:
    modules: dict[str, Any] = {}
    names = ["default"] if FAMILIES[cast.family].stacks else ["shared", "encoder", "decoder"]
    if len(names) > 1 and cast.often(0.15):
        names.remove(cast.rng.choice(names))
    base = _base(cast)
    if base:
        document["base_model"] = base
    models = _models(cast, "modules")
    for name in names:
        entry: Document = {}
        _add_models(cast, document, entry, models, rich)
        if name in ("encoder", "default") and base is None and cast.often(0.4):
            sources = [{**one, "layer_range": [0, LAYERS - 1]} for one in entry.pop("models")]
            entry["slices"] = [{"sources": sources}]
        modules[name] = entry
    document["modules"] = modules


def _chained(cast: Cast, document: Document) -> list[Document]:
    """Put a merge of its own in the place of one model."""
    first: Document = {
        "name": "first",
        "merge_method": "linear",
        "models": [{"model": cast.model(name), "parameters": {"weight": 1}} for name in ("base", "two")],
    }
    places = [one for one in document["models"] if one["model"] != document.get("base_model")]
    cast.rng.choice(places)["model"] = "first"
    if cast.often(0.3) and document.get("base_model"):
        document["name"] = "second"
        last = {"merge_method": "linear", "models": [{"model": each} for each in ("second", cast.model("one"))]}
        return [first, document, last | {"parameters": {"weight": 0.5}}]
    return [first, document]
