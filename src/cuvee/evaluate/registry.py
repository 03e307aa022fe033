"""Scores by name."""

from collections.abc import Mapping

from cuvee.errors import ScoreError, nearest
from cuvee.evaluate.declare import SCORES, Score
from cuvee.sources.strict_json import shown

__all__ = ["find_score", "scores"]


def scores() -> Mapping[str, Score]:
    """Return every known score by name, in alphabetical order. Adding one is adding its file."""
    return SCORES.all()


def find_score(name: str) -> Score:
    """Return a score by name.

    Raises:
        ScoreError: there is none; the message has the nearest name.
    """
    known = scores()
    if name not in known:
        raise ScoreError(
            f"score {shown(name)} is not known.{nearest(name, known)} `cuvee scores` lists them: {', '.join(known)}."
        )
    return known[name]
