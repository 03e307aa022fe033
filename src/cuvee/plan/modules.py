"""What a plan says of an adapter that will be made: its modules, their ranks, what they take. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cuvee.recipe.recipe import Recipe
from cuvee.spec import TensorSpec

__all__ = ["AdapterPlan", "ModulePlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulePlan:
    """What becomes of one module's factors.

    Attributes:
        module: its name.
        shape: (out, in) of its weight, further axes joined with the second.
        method: name of the method.
        ranks: label of each adapter that has factors of it to their rank.
        way: ``"joined"``: the factors are put side by side, exactly; ``"cut"``: and then cut to a rank;
            ``"factored"``: what the method makes of the products is factored.
        rank: of the output.
        rank_is_known: the rank is this one; else it is at most this one, and an error decides.
        bytes_read: of factors.
        memory: bytes that merging it takes at most.
    """

    module: str
    shape: tuple[int, int]
    method: str
    ranks: Mapping[str, int]
    way: Literal["joined", "cut", "factored"]
    rank: int
    rank_is_known: bool
    bytes_read: int
    memory: int

    @property
    def bytes_written(self) -> int:
        """Bytes of both factors in float32, at most."""
        return 4 * sum(self.shape) * self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterPlan:
    """What a merge of adapters to an adapter will do.

    Attributes:
        recipe: what to merge.
        modules: in the order in which they are merged.
        whole: tensors that are there as a whole, by their names in the file.
        bytes_read: of all adapters, and of the base where it is needed.
        warnings: what the user should know, once per fact.
    """

    recipe: Recipe
    modules: Sequence[ModulePlan]
    whole: Mapping[str, TensorSpec]
    bytes_read: int
    warnings: Sequence[str]

    @property
    def bytes_written(self) -> int:
        """Bytes of tensors written, at most."""
        return sum(each.bytes_written for each in self.modules) + sum(spec.nbytes for spec in self.whole.values())
