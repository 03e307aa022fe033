"""The ordinary layout: every output tensor is made of the tensors of that name in every model."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from cuvee.errors import PlanError, nearest, some
from cuvee.layouts.tile import Tile
from cuvee.spec import Header, View

__all__ = ["Aligned", "aligned"]

Ties = Mapping[str, Mapping[str, str]]
SHOWN = 8  # names listed in a message before it says how many more there are


class Aligned:
    """Tiles of the aligned layout, with what became of names that have none.

    Attributes:
        tiles: in the donor's stored order, then tensors that it lacks.
        skipped: names left out because `wanted` said so.
        tied: names that share another tensor's storage, mapped to that tensor.
        untied: names that are tied in some models only, or in the donor only, and written.
    """

    def __init__(self) -> None:
        self.tiles: list[Tile] = []
        self.skipped: dict[str, None] = {}  # in order
        self.tied: dict[str, str] = {}
        self.untied: list[str] = []


def aligned(
    headers: Mapping[str, Header],
    ties: Ties,
    wanted: Callable[[str], Sequence[str]],
    alike: Callable[[str, str], bool],
    donor: str,
) -> Aligned:
    """Match tensors by name.

    A tensor that is tied in every model is merged once and written under each of its names that the donor stores. One
    that is tied in some models only is written, and read from the tensor it is tied to where it is; but if all that it
    is made of tie it, and it is made as the tensor is that they tie it to, then that is it, too.

    Args:
        headers: each source's header by label.
        ties: for each label, tied name to the name that holds the bytes, stored twice or not.
        wanted: labels of the sources that must have a tensor of this name; none to leave it out.
        alike: whether tensors of two names are made of the same models in the same way.
        donor: label of the source that lends its order and its configuration.

    Raises:
        PlanError: names or shapes differ; the message lists the differences.
    """
    result = Aligned()
    names = dict.fromkeys(chain(headers[donor], *headers.values()))
    whole: dict[str, Sequence[str]] = {}  # names that get a tile, and the sources it needs
    tied_somewhere = set(chain.from_iterable(ties.values()))
    copies: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for name in names:
        labels = wanted(name)
        if not labels:
            result.skipped[name] = None
            continue
        holders = {ties[label].get(name, name) for label in labels} if name in tied_somewhere else {name}
        holder = next(iter(holders))
        everywhere = all(ties[label].get(name) == holder for label in headers)
        if holders == {holder} != {name} and (everywhere or alike(name, holder)):
            result.tied[name] = holder
            if name in headers[donor]:
                copies.setdefault(holder, []).append(name)
            continue
        whole[name] = labels
        lacking = [
            label for label in labels if name not in headers[label] and ties[label].get(name) not in headers[label]
        ]
        if lacking:
            missing[name] = lacking
        elif holders != {name} or name in ties[donor]:
            result.untied.append(name)
    if missing:
        raise PlanError(_missing_message(missing, headers))
    differing = []
    for name, labels in whole.items():
        tile = _tile(name, [name, *copies.get(name, [])], labels, donor, headers, ties)
        result.tiles.append(tile)
        if len({tile.specs[label].shape for label in labels}) > 1:
            differing.append(tile)
    if differing:
        raise PlanError(_shapes_message(differing, wanted), ("models",))
    return result


def _tile(
    name: str, outputs: Sequence[str], labels: Sequence[str], donor: str, headers: Mapping[str, Header], ties: Ties
) -> Tile:
    """Make the tile of a whole tensor. The donor is in it, if its tensor fits: copies come from there."""
    held = {label: name if name in headers[label] else ties[label][name] for label in labels}
    specs = {label: headers[label][held[label]] for label in labels}
    first = next(iter(specs.values()))
    if donor not in specs and (offered := headers[donor].get(name)) and offered.shape == first.shape:
        held[donor], specs[donor] = name, offered
    views = {each: View(each, first.shape) for each in {*outputs, *held.values()}}
    return Tile(
        outputs=tuple(views[output] for output in outputs),
        inputs={label: views[own] for label, own in held.items()},
        specs=specs,
    )


def _shapes_message(tiles: Sequence[Tile], wanted: Callable[[str], Sequence[str]]) -> str:
    """Say how the first tensor's shapes differ, and which others do."""
    first = tiles[0]
    shapes = ", ".join(f"'{label}' {first.specs[label].shape}" for label in wanted(first.name))
    others = [tile.name for tile in tiles[1:]]
    also = f" So do those of {some(others, SHOWN)}." if others else ""
    return (
        f"{first.name}: shapes differ: {shapes}.{also} Merge models of equal shapes only; or give a rule for "
        f"{'these tensors: copy them' if others else 'this tensor: copy it'} from one model, or skip "
        f"{'them' if others else 'it'}."
    )


def _missing_message(missing: Mapping[str, Sequence[str]], headers: Mapping[str, Header]) -> str:
    """List, by source, the tensors it lacks."""
    by_label: dict[str, list[str]] = {}
    for name, labels in missing.items():
        for label in labels:
            by_label.setdefault(label, []).append(name)
    lines = []
    for label, names in by_label.items():
        hint = nearest(names[0], [name for name in headers[label] if name in missing])
        lines.append(f"'{label}' has no {some(_by_component(names, headers[label]), SHOWN)}.{hint}")
    return (
        f"{len(missing)} tensor{'s are' if len(missing) > 1 else ' is'} not in every model: {' '.join(lines)} "
        "Give a rule for them: copy from a model that has them, or skip."
    )


def _by_component(names: Sequence[str], header: Header) -> list[str]:
    """Name the components (``vae/*``) that a source lacks altogether, and each tensor of those it has."""
    present = {name.partition("/")[0] for name in header}
    said: dict[str, None] = {}
    for name in names:
        component, slash, _ = name.partition("/")
        said[f"{component}/*" if slash and component not in present else name] = None
    return list(said)
