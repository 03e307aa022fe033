"""Which adapter runs a declared suite: decided by the kind of its scoring."""

from collections.abc import Callable, Mapping

from cuvee.errors import StudyError
from cuvee.studies.external.adapters.adapter import Adapter
from cuvee.studies.external.adapters.drawings import DrawingAdapter
from cuvee.studies.external.adapters.harness import HarnessAdapter
from cuvee.studies.external.adapters.images import ImageAdapter
from cuvee.studies.external.adapters.texts import TextAdapter
from cuvee.studies.external.declaration import Declaration
from cuvee.studies.external.scoring import Drawings, Harness, Images, Nothing, Scoring, Texts

__all__ = ["open_adapter"]

ADAPTERS: Mapping[type[Scoring], Callable[[Declaration], Adapter]] = {
    Images: ImageAdapter,
    Texts: TextAdapter,
    Harness: HarnessAdapter,
    Drawings: DrawingAdapter,
}


def open_adapter(declaration: Declaration) -> Adapter:
    """Return what runs a suite; nothing is read yet.

    Raises:
        StudyError: nothing does.
    """
    scoring = declaration.scoring
    if isinstance(scoring, Nothing):
        raise StudyError(f"{declaration.name}: the suite can be planned (--plan) and not be run. {scoring.why}")
    return ADAPTERS[type(scoring)](declaration)
