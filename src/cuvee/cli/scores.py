"""``cuvee scores``."""

import json
from collections.abc import Iterable

from rich.console import Console

from cuvee.cli.lines import say
from cuvee.cli.tables import print_unfolded, table_of
from cuvee.evaluate.declare import Parameter, Score
from cuvee.evaluate.page import as_mapping, page
from cuvee.evaluate.registry import find_score, scores

__all__ = ["run"]


def run(name: str | None, *, as_json: bool) -> None:
    """Print the list, or one score's page."""
    if name is not None:
        found = find_score(name)
        print(json.dumps(as_mapping(found), indent=2) if as_json else page(found), end="\n" if as_json else "")
        return
    known = list(scores().values())
    if as_json:
        print(json.dumps([as_mapping(score) for score in known], indent=2))
        return
    console = Console(emoji=False)
    width = max(len(score.name) for score in known) + 2
    for score in known:
        say(console, f"{score.name:{width}}{score.summary}")
    say(console, "\nWhat each needs:\n")
    table = table_of(("score", "models", "to give", "further settings"))
    for score in known:
        table.add_row(score.name, _kinds(score), _names(score, required=True), _names(score, required=False))
    print_unfolded(table)
    say(console, "\ncuvee scores NAME shows one in full. cuvee evaluate MODEL --score NAME:SETTING=VALUE,… takes it.")


def _kinds(score: Score) -> str:
    """Say which models a score measures."""
    return ", ".join(need.replace("_", " ") for need in score.models)


def _names(score: Score, *, required: bool) -> str:
    """Name the settings that have to be given, or those that may be."""
    wanted: Iterable[Parameter] = (p for p in score.parameters.values() if p.is_required is required)
    return ", ".join(p.name for p in wanted)
