"""``cuvee convert``."""

import sys
from pathlib import Path

from rich.console import Console

from cuvee.cli.lines import say
from cuvee.errors import OutputError
from cuvee.recipe.anchored import anchored
from cuvee.recipe.several import recipes_of, written

__all__ = ["run"]


def run(config: Path, out: Path | None) -> None:
    """Print a configuration as a recipe, or write it to a file, and on the standard error stream what was ignored.

    Printed, its paths are absolute, since it may go anywhere; written, they are relative to the file's folder.
    """
    recipes = recipes_of(config)
    console = Console(stderr=True, emoji=False)
    for note in dict.fromkeys(note for recipe in recipes.values() for note in recipe.notes):
        say(console, f"Note: {note}")
    folder = None if out is None else out.parent.absolute()
    text = written({name: anchored(recipe, folder) for name, recipe in recipes.items()})
    if out is None:
        sys.stdout.write(text)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"{out}: the recipe cannot be written: {error.strerror}.") from error
    say(console, f"Wrote {out}.")
