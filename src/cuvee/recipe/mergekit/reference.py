"""What mergekit calls a model: ``PATH[@REVISION][+LORA[@REVISION]]``, or a mapping of these."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.varying import KEYS
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown
from cuvee.tokenizers.choice import WORDS

__all__ = ["ModelName", "labels_for", "model_name"]

_KEYS = "model", "lora", "override_architecture"
_PATH_KEYS = "path", "revision"
_HINTS = {"revision": " Write {model: {path: NAME, revision: ...}}.", "path": " Write {model: {path: NAME}}."}


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model as a configuration calls it. Two are one model if all of this is equal, as written.

    Attributes:
        path: path, or name on the hub.
        revision: of that name; None for the newest.
        lora: path or name of an adapter on it, or None.
        lora_revision: of the adapter's name.
    """

    path: str
    revision: str | None = None
    lora: str | None = None
    lora_revision: str | None = None

    def reference(self) -> str:
        """Return what a recipe calls it."""
        base, adapter = self.base(), self.adapter()
        return base if adapter is None else f"{base}+{adapter}"

    def base(self) -> str:
        """Return what a recipe calls the model without its adapter."""
        return _joined(self.path, self.revision)

    def adapter(self) -> str | None:
        """Return what a recipe calls the adapter."""
        return None if self.lora is None else _joined(self.lora, self.lora_revision)

    def idle_revisions(self) -> list[tuple[str, str]]:
        """Return each path that lies on the disk and has a revision all the same, and that, which means nothing."""
        parts = (self.path, self.revision), (self.lora, self.lora_revision)
        return [(path, named) for path, named in parts if path and named and _lies_here(path)]

    def without(self, revisions: Sequence[tuple[str, str]]) -> "ModelName":
        """Return the same name without some revisions."""
        return replace(
            self,
            revision=None if (self.path, self.revision) in revisions else self.revision,
            lora_revision=None if (self.lora, self.lora_revision) in revisions else self.lora_revision,
        )


def model_name(value: object, where: Where) -> ModelName:
    """Read the name of a model.

    Args:
        value: text, or a mapping.
        where: its place in the configuration.

    Raises:
        RecipeError: it is no such name.
    """
    if isinstance(value, str) and value.strip():
        base, plus, lora = value.partition("+")
        if "+" in lora or (plus and not lora.strip()):
            raise RecipeError(
                f"{shown(value)} is not PATH+LORA; write a path that holds a '+' as {{model: {{path: ...}}}}.", where
            )
        return ModelName(*_split(base, where), *(_split(lora, where) if plus else (None, None)))
    if not isinstance(value, Mapping):
        raise RecipeError(f"{shown(value)} is not the name of a model: a path, or a name on the hub.", where)
    _check_keys(value, _KEYS, "the name of a model", where)
    if "model" not in value:
        raise RecipeError("the name of a model is text, or {model: ..., lora: ...}; it has no 'model'.", where)
    on_it = (None, None) if value.get("lora") is None else _part(value["lora"], (*where, "lora"))
    return ModelName(*_part(value["model"], (*where, "model")), *on_it)


def _part(value: object, where: Where) -> tuple[str, str | None]:
    """Read a path and its revision."""
    if isinstance(value, str) and value:
        return _split(value, where)
    if isinstance(value, Mapping):
        _check_keys(value, _PATH_KEYS, "a path", where)
        path, revision = value.get("path"), value.get("revision")
        if isinstance(path, str) and path and isinstance(revision, str | None):
            return path, revision
    raise RecipeError(f"{shown(value)} is not a path; write text, or {{path: ..., revision: ...}}.", where)


def _split(text: str, where: Where) -> tuple[str, str | None]:
    path, at, revision = text.partition("@")
    if "@" in revision or not path or (at and not revision):
        raise RecipeError(
            f"{shown(text)} is not PATH@REVISION; write a path that holds an '@' as {{model: {{path: ...}}}}.", where
        )
    return path, revision or None


def _check_keys(value: Mapping[str, object], known: tuple[str, ...], what: str, where: Where) -> None:
    for key in value:
        if key not in known:
            raise RecipeError(
                f"{what} has no key {shown(key)}.{_HINTS.get(key) or nearest(key, known)} Its keys are: "
                f"{', '.join(known)}.",
                (*where, key),
            )


def _lies_here(path: str) -> bool:
    """Say whether a path, from the current folder, is one of a file or folder."""
    return os.path.lexists(os.path.expanduser(path))  # noqa: PTH111 - Path raises where ~ stands for no user


def _joined(path: str, revision: str | None) -> str:
    return path if revision is None else f"{path}@{revision}"


def labels_for(models: list[ModelName]) -> dict[ModelName, str]:
    """Give models labels after the ends of their names, but none that means something else in a recipe.

    Numbers tell apart those that are called alike.
    """
    labels: dict[ModelName, str] = {}
    for model in models:
        if model in labels:
            continue
        ends = [PurePosixPath(part).name or part for part in (model.path, model.lora) if part]
        plain = re.sub(r"[^\w.-]+", "-", "-".join(ends), flags=re.ASCII).strip("-.") or "model"
        plain = f"{plain}-model" if plain in (*WORDS, *KEYS) else plain
        label, number = plain, 2
        while label in labels.values():
            label, number = f"{plain}-{number}", number + 1
        labels[model] = label
    return labels
