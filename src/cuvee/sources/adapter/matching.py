"""Names that an adapter uses for modules to the names under which a base stores their tensors.

They differ by how much of the model was saved (a model with its head has ``bert.`` before what the bare model has), and
by what transformers 5 renames on loading and names back on saving. A name matches

* the same name, or else
* one that is the same once both are written in one form (`form_of`), or else
* one whose form ends in its form, or the other way round, at a dot.

Several are an error. Nothing skips the number of a layer or of an expert.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from cuvee.errors import SourceError
from cuvee.sources.strict_json import shown

__all__ = ["Matcher", "form_of"]

# Parts that come and go with the class a model was loaded as, then what checkpoints call otherwise than transformers 5.
DROPPED = ("model", "language_model")
RENAMED = (
    (".block_sparse_moe.", ".mlp."),
    (".encoder.layer.", ".layers."),
    (".attention.attention.", ".attention."),
    (".attention.self.", ".attention."),
    (".attention.query.", ".attention.q_proj."),
    (".attention.key.", ".attention.k_proj."),
    (".attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
    (".embed_out.", ".lm_head."),
)


def form_of(name: str) -> str:
    """Return a name in the form in which names are compared.

    Example:
        >>> form_of("vit.encoder.layer.0.attention.attention.query.weight")
        'vit.layers.0.attention.q_proj.weight'
    """
    dotted = "." + ".".join(part for part in name.split(".") if part not in DROPPED)
    for old, new in RENAMED:
        dotted = dotted.replace(old, new)
    return dotted.removeprefix(".")


class Matcher:
    """The names of one base.

    Args:
        header: the base's header; its names are what counts.
        reference: what the user called the base.
    """

    def __init__(self, header: Mapping[str, object], reference: str) -> None:
        self._header = header
        self._reference = reference

    def find(self, name: str) -> str | None:
        """Return the base's name for a tensor that an adapter calls `name`, or None if it has none.

        Raises:
            SourceError: it could be several.
        """
        if name in self._header:
            return name
        form = form_of(name)
        found = self._by_form.get(form) or self._ending(form)
        if len(found) > 1:
            raise SourceError(
                f"{self._reference}: the adapter's {shown(name)} could be {' or '.join(map(shown, found[:3]))}. "
                "Merge the adapter with peft, into the model that it was trained on."
            )
        return found[0] if found else None

    def _ending(self, form: str) -> list[str]:
        """Return names whose form ends in another one, or in which that ends."""
        shorter = (name for end in _ends(form) for name in self._by_form.get(end, ()))
        return [*shorter, *self._by_end.get(form, ())]

    @cached_property
    def _by_form(self) -> Mapping[str, list[str]]:
        """Names by their form."""
        return _listed((form_of(name), name) for name in self._header)

    @cached_property
    def _by_end(self) -> Mapping[str, list[str]]:
        """Names by all that their form ends in."""
        return _listed((end, name) for form, names in self._by_form.items() for name in names for end in _ends(form))


def _ends(form: str) -> Iterator[str]:
    """Yield what a name ends in, at dots; without the name itself and its last part."""
    parts = form.split(".")
    for begin in range(1, len(parts) - 1):
        yield ".".join(parts[begin:])


def _listed(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Collect names under their keys."""
    listed: dict[str, list[str]] = defaultdict(list)
    for key, name in pairs:
        listed[key].append(name)
    return dict(listed)
