"""What every layout yields: a piece of the output and the pieces it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from cuvee.errors import PlanError
from cuvee.spec import TensorSpec, View

__all__ = ["Tile", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One piece of the output.

    Attributes:
        outputs: where the merged elements go: one view, or one for each name of a tied tensor.
        inputs: for each source by label, the view that can be merged into it: of every source that the tile
            needs, and of the one that lends its configuration.
        specs: for each source by label, the specification of the whole tensor the view lies in.
    """

    outputs: tuple[View, ...]
    inputs: Mapping[str, View]
    specs: Mapping[str, TensorSpec]

    @property
    def name(self) -> str:
        """Name of the output tensor (its first, if tied)."""
        return self.outputs[0].name


def split(tile: Tile, parts: int) -> list[Tile]:
    """Cut a tile into parts of equal size along its first axis.

    Args:
        tile: a whole tensor's tile.
        parts: how many; must divide the first axis.

    Raises:
        PlanError: it does not.
    """
    shape = tile.outputs[0].shape
    if parts == 1:
        return [tile]
    if not shape or shape[0] % parts:
        raise PlanError(
            f"{tile.name}: a rule treats it as {parts} tensors along its first axis, but its shape is {shape}; "
            "'parts' must divide the first number.",
            ("tensors",),
        )

    names = {view.name for view in (*tile.outputs, *tile.inputs.values())}
    part_shape = (shape[0] // parts, *shape[1:])

    def part(i: int) -> Tile:
        views = {name: View(name, part_shape, i * prod(part_shape)) for name in names}
        return Tile(
            outputs=tuple(views[view.name] for view in tile.outputs),
            inputs={label: views[view.name] for label, view in tile.inputs.items()},
            specs=tile.specs,
        )

    return [part(i) for i in range(parts)]
