"""Finds plug-ins of one kind: those in a folder of cuvee, and those of other packages under an entry-point group.

A plug-in is a plain function that a decorator declares; importing its module declares it, so there is no list to edit.
"""

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from cuvee.errors import CuveeWarning

__all__ = ["Declaration", "Registry"]


class Declaration(Protocol):
    """What every plug-in's declaration has."""

    @property
    def name(self) -> str:
        """Its name, which is the function's."""
        ...

    @property
    def function(self) -> Callable[..., object]:
        """The function that is declared."""
        ...


D = TypeVar("D", bound=Declaration)


class Registry(Generic[D]):
    """The plug-ins of one kind, by name.

    Args:
        kind: what one of them is called, for messages: ``"method"``.
        package: the package whose modules declare those that come with cuvee.
        group: the group of entry points that other packages declare theirs under.
    """

    def __init__(self, kind: str, *, package: str, group: str) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self._declared: dict[str, D] = {}
        self._discovered = False

    def documented(self, function: Callable[..., object]) -> str:
        """Return a function's docstring, which becomes its page, if the function may be declared.

        Raises:
            TypeError: it has none, or its name is taken by a function of another module.
        """
        name = function.__name__
        doc = inspect.getdoc(function) or ""
        if not doc:
            raise TypeError(f"{self.kind} '{name}': give it a docstring; it becomes the {self.kind}'s page")
        if name in self._declared and self._declared[name].function.__module__ != function.__module__:
            raise TypeError(f"{self.kind} '{name}': the name is taken by {self._declared[name].function.__module__}")
        return doc

    def add(self, declaration: D) -> None:
        """Add a plug-in; one of the same name is replaced (its module was read again)."""
        self._declared[declaration.name] = declaration

    def all(self) -> Mapping[str, D]:
        """Return every known one by name, in alphabetical order."""
        if not self._discovered:
            self._discovered = True
            self._discover()
        return dict(sorted(self._declared.items()))

    def _discover(self) -> None:
        """Import every module of the package and every entry point; importing declares."""
        for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for entry in entry_points(group=self.group):
            try:
                entry.load()
            except Exception as error:  # noqa: BLE001 - other people's code: it may not take all the others down with it
                origin = f" of {entry.dist.name}" if entry.dist else ""
                warnings.warn(
                    f"the {self.kind} '{entry.name}'{origin} cannot be loaded ({type(error).__name__}: {error}). "
                    "It is left out. Update or remove that package.",
                    CuveeWarning,
                    stacklevel=3,
                )
