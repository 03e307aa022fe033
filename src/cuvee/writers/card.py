"""The model card (README.md) of a merged checkpoint: what it is made of, the recipe, the costs, what to cite."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuvee.sources.reference import PLUS, hub_id

__all__ = ["Card", "model_card"]

TEMPLATE = """---
{library}{licence}{bases}tags:
- merge
- cuvee
---

# {title}

Merged with cuvee {version}, by the method `{method}`.

## Models

{models}

Digests are of the tensors that were read. `cuvee verify` compares them, and this checkpoint's
(`{digest}`), with what is there now; `cuvee.json` has all that it needs.

## Recipe

```yaml
{recipe}```
{notes}
## Costs

{costs}

## Citations

{citations}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model card is made of.

    Attributes:
        title: name of the merged model.
        method: name of the method.
        recipe: the recipe's text.
        record: where the merge comes from and what it cost; see `cuvee.execute.provenance`.
        licences: of all that the merge is made of, by what it is called; None for one that is not known.
        citations: references of the methods used, one BibTeX entry or line each.
        library: what loads the model; empty where nothing tells.
    """

    title: str
    method: str
    recipe: str
    record: Mapping[str, Any]
    licences: Mapping[str, str | None]
    citations: Sequence[str]
    library: str = "transformers"


def model_card(card: Card) -> bytes:
    """Write a model card, UTF-8.

    What lies on the hub is listed as a base model in the front matter, too, adapters and what merges are made of
    included; a licence that all of these state is stated there.

    Args:
        card: what it says.
    """
    inputs, notes = card.record["inputs"], card.record["notes"]
    licences = set(card.licences.values())
    hub = dict.fromkeys(found[0] for place in _places(inputs) if (found := hub_id(place)))
    text = TEMPLATE.format(
        library=f"library_name: {card.library}\n" if card.library else "",
        licence=f"license: {next(iter(licences))}\n" if len(licences) == 1 and None not in licences else "",
        bases="base_model:\n" + "".join(f"- {name}\n" for name in hub) if hub else "",
        title=card.title,
        version=card.record["versions"]["cuvee"],
        method=card.method,
        models="\n".join(_model(label, stated) for label, stated in inputs.items()),
        digest=card.record["output"]["digest"],
        recipe=card.recipe,
        notes="\n## Notes\n\n" + "\n".join(f"- {note}" for note in notes) + "\n" if notes else "",
        costs=_costs(card.record),
        citations="\n".join(f"```bibtex\n{entry}```" for entry in card.citations)
        or "The methods used have no paper of their own.",
    )
    return text.encode("utf-8", "replace")  # paths may hold bytes that are no text


def _places(inputs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the places of models and of adapters that a merge, and those within it, are made of."""
    for stated in inputs.values():
        location = stated["location"]
        if "inputs" in stated:
            yield from _places(stated["inputs"])
        elif isinstance(location, str):
            yield from location.split(PLUS)
        else:
            yield location["model"]
        yield from (each["location"] for each in stated.get("adapters", ()))


def _model(label: str, stated: Mapping[str, Any]) -> str:
    """Describe one input in a line."""
    licence = f", licence {stated['licence']}" if stated["licence"] else ""
    unused = len(stated["unused"])
    rest = f"; {unused} of its tensors {'are' if unused > 1 else 'is'} not used" if unused else ""
    return f"- `{label}`: `{stated['reference']}`{licence} (`{stated['digest']}`{rest})"


def _costs(record: Mapping[str, Any]) -> str:
    """Say what the merge took, and with what."""
    costs, machine = record["costs"], record["machine"]
    software = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{costs['seconds']:.1f} s ({costs['cpu_seconds']:.1f} s of processor), {costs['bytes_read']:,} bytes read, "
        f"{costs['bytes_written']:,} written, {costs['peak_memory'] / 1e6:,.0f} MB of memory at most; on "
        f"{machine['cores']} cores ({machine['processor']}, {machine['system']}) with {software}."
    )
