"""Where the data and models of declared suites lie on this machine. Nothing is fetched here: a user does that.

::

    FOLDER/NAME-OF-THE-MODEL      a model, under its name on the hub: laion/CLIP-ViT-B-32-laion2B-s34B-b79K
    FOLDER/data/NAME-OF-THE-SUITE data, in the form that the suite's adapter reads
"""

import os
from pathlib import Path

from cuvee.studies.external.declaration import Declaration, Remote

__all__ = ["VARIABLE", "data_folder", "model_folder"]

VARIABLE = "CUVEE_SUITES"
"""Environment variable: the folder of all that is fetched for declared suites."""


def model_folder(source: Remote) -> Path:
    """Return where a model should be."""
    return source.path if source.path is not None else _root() / source.hub


def data_folder(declaration: Declaration) -> Path:
    """Return where a suite's data should be."""
    return declaration.folder if declaration.folder is not None else _root() / "data" / declaration.name


def _root() -> Path:
    """Return the folder of all."""
    if place := os.environ.get(VARIABLE):
        return Path(place)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cuvee" / "suites"
