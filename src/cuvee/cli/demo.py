"""``cuvee demo``."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console

from cuvee.cli.leaderboard import bars, show_boards
from cuvee.cli.lines import say
from cuvee.cli.units import duration
from cuvee.studies.demo import MERGES, MODELS, demo
from cuvee.studies.leaderboard import boards
from cuvee.studies.results import FILE

__all__ = ["run"]


def run(out: Path, seed: int) -> None:
    """Run the demonstration and print what it found."""
    with bars() as progress:
        found = demo(out, seed, os.cpu_count() or 1, f"cuvee demo --seed {seed}", progress)
    console = Console(emoji=False)
    show_boards(console, found.rows)
    best = boards(found.rows)[0].places[0].name
    recipe, again = next(path for path in found.recipes if path.stem == best), out / MERGES / f"{best}-again"
    command = "cuvee" if shutil.which("cuvee") else shlex.quote(str(Path(sys.executable).parent / "cuvee"))
    say(
        console,
        f"""
Four experts, each trained on a group of glyphs in a style (held-in), merged; unseen are the other combinations of
these groups and styles. Settings were chosen on validation images of the experts' own cells; test images had no say.

Checkpoints  {out / MODELS}/, {out / MERGES}/ (each merge beside its recipe)
Numbers      {out / FILE} ({duration(found.cpu_seconds)} of one core)
By hand      {command} merge {shlex.quote(str(recipe))} --out {shlex.quote(str(again))}""",
    )
