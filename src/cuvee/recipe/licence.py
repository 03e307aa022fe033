"""What models' cards say of their licences, and where those differ."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cuvee.errors import RecipeError, SourceError
from cuvee.recipe.yaml_text import parse
from cuvee.sources.sidecars import CARD
from cuvee.spec import File

__all__ = ["conflict", "licence_of", "licences_of"]

FRONT = re.compile(rb"---[ \t]*\r?\n(.*?\n)---[ \t]*(\r?\n|$)", re.DOTALL)
MOST = 64 << 10  # bytes of a card that are looked at; its front matter comes first
LONGEST = 100  # letters of a licence's name
UNUSUAL = re.compile(r"[^\w .,+/()-]")
# Licences that allow nearly everything; a merge of several is under all of their conditions, and they do not clash.
PERMISSIVE = frozenset({
    "afl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0",
    "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "isc", "mit",
    "ms-pl", "ncsa", "odc-by", "pddl", "unlicense", "wtfpl", "zlib",
})  # fmt: skip


class Carded(Protocol):
    """What may have a card: a model, or an adapter."""

    @property
    def sidecars(self) -> Mapping[str, File]: ...


def licences_of(inputs: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the licences of all that a merge is made of, by label: ``a/b`` is b within a, ``a+b`` the adapter b on a.

    Args:
        inputs: as recorded, see `cuvee.execute.provenance`.
    """
    found: dict[str, str | None] = {}
    for label, stated in inputs.items():
        if "inputs" in stated:
            found |= {f"{label}/{inner}": licence for inner, licence in licences_of(stated["inputs"]).items()}
        else:
            found[label] = stated["licence"]
        found |= {f"{label}+{each['location']}": each["licence"] for each in stated.get("adapters", ())}
    return found


def licence_of(source: Carded) -> str | None:
    """Return the licence that a card states in its front matter, in lower case; None if it states none.

    ``other`` is replaced by the name given beside it. A card may be anyone's: what is returned is one line of at most
    `LONGEST` letters, and whatever could mean something in a card or to a terminal is a question mark.
    """
    card = source.sidecars.get(CARD)
    said = _front_matter(card) if card is not None else {}
    licence = said.get("license")
    if isinstance(licence, list):
        licence = " and ".join(sorted(str(each) for each in licence))
    if licence == "other" and said.get("license_name"):
        licence = said["license_name"]
    return (_plain(str(licence).lower()) or None) if licence else None


def _plain(text: str) -> str:
    """Return text as one short line of letters, digits and signs that mean nothing anywhere."""
    line = UNUSUAL.sub("?", " ".join(text.split())).lstrip("-?, ")  # which would begin something in YAML
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def conflict(licences: Mapping[str, str | None]) -> str | None:
    """Say whether models' licences may not allow to merge them; None if nothing speaks against it.

    Args:
        licences: for each label, its licence, or None if unknown.
    """
    stated = {label: licence for label, licence in licences.items() if licence}
    if len(set(stated.values())) < 2 or set(stated.values()) <= PERMISSIVE:
        return None
    listed = ", ".join(f"'{label}' {licence}" for label, licence in stated.items())
    return f"The models' licences differ: {listed}. See whether they allow a merge, and what licence it must have."


def _front_matter(card: File) -> Mapping[str, object]:
    """Return what stands between the lines at the beginning of a card; nothing where it cannot be read."""
    try:
        found = FRONT.match(card.read_bytes()[:MOST])
        content = parse(found[1].decode(), Path(str(card)))[0] if found else None
    except (OSError, SourceError, UnicodeDecodeError, RecipeError):  # a card is for people; it need not be well-formed
        return {}
    return content if isinstance(content, dict) else {}
