"""Where cuvee makes its errors: every place in the code, and those that were reached."""

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import cuvee
from cuvee import errors
from cuvee.errors import CuveeError

__all__ = ["PACKAGE", "Site", "noted", "sites"]

PACKAGE = Path(cuvee.__file__).parent


@dataclass(frozen=True)
class Site:
    """A call that makes an error.

    Attributes:
        file: relative to the package.
        first, last: lines of the call.
        source: the call.
    """

    file: str
    first: int
    last: int
    source: str

    @property
    def part(self) -> str:
        """The folder or module of the package that it is in."""
        return self.file.partition("/")[0].removesuffix(".py")

    def __str__(self) -> str:
        return f"{self.file}:{self.first}: {self.source}"


@cache
def sites() -> tuple[Site, ...]:
    """Return every place where an error of cuvee's is made."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    kinds = _kinds(list(trees.values()))
    return tuple(
        Site(path.relative_to(PACKAGE).as_posix(), call.lineno, call.end_lineno or call.lineno, ast.unparse(call))
        for path, tree in trees.items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and (_name(call.func) in kinds or ast.unparse(call.func) == "type(error)")
    )


def _kinds(trees: list[ast.Module]) -> set[str]:
    """Names of `CuveeError` and of what is derived from it, wherever."""
    found, before = {CuveeError.__name__}, 0
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while len(found) > before:
        before = len(found)
        found |= {node.name for node in classes if found & {_name(base) for base in node.bases}}
    return found


def _name(node: ast.expr) -> str | None:
    """Last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


@contextmanager
def noted() -> Iterator[list[tuple[Site, CuveeError]]]:
    """Note every error of cuvee's that is made meanwhile, on any thread, and where."""
    made: list[tuple[Site, CuveeError]] = []

    def note(self: CuveeError, *arguments: object) -> None:
        Exception.__init__(self, *arguments)
        frame = sys._getframe(1)
        while frame.f_code.co_filename == errors.__file__ and frame.f_back is not None:
            frame = frame.f_back
        made.extend((site, self) for site in _at(frame.f_code.co_filename, frame.f_lineno))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CuveeError, "__init__", note)
        yield made


def _at(file: str, line: int) -> Iterator[Site]:
    """The sites at a line of a file."""
    path = Path(file)
    if path.is_relative_to(PACKAGE):
        name = path.relative_to(PACKAGE).as_posix()
        yield from (site for site in sites() if site.file == name and site.first <= line <= site.last)
