"""Write the words of the suite `minilm` anew: python scripts/minilm_lexicon.py (needs babel and num2words).

Names of territories, languages, scripts, currencies and units are CLDR's, as Babel ships them; numbers in words are
num2words'. Chosen are names of letters alone and of moderate length in all languages, so that no one has years or
explanations in brackets. What is chosen among many is chosen by a hash, so that the same versions give the same file.
"""

import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from babel import Locale
from babel.core import get_cldr_version, get_global
from babel.units import get_unit_name
from num2words import num2words

from cuvee.studies.seeds import seed_for
from cuvee.studies.suites.minilm.lexicon import LANGUAGES, PIVOT, TASKS, Lexicon

FILE = Path(__file__).resolve().parent.parent / "src/cuvee/studies/suites/minilm/lexicon.json"
LICENCE = (
    "Names: CLDR, Copyright © 2004-2025 Unicode, Inc., Unicode License v3, see LICENSE.unicode. Numbers in words "
    "were made with num2words."
)
SPOKEN = (PIVOT, *LANGUAGES)
ALLOWED = re.compile(r"[^\d()\[\]&;:,/.]{3,32}")
MOST = {"kind": 60, "continent": 60, "money": 60, "match": 80, "size": 45, "digit": 30}
"""Words of each class of a task; of each kind, where words are matched."""
CONTINENTS = {"Africa": "Africa", "America": "America", "Asia": "Asia", "Europe": "Europe", "Pacific": "Oceania"}
"""The first part of names of time zones; those of the Atlantic and the Indian Ocean say no continent."""
DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZES = ("tens", "hundreds", "thousands", "tens of thousands", "hundreds of thousands", "millions")
KINDS = {
    "territory": "country",
    "language": "language",
    "script": "writing system",
    "currency": "currency",
    "unit": "unit of measurement",
}
Names = Mapping[str, str]


def main() -> None:
    """Write the file."""
    FILE.write_text(written(gathered()))
    print(FILE, FILE.stat().st_size, "bytes")


def written(lexicon: Lexicon) -> str:
    """Return a lexicon as JSON with a line for each word, so that changes can be read."""
    dumped = {key: json.dumps(value, ensure_ascii=False) for key, value in lexicon.items()}
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in lexicon["names"].items()]
    dumped["names"] = "{\n" + ",\n".join(lines) + "\n}"
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in dumped.items()) + "\n}\n"


def gathered() -> Lexicon:
    """Choose the words of all tasks from the libraries that are installed."""
    names = {f"{kind}/{code}": found for kind in KINDS for code, found in _of_kind(kind).items()}
    numbers = {f"number/{value}": _in_words(value) for value in _numbers()}
    tasks = {
        "kind": _kinds(names),
        "continent": _continents(names),
        "money": _moneys(names),
        "match": _matches(names),
        "size": _grouped((key, SIZES[len(_digits(key)) - 2]) for key in numbers),
        "digit": _grouped((key, DIGITS[int(_digits(key)[0]) - 1]) for key in numbers),
    }
    everything = {**names, **numbers}
    chosen = {task: _chosen(task, tasks[task], everything) for task in TASKS}
    used = {key for classes in chosen.values() for keys in classes.values() for key in keys}
    return {
        "licence": LICENCE,
        "versions": {"babel": version("babel"), "cldr": get_cldr_version(), "num2words": version("num2words")},
        "languages": list(SPOKEN),
        "tasks": chosen,
        "names": {key: [everything[key][language] for language in SPOKEN] for key in sorted(used)},
    }


def _of_kind(kind: str) -> Mapping[str, Names]:
    """Return the names of everything of a kind that has a good one in every language."""
    tables = {language: _table(kind, language) for language in SPOKEN}
    shared = set.intersection(*(set(table) for table in tables.values()))
    found = {code: {language: tables[language][code] for language in SPOKEN} for code in sorted(shared)}
    return {code: names for code, names in found.items() if all(map(ALLOWED.fullmatch, names.values()))}


def _table(kind: str, language: str) -> Mapping[str, str]:
    """Return what a language calls everything of a kind."""
    locale = Locale(language)
    if kind == "territory":
        zones = get_global("territory_zones")
        return {code: name for code, name in locale.territories.items() if code in zones and len(code) == 2}
    if kind == "unit":
        units = sorted(locale._data["unit_display_names"])
        found = {unit: get_unit_name(unit, "long", locale) for unit in units}
        return {unit: name for unit, name in found.items() if name}
    tables = {"language": locale.languages, "script": locale.scripts, "currency": locale.currencies}
    return {code: name for code, name in tables[kind].items() if name}


def _kinds(names: Mapping[str, Names]) -> Mapping[str, list[str]]:
    """Tell the kinds apart; what is the name of two things, such as a language and its script, is left out."""
    counts = Counter(name for each in names.values() for name in _called(each))
    clear = [key for key, each in names.items() if all(counts[name] == 1 for name in _called(each))]
    return _grouped((key, KINDS[key.partition("/")[0]]) for key in clear)


def _called(names: Names) -> set[str]:
    """Return all names of one thing, in any language."""
    return {_folded(name) for name in names.values()}


def _continents(names: Mapping[str, Names]) -> Mapping[str, list[str]]:
    """Place territories by their time zones; those with zones of several continents are left out."""
    places = {key: {zone.partition("/")[0] for zone in get_global("territory_zones")[key.partition("/")[2]]}
              for key in _territories(names)}  # fmt: skip
    only = {key: next(iter(found)) for key, found in places.items() if len(found) == 1}
    return _grouped((key, CONTINENTS[place]) for key, place in only.items() if place in CONTINENTS)


def _moneys(names: Mapping[str, Names]) -> Mapping[str, list[str]]:
    """Place currencies, of today and of the past, by the territory that their code begins with (ISO 4217)."""
    places = {key: continent for continent, keys in _continents(names).items() for key in keys}
    moneys = {key: f"territory/{key.partition('/')[2][:2]}" for key in names if key.startswith("currency/")}
    return _grouped((key, places[territory]) for key, territory in moneys.items() if territory in places)


def _territories(names: Mapping[str, Names]) -> list[str]:
    return [key for key in names if key.startswith("territory/")]


def _matches(names: Mapping[str, Names]) -> Mapping[str, list[str]]:
    """Take names that are no language's English name, by kind; their English names have to differ."""
    counts = Counter(_folded(each[PIVOT]) for each in names.values())
    return _grouped(
        (key, key.partition("/")[0])
        for key, each in names.items()
        if not key.startswith("script/")  # many are named like nothing else: "Inherited"
        and counts[_folded(each[PIVOT])] == 1
        and all(_folded(each[language]) != _folded(each[PIVOT]) for language in LANGUAGES)
    )


def _folded(name: str) -> str:
    """Forget case and accents, as the encoder's tokenizer does."""
    return "".join(each for each in unicodedata.normalize("NFKD", name.lower()) if not unicodedata.combining(each))


def _grouped(pairs: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """Collect keys by their class."""
    found: dict[str, list[str]] = {}
    for key, label in pairs:
        found.setdefault(label, []).append(key)
    return found


def _chosen(task: str, classes: Mapping[str, list[str]], names: Mapping[str, Names]) -> dict[str, list[str]]:
    """Choose words of each class by a hash; no two of a task are called the same in any languages."""
    taken: set[str] = set()
    chosen: dict[str, list[str]] = {}
    for label in sorted(classes):
        keys: list[str] = []
        for key in sorted(classes[label], key=lambda key: seed_for(1, f"minilm {task} {key}")):
            called = _called(names[key])
            if len(keys) < MOST[task] and not called & taken:
                taken |= called
                keys.append(key)
        chosen[label] = sorted(keys)
    return chosen


def _numbers() -> Sequence[int]:
    """List numbers of two to seven digits of which one or two are not zero, so that their words are few."""
    return sorted(
        {
            first * 10**length + second * 10**place
            for length in range(1, 7)
            for first in range(1, 10)
            for second in range(10)
            for place in range(length)
        }
    )


def _digits(key: str) -> str:
    return key.partition("/")[2]


def _in_words(value: int) -> Names:
    return {language: num2words(value, lang=language) for language in SPOKEN}


if __name__ == "__main__":
    sys.exit(main())
