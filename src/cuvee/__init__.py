"""cuvee merges neural networks: several checkpoints into one, in bounded memory, at the speed of the disk.

Public names are found when they are first used, so that ``import cuvee`` is quick and imports no tensor library.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from cuvee.version import __version__ as __version__

if TYPE_CHECKING:
    from cuvee.errors import CuveeError as CuveeError
    from cuvee.errors import CuveeWarning as CuveeWarning
    from cuvee.evaluate.evaluate import evaluate as evaluate
    from cuvee.execute.adapter.extract import extract as extract
    from cuvee.execute.describe import plan as plan
    from cuvee.execute.merge import merge as merge
    from cuvee.execute.merge import merge_state_dicts as merge_state_dicts
    from cuvee.execute.merge import merge_tensors as merge_tensors
    from cuvee.execute.merge import merge_variants as merge_variants
    from cuvee.execute.verify import verify as verify
    from cuvee.methods.registry import methods as methods
    from cuvee.plan.limits import Limits as Limits
    from cuvee.recipe.recipe import Recipe as Recipe
    from cuvee.recipe.rule import Output as Output
    from cuvee.recipe.rule import Rule as Rule
    from cuvee.sources.open import open_source as open_source

_PLACES = {
    "CuveeError": "cuvee.errors",
    "CuveeWarning": "cuvee.errors",
    "Limits": "cuvee.plan.limits",
    "Output": "cuvee.recipe.rule",
    "Recipe": "cuvee.recipe.recipe",
    "Rule": "cuvee.recipe.rule",
    "evaluate": "cuvee.evaluate.evaluate",
    "extract": "cuvee.execute.adapter.extract",
    "merge": "cuvee.execute.merge",
    "merge_state_dicts": "cuvee.execute.merge",
    "merge_tensors": "cuvee.execute.merge",
    "merge_variants": "cuvee.execute.merge",
    "methods": "cuvee.methods.registry",
    "open_source": "cuvee.sources.open",
    "plan": "cuvee.execute.describe",
    "verify": "cuvee.execute.verify",
}

__all__ = [
    "CuveeError",
    "CuveeWarning",
    "Limits",
    "Output",
    "Recipe",
    "Rule",
    "evaluate",
    "extract",
    "merge",
    "merge_state_dicts",
    "merge_tensors",
    "merge_variants",
    "methods",
    "open_source",
    "plan",
    "verify",
]


class _Package(ModuleType):
    """A package whose public names win over submodules of the same name.

    ``cuvee.plan`` and ``cuvee.methods`` are functions for users and folders for us; importing a folder would put it in
    the function's place.
    """

    def __getattr__(self, name: str) -> object:
        """Find a public name."""
        if name not in _PLACES:
            raise AttributeError(f"module 'cuvee' has no attribute {name!r}")
        return getattr(import_module(_PLACES[name]), name)

    def __setattr__(self, name: str, value: object) -> None:
        """Keep the import system from hiding a public name behind a folder."""
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        """List the public names."""
        return sorted(__all__)


sys.modules[__name__].__class__ = _Package
