"""Reads the tables."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

__all__ = ["scale_by_experts", "scale_source"]


def scale_by_experts(column: str) -> Mapping[str, Sequence[tuple[float, float]]]:
    """Return lines of "What Matters for Model Merging at Scale?": a value against the number of experts.

    Args:
        column: ``"held_in"`` (ratio to the experts) or ``"held_out"`` (ratio to the base).
    """
    content = _content()
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in content["rows"]:
        values = dict(zip(content["columns"], row, strict=True))
        lines[f"{values['base']} {values['billions']}B, task arithmetic"].append((values["experts"], values[column]))
    return dict(lines)


def scale_source() -> str:
    """Say where the lines are from."""
    return f"{_content()['source']}. {_content()['note']}"


def _content() -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(files(__package__).joinpath("scale.json").read_text())
    return content
