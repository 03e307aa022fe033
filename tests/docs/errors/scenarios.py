"""Scenarios: each provokes one error as a user would, and is registered under the heading of its entry.

A scenario is a function of a `Place` that raises. It calls no private function with arguments that no user could bring
about.
"""

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from cuvee.cli import main
from cuvee.errors import CuveeError
from docs.errors.sites import Site, noted

__all__ = ["EXCUSED", "SCENARIOS", "Outcome", "Place", "Scenario", "excuse", "outcome", "provokes"]


@dataclass(frozen=True)
class Place:
    """Where a scenario happens.

    Attributes:
        folder: an empty folder, and the current one.
        patch: what it changes is changed back afterwards.
        stack: what is entered here is left afterwards.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    stack: ExitStack

    def command(self, *words: object) -> None:
        """Run the command line, ``cuvee WORDS``; its error counts as raised."""
        self.patch.setattr(sys, "argv", ["cuvee", *map(str, words)])
        main()


Play = Callable[[Place], object]


@dataclass(frozen=True)
class Scenario:
    """A way to provoke the error of an entry.

    Attributes:
        heading: of the entry, without its backticks.
        play: raises the error.
    """

    heading: str
    play: Play

    def __str__(self) -> str:
        return self.play.__name__


@dataclass(frozen=True)
class Outcome:
    """What a scenario raised.

    Attributes:
        kind: name of the exception's class.
        message: of the exception.
        sites: where it, and the exceptions whose messages went into its own, were made.
    """

    kind: str
    message: str
    sites: frozenset[Site]


SCENARIOS: list[Scenario] = []
EXCUSED: dict[tuple[str, str], str] = {}
"""File and words of the code of errors that cannot be provoked here, and why."""


def provokes(heading: str) -> Callable[[Play], Play]:
    """Register a scenario, or one more, for an entry."""

    def register(play: Play) -> Play:
        SCENARIOS.append(Scenario(heading, play))
        return play

    return register


def excuse(file: str, words: str, reason: str) -> None:
    """Excuse an error from being provoked: another operating system is needed, or a fault of somebody else's code.

    Args:
        file: relative to the package.
        words: of the call that makes the error, in this file only there.
        reason: why it cannot be provoked.
    """
    EXCUSED[file, words] = reason


@cache
def outcome(scenario: Scenario) -> Outcome:
    """Play a scenario, once, and return what it raised."""
    with (
        ExitStack() as stack,
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
        noted() as made,
    ):
        patch.chdir(folder)
        with stack, pytest.raises((CuveeError, SystemExit)) as caught:
            scenario.play(Place(Path(folder).resolve(), patch, stack))
    error: BaseException | None = caught.value
    if isinstance(error, SystemExit):  # the command line has printed the error and left
        error = error.__context__
    assert isinstance(error, CuveeError), f"{scenario} raised {error!r}"
    said = str(error)
    return Outcome(type(error).__name__, said, frozenset(site for site, inner in made if str(inner) in said))
