"""Suites by name: the built-in ones are the modules of `suites`, so that adding one is adding a file."""

import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cuvee.studies.suites
from cuvee.errors import StudyError, nearest
from cuvee.studies.external.shipped import find_declaration, is_file_name, shipped_names, state_of
from cuvee.studies.external.suite import ExternalSuite
from cuvee.studies.suite import Suite

__all__ = ["find_suite", "suite_names"]


def suite_names() -> Sequence[str]:
    """List the built-in suites."""
    return sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(cuvee.studies.suites.__path__))


def find_suite(name: str) -> Suite:
    """Return a suite, which keeps the data that it draws for the life of the process.

    Args:
        name: of a built-in or declared suite, the path of a declaration of one's own (``suite.yaml``), or the dotted
            name of a module of one's own with a function ``open_suite``.

    Raises:
        StudyError: there is none of that name, or its declaration is wrong.
        MissingLibraryError: a library that its data come with is not installed.
    """
    if name in shipped_names() or is_file_name(name):
        return _declared(name, *state_of(name))
    return _built_in(name)


@cache
def _declared(name: str, path: Path, changed: int) -> Suite:  # noqa: ARG001 - what it is cached by
    declaration = find_declaration(name)
    if declaration.name in suite_names():
        raise StudyError(f"{name}: the suite's name is '{declaration.name}', as a built-in one's; give it another.")
    return ExternalSuite(declaration)


@cache
def _built_in(name: str) -> Suite:
    known = suite_names()
    if name in known:
        module = f"cuvee.studies.suites.{name.replace('-', '_')}"
    elif "." in name and _exists(name):
        module = name
    else:
        raise StudyError(
            f"there is no suite '{name}'; there are {', '.join(known)}.{nearest(name, known)} One of your own is "
            "named by its module: 'package.module'."
        )
    opened: Suite = import_module(module).open_suite()
    return opened


def _exists(name: str) -> bool:
    """Say whether a module can be found; its package is imported to look."""
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
