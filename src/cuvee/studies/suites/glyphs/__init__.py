"""The suite `glyphs`: images of glyphs, groups of classes by styles."""

from cuvee.studies.suites.glyphs.suite import Glyphs

__all__ = ["open_suite"]


def open_suite() -> Glyphs:
    """Open the suite."""
    return Glyphs()
