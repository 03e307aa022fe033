"""The suite `minilm`: a real pretrained encoder on real words, tasks by languages."""

from cuvee.studies.suites.minilm.suite import Minilm

__all__ = ["open_suite"]


def open_suite() -> Minilm:
    """Open the suite; the package with the encoder is needed once something is trained or scored."""
    return Minilm()
