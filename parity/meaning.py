"""What a mergekit configuration asks for, tensor by tensor, by the specification: §2, §3 and §1.3.

Written plainly, to judge by: a brute-force reading of what the specification says, of models that lie in memory. Knows
no vocabularies: tensors that a tokenizer block rearranges are not among its rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contents import Tensors, layer_of, num_layers
from settings import DECLARED, Scope, look_up
from torch import Tensor

__all__ = ["Input", "Row", "rows"]

ENDS = ("embed", "wte", "wpe", "shared.", "cls_token")  # parts of names of what precedes the first layer
TIED = {
    "lm_head.weight": ("model.embed_tokens.weight", "transformer.wte.weight", "shared.weight"),
}
STACKS = {"encoder": ("encoder.",), "decoder": ("decoder.", "lm_head."), "shared": ("shared.",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A tensor of a model, and the parameters that are the model's own."""

    model: str
    tensor: Tensor
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tensor to be merged.

    Attributes:
        name: of the output.
        method: what merges it.
        inputs: in the configuration's order, the base among them.
        base: the model that is the base; None if there is none.
        shared: the parameters of all models.
    """

    name: str
    method: str
    inputs: Sequence[Input]
    base: str | None
    shared: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Slice:
    sources: Sequence[tuple[str, int, int, Scope]]
    base: str | None
    scope: Scope


def rows(config: Mapping[str, Any], models: Mapping[str, Tensors], *, one_stack: bool) -> Iterator[Row]:
    """List the rows of a configuration that a tokenizer block leaves alone.

    Args:
        config: the document.
        models: tensors by model, as the document names them.
        one_stack: whether the reference knows the architecture as one stack of layers.

    Yields:
        The rows; none for models that lack a tensor which the others have, and no way to replace it.
    """
    for parts, entry in _modules(config, one_stack):
        inside = {
            model: {name: tensor for name, tensor in tensors.items() if _belongs(name, parts)}
            for model, tensors in models.items()
        }
        stack = next((place[0] for tensors in inside.values() for name in tensors if (place := layer_of(name))), "")
        slices = _slices(config, entry, inside, stack)
        scopes = [entry.get("parameters") if entry is not config else None, config.get("parameters")]
        yield from _of_layers(config, slices, scopes, inside, stack)
        yield from _outside(config, slices, scopes, inside)


def _modules(config: Mapping[str, Any], one_stack: bool) -> list[tuple[Sequence[str] | None, Mapping[str, Any]]]:
    """Return names' beginnings and the entry of every module."""
    modules = config.get("modules")
    if one_stack:
        return [(None, modules["default"] if modules else config)]
    if modules:
        return [(STACKS[name], entry) for name, entry in modules.items()]
    return [(parts, config) for parts in STACKS.values()]


def _belongs(name: str, parts: Sequence[str] | None) -> bool:
    return parts is None or name.startswith(tuple(parts))


def _slices(
    config: Mapping[str, Any], entry: Mapping[str, Any], models: Mapping[str, Tensors], stack: str
) -> list[_Slice]:
    base = config.get("base_model")
    if not entry.get("models"):
        return [
            _Slice(
                [(one["model"], *one["layer_range"], one.get("parameters")) for one in each["sources"]],
                each.get("base_model", base),
                each.get("parameters"),
            )
            for each in entry["slices"]
        ]
    listed = [(one["model"], one.get("parameters")) for one in entry["models"]]
    if base is not None and base not in [model for model, _ in listed]:
        listed.append((base, None))
    return [_Slice([(model, 0, num_layers(models[model], stack), own) for model, own in listed], base, None)]


def _of_layers(
    config: Mapping[str, Any], slices: Sequence[_Slice], scopes: list[Scope], models: Mapping[str, Tensors], stack: str
) -> Iterator[Row]:
    layer = 0
    templates = sorted({place[2] for each in models.values() for name in each if (place := layer_of(name))})
    for each in slices:
        length = each.sources[0][2] - each.sources[0][1]
        for index in range(length):
            t = index / (length - 1) if length > 1 else 1.0
            for rest in templates:
                names = [f"{stack}{start + index}.{rest}" for _, start, _, _ in each.sources]
                row = _row(config, each, scopes, models, f"{stack}{layer}.{rest}", names, t)
                if row:
                    yield row
            layer += 1


def _outside(
    config: Mapping[str, Any], slices: Sequence[_Slice], scopes: list[Scope], models: Mapping[str, Tensors]
) -> Iterator[Row]:
    names = sorted({name for each in models.values() for name in each if layer_of(name) is None})
    aligned = ("lm_head", "embed_tokens", "wte", "shared.", "word_embeddings") if _rearranges(config) else ()
    is_unknown = any(name.startswith("vit.") for name in names)  # then all of them count as before the first layer
    for name in names:
        if any(part in name for part in aligned):
            continue
        is_first = is_unknown or any(part in name for part in ENDS)
        chosen = slices[0] if is_first else slices[-1]
        if not is_first:  # quirk Q1: no more of them than the first slice has
            chosen = _Slice(chosen.sources[: len(slices[0].sources)], chosen.base, chosen.scope)
        row = _row(config, chosen, scopes, models, name, [name] * len(chosen.sources), 0.0)
        if row:
            yield row


def _rearranges(config: Mapping[str, Any]) -> bool:
    return config.get("tokenizer") is not None or bool(config.get("tokenizer_source"))


def _row(
    config: Mapping[str, Any], each: _Slice, outer: list[Scope], models: Mapping[str, Tensors], name: str,
    names: Sequence[str], t: float,
) -> Row | None:  # fmt: skip
    method = config["merge_method"]
    declared = DECLARED[method]
    if not any(own in models[source[0]] for own, source in zip(names, each.sources, strict=True)):
        return None
    scopes = [each.scope, *outer]
    shared = {key: look_up(key, scopes, default, name, t) for key, default in declared.shared.items()}
    inputs = []
    for (model, _, _, parameters), own in zip(each.sources, names, strict=True):
        tensor = _present(models[model], own)
        if tensor is None:
            continue
        is_base = model == each.base and declared.base != "ignored"
        own_values = (
            {}
            if is_base
            else {key: look_up(key, [parameters, *scopes], default, own, t) for key, default in declared.each.items()}
        )
        inputs.append(Input(model=model, tensor=tensor, parameters=own_values))
    return Row(
        name=name, method=method, inputs=inputs, base=each.base if declared.base != "ignored" else None, shared=shared
    )


def _present(tensors: Tensors, name: str) -> Tensor | None:
    for candidate in (name, *TIED.get(name, ())):
        if candidate in tensors:
            return tensors[candidate]
    return None
