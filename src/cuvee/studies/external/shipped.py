"""Declared suites by name: the files of `declared`, so that adding one is adding a file; or by path."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from cuvee.errors import StudyError, nearest
from cuvee.studies.external.declaration import Declaration
from cuvee.studies.external.reading import load

__all__ = ["find_declaration", "is_file_name", "shipped_names"]

SUFFIXES = (".yaml", ".yml")


def shipped_names() -> Sequence[str]:
    """List the declared suites that come with cuvee."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def is_file_name(name: str) -> bool:
    """Say whether a suite's name is a file's."""
    return name.endswith(SUFFIXES)


@cache
def find_declaration(name: str) -> Declaration:
    """Return a declared suite.

    Args:
        name: of a shipped one, or the path of a YAML file.

    Raises:
        StudyError: there is none of that name, or its file cannot be read.
    """
    if is_file_name(name):
        return load(Path(name))
    known = shipped_names()
    if name not in known:
        raise StudyError(
            f"there is no declared suite '{name}'; there are {', '.join(known)}.{nearest(name, known)} One of your own "
            "is named by its file: 'suite.yaml'."
        )
    return load(_folder() / f"{name}.yaml", name)


def _folder() -> Path:
    return Path(str(files("cuvee.studies.external"))) / "declared"
