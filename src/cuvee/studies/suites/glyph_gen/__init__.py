"""The suite `glyph-gen`: drawing glyphs, groups of classes by styles."""

from cuvee.studies.suites.glyph_gen.suite import GlyphGen

__all__ = ["open_suite"]


def open_suite() -> GlyphGen:
    """Open the suite."""
    return GlyphGen()
