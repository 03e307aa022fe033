"""Compares two merged models: names, tensors, configuration and tokenizer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from case import Case
from companions import compare_configs, compare_tokenizers, order_of
from contents import Tensors, layer_of, load
from families import FAMILIES
from judge import Chance, close, judge
from meaning import Row, rows
from settings import Unset
from torch import Tensor

__all__ = ["Findings", "by_chance", "compare", "referenced"]

TABLES = ("embed_tokens", "lm_head", "wte", "shared.weight", "word_embeddings")
SIGMAS = 4.0


@dataclass(slots=True)
class Findings:
    """What was found in a merge.

    Attributes:
        problems: why it fails.
        remarks: how the reference differs from the specification.
        judged: how many tensors were compared with a computation in float64.
        tensors: how many there are.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    judged: int = 0
    tensors: int = 0


def compare(case: Case, find: Callable[[str], Path], reference: Path, ours: Path | None) -> Findings:
    """Compare two merges.

    Args:
        case: what was merged.
        find: folder of a model that the configuration names, adapters put on.
        reference: folder that the reference wrote.
        ours: folder that cuvee wrote; None to hold the reference to the specification.
    """
    document, found = case.documents[-1], Findings()
    theirs, own = load(reference), None if ours is None else load(ours)
    asked = _rows(case, find)
    found.tensors = len(theirs)
    if own is not None and ours is not None:
        found.problems += _names(case, find, theirs, own)
        order = order_of(reference, ours)
        own = {name: _in_order(name, tensor, order) for name, tensor in own.items()}
        found.problems += _beside(case, find, reference, ours)
    chances: dict[int, Chance] = {}
    for name in sorted(theirs):
        if own is not None and name not in own:
            continue
        if case.kind == "slices" and case.family == "vit" and layer_of(name) is None:
            continue  # the reference does not know which come after the layers, and takes all from the first slice
        mine = None if own is None else own[name]
        _tensor(name, asked.get(name), document, theirs[name], mine, found, chances)
    found.problems += by_chance(chances)
    return found


def referenced(document: Mapping[str, Any]) -> list[str]:
    """List the models that a document names, the base first, then in order of mention."""
    names = [document["base_model"]] if document.get("base_model") else []
    entries = [document, *(document.get("modules") or {}).values()]
    for entry in entries:
        names += [one["model"] for one in entry.get("models") or ()]
        names += [one["model"] for each in entry.get("slices") or () for one in each["sources"]]
    return list(dict.fromkeys(names))


def _tensor(
    name: str, row: Row | None, document: Mapping[str, Any], theirs: Tensor, own: Tensor | None, found: Findings,
    chances: dict[int, Chance],
) -> None:  # fmt: skip
    method = document["merge_method"]
    if own is not None and (problem := _form(name, method, theirs, own)):
        found.problems.append(problem)
        return
    if row is None:
        if own is not None and (problem := close(method, theirs, own, _computed_in(document, theirs))):
            found.problems.append(f"{name} {problem}")
        return
    verdict = judge(row, document, theirs, own)
    found.judged += 1
    if verdict.problem:
        found.problems.append(f"{name} {verdict.problem}")
    if verdict.remark:
        found.remarks.append(f"{name}: {verdict.remark}")
    for index, chance in enumerate(verdict.chances):
        total = chances.setdefault(index, Chance())
        total.fewest += chance.fewest
        total.most += chance.most
        total.expected += chance.expected
        total.variance += chance.variance


def _computed_in(document: Mapping[str, Any], written: Tensor) -> torch.dtype:
    name = document.get("dtype")
    return getattr(torch, str(name).removeprefix("torch.")) if name else written.dtype


def _form(name: str, method: str, theirs: Tensor, own: Tensor) -> str | None:
    if theirs.shape != own.shape:
        return f"{name} has shape {tuple(own.shape)}, the reference's {tuple(theirs.shape)}"
    widened = method in ("arcee_fusion", "ramplus_tl") and theirs.dtype == torch.float32
    if theirs.dtype != own.dtype and not widened:
        return f"{name} is {own.dtype}, the reference's {theirs.dtype}"
    return None


def _rows(case: Case, find: Callable[[str], Path]) -> dict[str, Row]:
    """Read the configuration by the specification; nothing where it needs other merges."""
    if len(case.documents) > 1:
        return {}
    document = case.documents[0]
    models = {name: load(find(name)) for name in referenced(document)}
    try:
        return {row.name: row for row in rows(document, models, one_stack=FAMILIES[case.family].stacks)}
    except Unset:
        return {}


def _names(case: Case, find: Callable[[str], Path], theirs: Tensors, own: Tensors) -> list[str]:
    """Compare names; what the reference drops may be there (quirk Q10)."""
    missing, more = sorted(set(theirs) - set(own)), set(own) - set(theirs)
    if case.kind != "modules" and len(case.documents) == 1 and more:
        more -= {name for model in referenced(case.documents[0]) for name in load(find(model))}
    return [
        f"{what}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
        for what, names in (("tensors missing", missing), ("tensors the reference lacks", sorted(more)))
        if names
    ]


def _beside(case: Case, find: Callable[[str], Path], reference: Path, ours: Path) -> list[str]:
    document = case.documents[-1]
    donors = [find(name) for name in referenced(document)] if len(case.documents) == 1 else []
    has_base = bool(document.get("base_model")) or len(donors) == 1
    block = document.get("tokenizer") or {}
    source = document.get("tokenizer_source") or (block.get("source", "union") if "tokenizer" in document else None)
    joins = source is not None and len(donors) != 1
    settled = not joins or (has_base and source != "union")
    base_is_settled = settled or has_base or source != "union"
    found = [
        compare_configs(reference, ours, donors or [ours], has_base or not donors),
        compare_tokenizers(
            reference,
            ours,
            ids_are_settled=settled,
            base_is_settled=base_is_settled,
            template_is_settled=base_is_settled or bool(document.get("chat_template")),
        ),
    ]
    return [each for each in found if each]


def _in_order(name: str, tensor: Tensor, order: Sequence[int] | None) -> Tensor:
    """Put a table's rows into the reference's order."""
    if order is None or not any(part in name for part in TABLES) or tensor.shape[0] < len(order):
        return tensor
    return tensor[[*order, *range(len(order), tensor.shape[0])]]


def by_chance(chances: Mapping[int, Chance]) -> list[str]:
    """Hold what chance kept to its expectation."""
    problems = []
    for index, chance in chances.items():
        margin = SIGMAS * chance.variance**0.5 + 1e-9
        if chance.most < chance.expected - margin or chance.fewest > chance.expected + margin:
            problems.append(
                f"chance keeps {chance.fewest:.0f} to {chance.most:.0f} elements of model {index}, "
                f"{chance.expected:.0f} ± {margin:.0f} are expected"
            )
    return problems
