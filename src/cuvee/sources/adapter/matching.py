"""Names that an adapter uses for modules to the names under which a base stores their tensors.

They differ by how much of the model was saved (a model with its head has ``bert.`` before what the bare model has), and
by what transformers renames on loading and names back on saving. A name matches

* the same name, or else
* one that it ends in, or that ends in it, at a dot; several are an error.

The same is tried for each renamed form. Numbers are never skipped by a renaming, so layer 3 stays layer 3.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from cuvee.errors import SourceError
from cuvee.sources.strict_json import shown

__all__ = ["Matcher"]

# (what transformers 5 calls it, what checkpoints do), each a run of whole parts of a name.
RENAMED = (
    ("mlp", "block_sparse_moe"),
    ("model.language_model", "language_model.model"),
    ("model.language_model", "model"),
    ("model.vision_tower", "vision_tower.vision_model"),
    ("model.visual", "visual"),
)


class Matcher:
    """The names of one base.

    Args:
        header: the base's header; its names are what counts.
        reference: what the user called the base.
    """

    def __init__(self, header: Mapping[str, object], reference: str) -> None:
        self._header = header
        self._reference = reference
        self._by_end: dict[str, list[str]] = defaultdict(list)
        for name in header:
            self._by_end[_end(name)].append(name)

    def find(self, name: str) -> str | None:
        """Return the base's name for a tensor that an adapter calls `name`, or None if it has none.

        Raises:
            SourceError: it could be several.
        """
        forms = list(dict.fromkeys([name, *_renamed(name)]))
        exact = [form for form in forms if form in self._header]
        if exact:
            return exact[0]
        for form in forms:
            found = [known for known in self._by_end[_end(form)] if _ends(known, form) or _ends(form, known)]
            if len(found) > 1:
                raise SourceError(
                    f"{self._reference}: the adapter's {shown(name)} could be {' or '.join(map(shown, found[:3]))}. "
                    "Merge the adapter with peft, into the model that it was trained on."
                )
            if found:
                return found[0]
        return None


def _end(name: str) -> str:
    """Return the last part of a name, and the one before."""
    return ".".join(name.split(".")[-2:])


def _ends(name: str, end: str) -> bool:
    """Say whether a name ends in another one, at a dot."""
    return name.endswith(f".{end}")


def _renamed(name: str) -> Iterator[str]:
    """Yield other forms of a name."""
    dotted = f".{name}"
    for one, other in RENAMED:
        for old, new in ((one, other), (other, one)):
            if f".{old}." in dotted:
                yield dotted.replace(f".{old}.", f".{new}.", 1).removeprefix(".")
