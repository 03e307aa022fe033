"""The layer stack: layers of the models, some left out, some repeated, under new numbers.

Only names change: what a model calls ``model.layers.20.mlp.up_proj.weight`` may be ``model.layers.4.mlp...`` of the
output. When every model's tensors have their names in the output, they are matched as in the aligned layout.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import chain

from cuvee.architectures.layers import depth_of, layer_of, renumbered, stacks
from cuvee.architectures.tied import is_embedding, is_head
from cuvee.errors import PlanError, nearest, some
from cuvee.layouts.tile import Tile
from cuvee.spec import Header, TensorSpec, View

__all__ = ["Stacked", "Take"]

Take = Mapping[str, tuple[int, int]]
"""For each model by label the first of its layers that are taken, and the one after the last; all of one length."""

SHOWN = 4  # stacks of layers named in a message


class Stacked:
    """Models under the output's names.

    Args:
        headers: each source's header by label.
        layers: what the layers of a stack are made of, in order, by its name or a pattern that no other has; it may be
            empty where there is only one. Stacks that are not named stay as they are.
        donor: label of the source whose tensors outside layers come first.

    Attributes:
        headers: for each source its tensors under their names in the output; those of the output's order.
        counts: number of layers of each stack of the output that was put together anew.
        origins: for each such stack, what its layers are made of: label and layer of every model that takes part.
        unused: for each source, its layers that are not taken, by stack.
        of_first: for each such stack, what only the first layer of models has, by name within the layer.

    Raises:
        PlanError: a model has no such layers.
    """

    def __init__(self, headers: Mapping[str, Header], layers: Mapping[str, Sequence[Take]], donor: str) -> None:
        self._sources = headers
        counts = {label: stacks(header) for label, header in headers.items()}
        found = {key: _stack(key, takes, counts, len(layers)) for key, takes in layers.items()}
        self._takes = {found[key]: takes for key, takes in layers.items()}
        self._keys = {stack: key for key, stack in found.items()}
        _check(self._takes, counts, self._keys)
        self._part: dict[str, tuple[str, int]] = {}  # of names in layers: stack, and place of the take
        self._depths: dict[str, float] = {}
        self._own: dict[str, dict[str, str]] = {label: {} for label in headers}
        self.counts = {stack: sum(map(_length, takes)) for stack, takes in self._takes.items()}
        self.origins = {stack: _origins(takes) for stack, takes in self._takes.items()}
        self.of_first = {stack: _of_first(stack, takes, headers) for stack, takes in self._takes.items()}
        self.unused = {label: _unused(label, own, self._takes) for label, own in counts.items()}
        for label, header in headers.items():
            for name in header:
                for output, depth, part in self._outputs(label, name):
                    self._own[label][output] = name
                    if part is not None:
                        self._depths[output], self._part[output] = depth, part
        embeddings = [name for name in chain.from_iterable(headers.values()) if is_embedding(name)]
        self._reading = {
            stack
            for stack in self._takes
            if any(name.startswith(f"{stack.rpartition('.')[0]}.") for name in embeddings)
        }
        order = self._order(donor)
        self.headers: dict[str, dict[str, TensorSpec]] = {
            label: {name: headers[label][own[name]] for name in order if name in own}
            for label, own in self._own.items()
        }

    def _outputs(self, label: str, name: str) -> Iterable[tuple[str, float, tuple[str, int] | None]]:
        """Yield each name that a tensor of a source has in the output: name, depth, and the take that it comes by."""
        layer = layer_of(name)
        if layer is None or layer.stack not in self._takes:
            yield name, 0.0, None
            return
        begin = 0
        for i, take in enumerate(self._takes[layer.stack]):
            first, end = take.get(label, (0, 0))
            if first <= layer.index < end:
                within = layer.index - first
                depth = within / (end - first - 1) if end - first > 1 else 1.0
                yield renumbered(name, begin + within), depth, (layer.stack, i)
            begin += _length(take)

    def _order(self, donor: str) -> Sequence[str]:
        """Return all names: those before the layers, the layers, and those after them."""
        names = dict.fromkeys(chain(self._own[donor], *self._own.values()))
        outside = [name for name in names if name not in self._part]
        inside = sorted((name for name in names if name in self._part), key=lambda n: (self._part[n], _index(n)))
        before = [name for name in outside if depth_of(name, {}) == 0.0]
        return [*before, *inside, *(name for name in outside if depth_of(name, {}) != 0.0)]

    def depth(self, name: str) -> float | None:
        """Return how deep a tensor of the output stands within its take; None outside the stacks put together anew."""
        return self._depths.get(name)

    def take(self, name: str) -> tuple[str, int] | None:
        """Return what `layers` calls the stack, and the place of the take, that a tensor of the output is made by.

        What stands outside layers belongs to the first take of the stack whose name begins as its own does, or to the
        last one if it comes after the layers; a head that no stack's name begins like, to the stack that has an
        embedding of tokens. None for tensors of other stacks.
        """
        if name in self._part:
            stack, place = self._part[name]
            return self._keys[stack], place
        if layer_of(name) is not None:
            return None
        roots = {stack: stack.rpartition(".")[0] for stack in self._takes}
        fitting = [stack for stack, root in roots.items() if not root or name.startswith(f"{root}.")]
        if not fitting and is_head(name):
            fitting = [stack for stack in roots if stack in self._reading]
            fitting = fitting if len(fitting) == 1 else []
        nearest_one = max(fitting, key=lambda stack: len(roots[stack])) if fitting else None
        if nearest_one is None and "" in self._keys.values():  # the only one, and nobody had to name it
            nearest_one = next(iter(self._takes))
        if nearest_one is None:
            return None
        stack = nearest_one
        return self._keys[stack], 0 if depth_of(name, {}) == 0.0 else len(self._takes[stack]) - 1

    def own(self, label: str, name: str) -> str:
        """Return what a source calls a tensor of the output."""
        return self._own[label].get(name, name)

    def placed(self, tile: Tile) -> Tile:
        """Return a tile, matched by names of the output, with inputs under their sources' names for them."""
        inputs = {
            label: View(self.own(label, view.name), view.shape, view.start) for label, view in tile.inputs.items()
        }
        return replace(tile, inputs=inputs)


def _length(take: Take) -> int:
    first, end = next(iter(take.values()))
    return end - first


def _index(name: str) -> int:
    layer = layer_of(name)
    return layer.index if layer else 0


def _stack(stack: str, takes: Sequence[Take], counts: Mapping[str, Mapping[str, int]], num_stacks: int) -> str:
    """Return the name of a stack: the only one that the models have, if it has no name yet."""
    known = dict.fromkeys(chain.from_iterable(counts[label] for take in takes for label in take))
    fitting = [stack] if stack in known else [each for each in known if fnmatchcase(each, stack)]
    if len(fitting) == 1 and (stack or num_stacks > 1):
        return fitting[0]
    if not stack and len(known) == 1:
        return next(iter(known))
    if not known:
        raise PlanError("the models have no layers: no tensor's name has a number between dots.", ("layers",))
    listed = some([each or "(the top level)" for each in known], SHOWN)
    if stack:
        raise PlanError(
            f"no model has a stack of layers called '{stack}'.{nearest(stack, known)} There is: {listed}.",
            ("layers", stack),
        )
    raise PlanError(
        f"the models have several stacks of layers: {listed}. Write layers: {{STACK: [...]}} for those that are to be "
        "put together anew; in a mergekit configuration, modules: {MODULE: {slices: [...]}}.",
        ("layers",),
    )


def _check(
    layers: Mapping[str, Sequence[Take]], counts: Mapping[str, Mapping[str, int]], keys: Mapping[str, str]
) -> None:
    """Refuse ranges beyond a model's layers."""
    for stack, takes in layers.items():
        for i, take in enumerate(takes):
            for label, (first, end) in take.items():
                count = counts[label].get(stack, 0)
                if end > count:
                    has = f"layers 0 to {count - 1}" if count else "no layers"
                    raise PlanError(
                        f"layers [{first}, {end}] of '{label}' are asked for; it has {has} in '{stack}'. The second "
                        f"number is the layer after the last, {count} at most.",
                        ("layers", *([keys[stack]] if keys[stack] else []), i, "take", label),
                    )


def _origins(takes: Sequence[Take]) -> list[dict[str, int]]:
    return [{label: first + i for label, (first, _) in take.items()} for take in takes for i in range(_length(take))]


def _unused(label: str, counts: Mapping[str, int], layers: Mapping[str, Sequence[Take]]) -> dict[str, list[int]]:
    """Return the layers of a source that no take asks for."""
    found = {}
    for stack, takes in layers.items():
        taken = {i for take in takes for i in range(*take.get(label, (0, 0)))}
        if left := [i for i in range(counts.get(stack, 0)) if i not in taken]:
            found[stack] = left
    return found


def _of_first(stack: str, takes: Sequence[Take], headers: Mapping[str, Header]) -> Sequence[str]:
    """Return names within layers that only layer 0 has, in all models that have several layers of a stack."""
    first: dict[str, None] = {}
    later = set[str]()
    for label in dict.fromkeys(chain.from_iterable(takes)):
        layers = [layer for layer in map(layer_of, headers[label]) if layer is not None and layer.stack == stack]
        beyond = {layer.rest for layer in layers if layer.index}
        later |= beyond
        first |= {layer.rest: None for layer in layers if not layer.index and beyond}
    return [rest for rest in first if rest not in later]
