"""Makes a configuration wrong in one way, or odd in one that is allowed."""

from collections.abc import Callable, Mapping
from typing import Any

from case import Cast, Document
from families import FAMILIES
from settings import DECLARED

__all__ = ["MISTAKES", "make"]


def make(cast: Cast, document: Document) -> str:
    """Make a document wrong.

    Returns:
        Name of the mistake.
    """
    name = cast.rng.choice(list(MISTAKES))
    MISTAKES[name](cast, document)
    return name


def _sources(document: Document, first: int, end: int) -> list[dict[str, Any]]:
    return [{**one, "layer_range": [first, end]} for one in document["models"]]


def _slices(cast: Cast, document: Document, *ranges: tuple[int, int]) -> None:
    """Put slices in the place of models."""
    base = document.get("base_model")
    if base and base not in [one["model"] for one in document["models"]]:
        document["models"].append({"model": base})
    document["slices"] = [{"sources": _sources(document, *each)} for each in ranges]
    del document["models"]
    assert cast.models


def _slices_without_base(cast: Cast, document: Document) -> None:
    document["base_model"] = cast.model("base")
    _slices(cast, document, (0, 2))
    sources = document["slices"][0]["sources"]
    sources[:] = [one for one in sources if one["model"] != document["base_model"]]


def _unequal(cast: Cast, document: Document) -> None:
    _slices(cast, document, (0, 2))
    sources = document["slices"][0]["sources"]
    sources.append({**sources[0], "model": cast.model("deep"), "layer_range": [0, 3]})


def _without_required(cast: Cast, document: Document) -> None:
    declared = DECLARED[cast.method]
    for holder in (document, *document["models"]):
        for name, default in {**declared.shared, **declared.each}.items():
            if default is None:
                holder.get("parameters", {}).pop(name, None)


def _parameter(value: Any) -> Callable[[Cast, Document], None]:
    def spoil(cast: Cast, document: Document) -> None:
        declared = DECLARED[cast.method]
        names = [name for name in (*declared.shared, *declared.each) if name not in ("normalize", "rescale")]
        name = names[0] if names else "weight"
        for holder in document["models"]:
            holder.get("parameters", {}).pop(name, None)
        document.setdefault("parameters", {})[name] = value

    return spoil


def _add(**entries: Any) -> Callable[[Cast, Document], None]:
    return lambda _, document: document.update(entries)


def _more_models(cast: Cast, document: Document) -> None:
    for name in ("three", "coarse", "coarser"):
        document["models"].append({"model": cast.model(name), "parameters": {"weight": 1.0}})


def _other_family(cast: Cast, document: Document) -> None:
    other = cast.rng.choice([name for name in FAMILIES if name.split("-")[0] != cast.family.split("-")[0]])
    document["models"][-1]["model"] = cast.model("one", other)


def _opposed(cast: Cast, document: Document) -> None:
    document["merge_method"] = "linear"
    document["models"] = [
        {"model": cast.model(name), "parameters": {"weight": weight}} for name, weight in (("one", 1), ("two", -1))
    ]
    document.pop("base_model", None)
    document["parameters"] = {}


def _della(density: float, epsilon: float) -> Callable[[Cast, Document], None]:
    def spoil(cast: Cast, document: Document) -> None:
        own = {"weight": 1.0, "density": density, "epsilon": epsilon}
        document |= {"merge_method": "della", "base_model": cast.model("base"), "parameters": own}
        document["models"] = [{"model": cast.model("one")}]

    return spoil


def _swap(cast: Cast, document: Document, name: str) -> None:
    document["models"][-1]["model"] = cast.model(name)


MISTAKES: Mapping[str, Callable[[Cast, Document], None]] = {
    "unknown method": _add(merge_method="linera"),
    "no method": lambda _, document: document.pop("merge_method") and None,
    "unknown type": _add(dtype="bfloat61"),
    "unknown output type": _add(out_dtype="float31"),
    "models and slices": lambda _, document: document.update(slices=[{"sources": _sources(document, 0, 1)}]),
    "nothing to merge": lambda _, document: document.pop("models") and None,
    "required parameter missing": _without_required,
    "text for a number": _parameter("much"),
    "null for a number": _parameter(None),
    "list in a list": _parameter([[0.5], [1.0]]),
    "conditions and numbers mixed": _parameter([0.5, {"filter": "mlp", "value": 1.0}]),
    "condition that matches nothing": _parameter([{"filter": "zzz", "value": 1}]),
    "empty gradient": _parameter([]),
    "lone condition": _parameter({"value": 0.5}),
    "model of another depth": lambda cast, document: _swap(cast, document, "deep"),
    "model twice": lambda _, document: document["models"].append(dict(document["models"][0])),
    "more models": _more_models,
    "no base": lambda _, document: document.pop("base_model", None) and None,
    "no layers of the base": _slices_without_base,
    "past the last layer": lambda cast, document: _slices(cast, document, (0, 9)),
    "range reversed": lambda cast, document: _slices(cast, document, (2, 0), (0, 2)),
    "negative range": lambda cast, document: _slices(cast, document, (-1, 1)),
    "ranges of other lengths": _unequal,
    "unknown module": lambda _, document: document.update(modules={"heart": {"models": document.pop("models")}}),
    "folder missing": lambda cast, document: document["models"][0].update(model=f"{cast.root}/nothing-here"),
    "two adapters": lambda cast, document: document["models"][0].update(model=f"{cast.root}/a+{cast.root}/b+c"),
    "template too short": _add(chat_template="{{ x }}"),
    "template without braces": _add(chat_template="a template that has no place for messages"),
    "tokenizer twice": _add(tokenizer={"source": "base"}, tokenizer_source="union"),
    "rows without a tokenizer block": lambda cast, document: _swap(cast, document, "padded"),
    "another family": _other_family,
    "weights add up to zero": _opposed,
    "chances beyond one": _della(0.9, 0.2),
    "chances below zero": _della(0.1, 0.2),
    "unknown keys": _add(mehtod="ties", colour="red"),
    "unknown token source": _add(tokenizer={"source": "union", "tokens": {"th": {"source": {"kind": "none"}}}}),
    "token source without a model": _add(tokenizer={"source": "union", "tokens": {"<new>": {}}}),
}
