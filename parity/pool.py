"""The models of a run, made when they are first asked for."""

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

from families import ADAPTERS, FAMILIES, make, make_adapter

__all__ = ["Pool"]


class Pool:
    """Models in a folder.

    Args:
        root: the folder.
        seed: of all weights.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self._seed = seed

    def provide(self, models: Mapping[str, tuple[str, str, str]]) -> None:
        """Make the models that are not there: folder to family, variant or adapter, and type."""
        for path, (family, variant, dtype) in models.items():
            folder = Path(path)
            if folder.exists():
                continue
            if variant in ADAPTERS:
                base = self.root / family / f"base-{dtype}"
                self.provide({str(base): (family, "base", dtype)})
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    make_adapter(folder, base, family, variant, self._seed)
            else:
                make(folder, family, variant, dtype, self._seed)

    def find(self, name: str) -> Path:
        """Return the folder of a model, an adapter put on where the name says so."""
        path, _, adapter = name.partition("+")
        if not adapter:
            return Path(path)
        merged = Path(f"{path}+{Path(adapter).name}")
        if not merged.exists():
            family = FAMILIES[Path(path).parent.name]
            _put_on(family.auto, Path(path), Path(adapter), merged)
        return merged


def _put_on(auto: type, base: Path, adapter: Path, out: Path) -> None:
    """Write a model with an adapter put on, as the adapter's own library does it."""
    import peft  # slow to import, and few configurations need it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.PeftModel.from_pretrained(auto.from_pretrained(base), adapter)  # type: ignore[attr-defined]
        model.merge_and_unload().save_pretrained(out)
    for file in base.glob("token*"):
        shutil.copy(file, out / file.name)
