"""Suites by name: the built-in ones are the modules of `suites`, so that adding one is adding a file."""

import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module

import cuvee.studies.suites
from cuvee.errors import StudyError, nearest
from cuvee.studies.suite import Suite

__all__ = ["find_suite", "suite_names"]


def suite_names() -> Sequence[str]:
    """List the built-in suites."""
    return sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(cuvee.studies.suites.__path__))


@cache
def find_suite(name: str) -> Suite:
    """Return a suite, which keeps the data that it draws for the life of the process.

    Raises:
        StudyError: there is none of that name.
        MissingLibraryError: a library that its data come with is not installed.
    """
    known = suite_names()
    if name not in known:
        raise StudyError(f"there is no suite '{name}'; there are {', '.join(known)}.{nearest(name, known)}")
    opened: Suite = import_module(f"cuvee.studies.suites.{name.replace('-', '_')}").open_suite()
    return opened
