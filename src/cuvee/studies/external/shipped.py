"""Declared suites by name: the files of `declared`, so that adding one is adding a file; or by path."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from cuvee.errors import StudyError, nearest
from cuvee.studies.external.declaration import Declaration
from cuvee.studies.external.reading import load

__all__ = ["find_declaration", "is_file_name", "shipped_names", "state_of", "suites_for"]

SUFFIXES = (".yaml", ".yml")


@cache
def shipped_names() -> Sequence[str]:
    """List the declared suites that come with cuvee."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


@cache
def suites_for(study: str) -> Sequence[str]:
    """List the shipped suites that are declared for a study, by its name."""
    return [name for name in shipped_names() if study in find_declaration(name).factors]


def is_file_name(name: str) -> bool:
    """Say whether a suite's name is a file's."""
    return name.endswith(SUFFIXES)


def find_declaration(name: str) -> Declaration:
    """Return a declared suite.

    Args:
        name: of a shipped one, or the path of a YAML file.

    Raises:
        StudyError: there is none of that name, or its file cannot be read.
    """
    return _loaded(name, *state_of(name))


def state_of(name: str) -> tuple[Path, int]:
    """Return the file of a declared suite, and when it was changed: a file may be another one the next time.

    Raises:
        StudyError: there is no declared suite of that name.
    """
    known = shipped_names()
    if is_file_name(name):
        path = Path(name).resolve()
    elif name in known:
        path = _folder() / f"{name}.yaml"
    else:
        raise StudyError(
            f"there is no declared suite '{name}'; there are {', '.join(known)}.{nearest(name, known)} One of your own "
            "is named by its file: 'suite.yaml'."
        )
    return path, path.stat().st_mtime_ns if path.is_file() else 0


@cache
def _loaded(name: str, path: Path, changed: int) -> Declaration:  # noqa: ARG001 - what it is cached by
    return load(path, name)


def _folder() -> Path:
    return Path(str(files("cuvee.studies.external"))) / "declared"
