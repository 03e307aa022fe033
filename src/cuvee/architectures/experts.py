"""Experts of a mixture, stored one by one or packed: which tensors make up which.

Models of either layout hold the same numbers. transformers 5 packs the experts of a layer into two tensors when it
reads a model; files mostly have them one by one::

    P.experts.0.gate_proj.weight (I, H) ┐
    P.experts.0.up_proj.weight   (I, H) ├─ P.experts.gate_up_proj (E, 2 I, H): of each expert the gate, then up
    P.experts.1.gate_proj.weight (I, H) │
    ...                                 ┘
    P.experts.0.down_proj.weight (H, I) ┬─ P.experts.down_proj (E, H, I)
    ...                                 ┘

Others say ``w1`` for the gate, ``w3`` for up and ``w2`` for down; and where P ends in ``block_sparse_moe``, it is
``mlp`` in the model that packs, for the router and all else in it, too. Knows names and headers; no table of
architectures.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cuvee.errors import some
from cuvee.spec import Header, TensorSpec

__all__ = ["Packing", "packing_of", "packings"]

SHOWN = 5  # labels in one note before it says how many more there are

# At most nine digits, and no leading zero: a number has one name.
_EXPERT = re.compile(r"(?P<parent>(?:.*[./])?)experts\.(?P<number>0|[1-9][0-9]{0,8})\.(?P<rest>.+)")
_MATRICES = (  # gate, up and down
    ("gate_proj.weight", "up_proj.weight", "down_proj.weight"),
    ("w1.weight", "w3.weight", "w2.weight"),
)
_OLD, _NEW = "block_sparse_moe.", "mlp."

Tensors = dict[str, tuple[TensorSpec, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Packing:
    """What a model looks like with its experts packed.

    Attributes:
        header: its tensors; a packed one stands where the first of its parts does.
        parts: for each tensor that the model does not store under this name, the tensors that it is made of: their
            bytes, one after the other, are its own.
    """

    header: Header
    parts: Mapping[str, Sequence[str]]


def packings(headers: Mapping[str, Header], *, always: bool) -> tuple[Mapping[str, Packing], list[str]]:
    """Return how to pack the models of a merge that have to be, by label, and what the user should know of it.

    Args:
        headers: label to header.
        always: pack all that can be; else those whose packed tensors another model stores.
    """
    apart = {label: header for label, header in headers.items() if any(map(_EXPERT.fullmatch, header))}
    found = {label: packing for label, header in apart.items() if (packing := packing_of(header))}
    if not always:
        stored = set().union(*headers.values())
        found = {label: each for label, each in found.items() if any(name in stored for name in _packed_names(each))}
    notes = []
    if found:
        reason = "" if always else ", as another model stores them"
        notes.append(f"Experts stored one by one are read packed{reason}: models {_quoted(found)}.")
    left = [label for label in apart if label not in found]
    if left and (found or always):
        notes.append(
            f"Experts stay as they are stored, one by one, because they are not all alike: models {_quoted(left)}."
        )
    return found, notes


def packing_of(header: Header) -> Packing | None:
    """Return how to pack a model's experts, or None if it has none that are stored one by one and can be packed.

    In every mixture of the model the experts must be numbered from 0, with the same three matrices of floating-point
    numbers, equal in shape and type, and nothing else: scales and biases have no place in packed tensors.

    Args:
        header: the model's tensors.
    """
    mixtures: dict[str, dict[int, dict[str, str]]] = {}
    for name in header:
        if found := _EXPERT.fullmatch(name):
            experts = mixtures.setdefault(found["parent"], {})
            experts.setdefault(int(found["number"]), {})[found["rest"]] = name
    packed: Tensors = {}
    for parent, experts in mixtures.items():
        made = _packed(header, experts)
        if made is None:
            return None
        packed |= {f"{_renamed(parent)}experts.{leaf}": each for leaf, each in made.items()}
    return _with(header, packed, mixtures) if packed else None


def _packed(header: Header, experts: Mapping[int, Mapping[str, str]]) -> Tensors | None:
    """Return the two packed tensors of a mixture, or None if they cannot be made."""
    if max(experts) != len(experts) - 1:
        return None
    kinds = [kind for kind in _MATRICES if all(expert.keys() == set(kind) for expert in experts.values())]
    if not kinds:
        return None
    gate, up, down = kinds[0]
    ordered = [experts[number] for number in range(len(experts))]
    groups = {
        "gate_up_proj": [expert[part] for expert in ordered for part in (gate, up)],
        "down_proj": [expert[down] for expert in ordered],
    }
    made: Tensors = {}
    for leaf, names in groups.items():
        spec = header[names[0]]
        if len(spec.shape) != 2 or spec.dtype.kind != "float" or any(header[name] != spec for name in names):
            return None
        rows = spec.shape[0] * len(names) // len(ordered)
        made[leaf] = (TensorSpec((len(ordered), rows, spec.shape[1]), spec.dtype, spec.stored), names)
    return made


def _renamed(parent: str) -> str:
    """Return what the module that experts are in is called where they are packed."""
    stem = parent.removesuffix(_OLD)
    return stem + _NEW if stem != parent and (not stem or stem[-1] in "./") else parent


def _with(header: Header, packed: Tensors, parents: Collection[str]) -> Packing | None:
    """Put packed tensors in their places, and rename what is beside them; None where two would have one name."""
    places = {names[0]: name for name, (_, names) in packed.items()}
    gone = {part for _, names in packed.values() for part in names}
    parts: dict[str, Sequence[str]] = {name: names for name, (_, names) in packed.items()}
    made: dict[str, TensorSpec] = {}
    for name, spec in header.items():
        if name in gone and name not in places:
            continue
        stem, found, _ = name.partition(_OLD)
        parent = stem + found if stem + found in parents else ""
        new = places.get(name) or _renamed(parent) + name.removeprefix(parent)
        if new in made:
            return None
        made[new] = packed[new][0] if name in places else spec
        if new != name:
            parts.setdefault(new, (name,))
    return Packing(made, parts)


def _packed_names(packing: Packing) -> list[str]:
    """Return the names of the tensors that have several parts."""
    return [name for name, parts in packing.parts.items() if len(parts) > 1]


def _quoted(labels: Iterable[str]) -> str:
    """Return labels for a message."""
    return some((f"'{label}'" for label in labels), SHOWN)
