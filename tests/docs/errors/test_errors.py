"""Every error has its entry on a page, and every entry is what happens."""

import importlib
from collections import Counter
from pathlib import Path

import pytest

from cuvee import errors
from docs.errors.pages import ENTRANCE, GOES_ON, PAGES, Entry, entries, entry_of
from docs.errors.scenarios import EXCUSED, SCENARIOS, Scenario, outcome
from docs.errors.sites import Site, sites

for module in sorted(Path(__file__).parent.glob("provoke_*.py")):
    importlib.import_module(f"docs.errors.{module.stem}")

PARTS = sorted({site.part for site in sites()})
OWN_KINDS = {"DifferenceError"}
"""Classes of errors that no Python code has to catch, and which `cuvee.errors` therefore lacks."""


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.heading)
def test_every_entry_has_a_scenario_and_a_text(entry: Entry) -> None:
    assert entry.heading in {scenario.heading for scenario in SCENARIOS}
    assert entry.kind in {*errors.__all__, *OWN_KINDS}
    assert len(entry.text.split()) >= 12
    assert entry.text.endswith((".", "```"))


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.heading)
def test_no_heading_ends_within_a_sentence(entry: Entry) -> None:
    """Who looks for the words of a message finds the whole sentence; only further ones may be left out."""
    assert not entry.heading.endswith(GOES_ON) or entry.heading.removesuffix(GOES_ON).rstrip().endswith((".", "?"))
    assert len(entry.heading) <= 210


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_scenario_raises_what_its_entry_says_and_no_other(scenario: Scenario) -> None:
    raised = outcome(scenario)
    entry = entry_of(raised.message)
    assert entry is not None, raised.message
    assert (entry.heading, entry.kind) == (scenario.heading, raised.kind), raised.message


def test_no_entry_and_no_scenario_is_there_twice() -> None:
    for names in ([entry.heading for entry in entries()], [str(scenario) for scenario in SCENARIOS]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("part", PARTS)
def test_every_error_in_the_code_is_provoked(part: str) -> None:
    provoked = {site for scenario in SCENARIOS for site in outcome(scenario).sites}
    missing = [str(site) for site in sites() if site.part == part and site not in provoked and not excuses(site)]
    assert missing == [], "\n" + "\n".join(missing)


def test_an_excuse_is_of_one_error_that_no_scenario_provokes() -> None:
    provoked = {site for scenario in SCENARIOS for site in outcome(scenario).sites}
    for excuse in EXCUSED:
        excused = [site for site in sites() if excuse in excuses(site)]
        assert len(excused) == 1, excuse
        assert excused[0] not in provoked, excuse


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_is_linked_and_short(page: Path) -> None:
    assert f"(errors/{page.name})" in ENTRANCE.read_text()
    assert page.read_text().count("\n") <= 400


def excuses(site: Site) -> list[tuple[str, str]]:
    """The excuses for an error in the code."""
    return [(file, words) for file, words in EXCUSED if file == site.file and words in site.source]
