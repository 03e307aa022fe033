"""cuvee merges neural networks: several checkpoints into one better one, in bounded memory, at the speed of the disk.

Public names are resolved when they are first used, so that ``import cuvee`` stays quick and imports no tensor library.
"""

import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

_PLACES = {
    "CuveeError": "cuvee.errors",
    "Limits": "cuvee.plan.limits",
    "Output": "cuvee.recipe.recipe",
    "Recipe": "cuvee.recipe.recipe",
    "Rule": "cuvee.recipe.recipe",
    "load_recipe": "cuvee.recipe.native",
    "merge": "cuvee.execute.merge",
    "merge_state_dicts": "cuvee.execute.merge",
    "merge_tensors": "cuvee.execute.merge",
    "merge_variants": "cuvee.execute.merge",
    "methods": "cuvee.methods.registry",
    "open_source": "cuvee.sources.open",
    "plan": "cuvee.plan.planner",
}

__all__ = [
    "CuveeError",
]
