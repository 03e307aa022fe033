"""Recipes for the checkpoints base, a and b; merges of them; and what lies in a folder before and after."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import cuvee
from bad_input.checkpoints import State
from cuvee.methods.registry import find_method

Refused = Callable[..., None]


def recipe_of(method: str = "linear", **keys: Any) -> dict[str, Any]:
    """A recipe as plain values, with a base where the method needs one."""
    content: dict[str, Any] = {"cuvee": 1, "method": method, "models": {"one": "a", "two": "b"}}
    if find_method(method).operands == "deltas":
        content["base"] = "base"
    if find_method(method).models == (1, 1):
        content["models"] = {"one": "a"}
    return content | keys


def snapshot(folder: Path) -> dict[str, str]:
    """Every name below a folder, hidden ones too, with the hash of what it holds or where it points."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = "folder" if path.is_dir() else "something else"
        found[str(path.relative_to(folder))] = content
    return found


def merged_by(folder: Path, recipe: Mapping[str, Any], out: str = "out") -> State:
    """Merge, check that the inputs are as before, and return the result."""
    before = snapshot(folder)
    cuvee.merge(dict(recipe), out)
    after = snapshot(folder)
    assert {name: after.get(name) for name in before} == before
    source = cuvee.open_source(folder / out)
    merged = {}
    for name, spec in source.header.items():
        raw = bytearray(spec.nbytes)
        source.read_into(memoryview(raw), name)
        dtype = getattr(torch, spec.dtype.torch_name)
        merged[name] = (torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)).reshape(spec.shape)
    source.close()
    return merged
