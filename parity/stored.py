"""Configurations with the reference's outputs beside them, as files: how they are written and read.

A folder for each: ``config.yml``, in which ``MODELS`` stands for the folder of the models; what the reference wrote, or
``refused.txt`` with what it said; ``case.json`` with what is known of the case, and digests of the models it was given.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from case import Case
from contents import load

__all__ = ["PLACE", "digest", "read", "write"]

PLACE = "MODELS"
MODEL = re.compile(rf"{PLACE}/([\w-]+)/([\w]+)-(float32|bfloat16|float16)")
KEPT = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write(folder: Path, case: Case, root: Path, reference: Path, refused: str | None) -> None:
    """Store a case.

    Args:
        folder: where to; it must not exist.
        case: the case.
        root: folder of its models.
        reference: folder that the reference wrote.
        refused: what the reference said if it refused.
    """
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text(case.text.replace(str(root), PLACE))
    models = {path.replace(str(root), PLACE): digest(Path(path)) for path in case.models}
    about = {"kind": case.kind, "note": case.note, "method": case.method, "family": case.family, "models": models}
    (folder / "case.json").write_text(json.dumps(about, indent=1) + "\n")
    if refused is not None:
        (folder / "refused.txt").write_text(refused.replace(str(root), PLACE) + "\n")
        return
    for name in KEPT:
        if (reference / name).exists():
            shutil.copy(reference / name, folder / name)


def read(folder: Path, root: Path) -> tuple[Case, Mapping[str, str]]:
    """Read a stored case.

    Args:
        folder: the case's.
        root: folder that its models will be in.

    Returns:
        The case, and the digests of its models by folder.
    """
    about: dict[str, Any] = json.loads((folder / "case.json").read_text())
    documents = list(yaml.safe_load_all((folder / "config.yml").read_text().replace(PLACE, str(root))))
    parts = {path: match.groups() for path in about["models"] if (match := MODEL.fullmatch(path))}
    case = Case(
        index=int(folder.name),
        kind=about["kind"],
        note=about["note"],
        method=about["method"],
        family=about["family"],
        documents=documents,
        models={path.replace(PLACE, str(root)): (each[0], each[1], each[2]) for path, each in parts.items()},
    )
    return case, {path.replace(PLACE, str(root)): value for path, value in about["models"].items()}


def digest(folder: Path) -> str:
    """Return a digest of all weights of a model."""
    total = hashlib.sha256()
    for name, tensor in sorted(load(folder).items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.float().numpy().tobytes())
    return total.hexdigest()[:16]
