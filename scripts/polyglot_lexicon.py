"""Write the words of the suite `polyglot` anew: python scripts/polyglot_lexicon.py (needs babel and num2words).

Names of territories, languages, months and days are CLDR's, as Babel ships them; numbers in words are num2words'.
Verbs, yes and no, which neither has, stand in the suite's code. A thing is chosen if its name is one word of letters in
every language and no other name of the same language; among those that are left a hash chooses, so that the same
versions give the same file.
"""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from babel import Locale
from babel.core import get_cldr_version, get_global
from num2words import num2words

from cuvee.studies.seeds import seed_for
from cuvee.studies.suites.polyglot.lexicon import COUNTS, LANGUAGES, WRITTEN, Lexicon

FILE = Path(__file__).resolve().parent.parent / "src/cuvee/studies/suites/polyglot/lexicon.json"
LICENCE = (
    "Names: CLDR, Copyright © 2004-2025 Unicode, Inc., Unicode License v3, see LICENSE.unicode. Numbers in words "
    "were made with num2words."
)
LONGEST = 14  # letters of a word
Names = Mapping[str, Mapping[str, str]]
"""By key, what each language calls it."""


def main() -> None:
    """Write the file."""
    FILE.write_text(written(gathered()), "utf-8")
    print(FILE, FILE.stat().st_size, "bytes")


def written(lexicon: Lexicon) -> str:
    """Return a lexicon as JSON with a line for each word, so that changes can be read."""
    dumped = {key: json.dumps(value, ensure_ascii=False) for key, value in lexicon.items()}
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in lexicon["names"].items()]
    dumped["names"] = "{\n" + ",\n".join(lines) + "\n}"
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in dumped.items()) + "\n}\n"


def gathered() -> Lexicon:
    """Choose the words from the libraries that are installed."""
    taken = {language: {names[language] for names in WRITTEN.values()} for language in LANGUAGES}
    chosen: dict[str, list[str]] = {}
    for kind, count in COUNTS.items():
        names = _of_kind(kind)
        keys = list(names)
        if kind in ("country", "language"):  # there are more than enough
            keys.sort(key=lambda key: seed_for(1, f"polyglot {key}"))
        kept: list[str] = []
        for key in keys:
            if len(kept) < count and _is_good(kind, names[key], taken):
                for language, name in names[key].items():
                    taken[language].add(name)
                kept.append(key)
        if len(kept) < count:
            raise SystemExit(f"{kind}: {len(kept)} good words, {count} wanted")
        if kind in ("country", "language"):
            kept.sort()
        chosen |= {key: [names[key][language] for language in LANGUAGES] for key in kept}
    return {
        "licence": LICENCE,
        "versions": {"babel": version("babel"), "cldr": get_cldr_version(), "num2words": version("num2words")},
        "languages": list(LANGUAGES),
        "names": chosen,
    }


def _is_good(kind: str, names: Mapping[str, str], taken: Mapping[str, set[str]]) -> bool:
    """Say whether every language has one word of its own for it; numbers of two words count as one."""
    if any(name in taken[language] for language, name in names.items()):
        return False
    return kind == "number" or all(name.isalpha() and len(name) <= LONGEST for name in names.values())


def _of_kind(kind: str) -> Names:
    """Return the names of everything of a kind, in lower case: capitals are a habit of some languages."""
    tables = {language: _table(kind, language) for language in LANGUAGES}
    shared = [code for code in tables[LANGUAGES[0]] if all(code in table for table in tables.values())]
    return {f"{kind}/{code}": {language: tables[language][code].lower() for language in LANGUAGES} for code in shared}


def _table(kind: str, language: str) -> Mapping[str, str]:
    """Return what a language calls everything of a kind."""
    locale = Locale(language)
    if kind == "number":
        return {str(value): num2words(value, lang=language) for value in range(1, COUNTS["number"] + 1)}
    if kind == "country":
        zones = get_global("territory_zones")
        return {code: locale.territories[code] for code in sorted(zones) if code in locale.territories}
    if kind == "language":
        return {code: locale.languages[code] for code in sorted(locale.languages) if len(code) == 2}
    names = locale.months if kind == "month" else locale.days
    return {str(number): name for number, name in sorted(names["stand-alone"]["wide"].items())}


if __name__ == "__main__":
    sys.exit(main())
