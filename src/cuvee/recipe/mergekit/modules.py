"""What mergekit calls the parts of models, and the names that the tensors of each have."""

from collections.abc import Mapping

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.yaml_text import Where

__all__ = ["patterns_of"]

# Patterns of tensors, and of the name of their stack of layers.
_MODULES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "default": (("*",), ""),
    "decoder": (("decoder.*", "model.decoder.*", "lm_head.*", "proj_out.*"), "*decoder.*"),
    "encoder": (("encoder.*", "model.encoder.*"), "*encoder.*"),
    "shared": (("shared.*",), ""),
    "multi_modal_projector": (
        (
            "*multi_modal_projector.*",
            "visual.merger.*",
            "model.visual.merger.*",
            "model.visual.deepstack_merger_list.*",
        ),
        "",
    ),
    "vision_tower": (("*vision_tower.*", "visual.*", "model.visual.*"), "*vis*"),
    "vision_model": (("vision_model.*", "*.vision_model.*"), "*vis*"),
    "text_decoder": (
        ("*language_model.*", "model.layers.*", "model.embed_tokens.*", "model.norm.*", "lm_head.*"),
        "*model.layers",
    ),
}


def patterns_of(module: str, where: Where) -> tuple[tuple[str, ...], str]:
    """Return the patterns of a module's tensors, and that of its stack of layers, empty if it is the only one.

    Raises:
        RecipeError: no model has such a module.
    """
    if module not in _MODULES:
        raise RecipeError(
            f"the module '{module}' is not known.{nearest(module, _MODULES)} There is: {', '.join(_MODULES)}.", where
        )
    return _MODULES[module]
