"""Declarations small enough to count by hand."""

from pathlib import Path

import yaml

__all__ = ["TINY", "written"]

TINY = """
suite: 1
name: tiny
version: 1
what: A test.
paper: ours
axes: [letter, digit]
cells:
  grid:
    a: [x, y, z]
    b: ["1", "2", "3"]
  held_in: [[x, "1"], [y, "2"], [z, "3"]]
metric: {name: accuracy, what: A test., chance: 0.5}
examples: {validation: [7, ours], test: [5, ours]}
data:
  - {what: words, hub: some/words, bytes: [100, ours]}
networks:
  net:
    what: a network
    kind: AutoModelForSeq2SeqLM
    parameters: [1000, ours]
    tokens: [10, ours]
    dtype: float32
    bases:
      strong: {hub: some/net, bytes: [50, ours]}
training:
  rate: [1e-3, ours]
  batch: [4, ours]
  steps: [5, ours]
scoring: {kind: none, why: A test.}
studies:
  compositional:
    counts: [3]
    draws: 1
    seeds: 1
    methods: [linear, task_arithmetic]
"""


def written(folder: Path, text: str = TINY, /, **changes: object) -> Path:
    """Write a declaration, with other values at its top; None leaves a key out."""
    content = {**yaml.safe_load(text), **changes}
    path = folder / "tiny.yaml"
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
    return path
