"""The suite `polyglot`: small language models on real words and invented grammars, tasks by languages."""

from cuvee.studies.suites.polyglot.suite import Polyglot

__all__ = ["open_suite"]


def open_suite() -> Polyglot:
    """Open the suite."""
    return Polyglot()
