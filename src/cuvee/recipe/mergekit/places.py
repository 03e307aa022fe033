"""Where what a recipe says stands in the configuration of mergekit that it was made of.

Errors about a recipe name a place in it; who wrote a configuration looks for a line of that.
"""

from collections.abc import Mapping

from cuvee.recipe.mergekit.document import Document
from cuvee.recipe.mergekit.reference import ModelName
from cuvee.recipe.yaml_text import Origin, Where

__all__ = ["moved", "places_of_models", "places_of_tokenizer", "stand_in"]


def places_of_models(document: Document) -> Mapping[ModelName, Where]:
    """Return the place of every model that a configuration names: as its base, or where it comes first."""
    places: dict[ModelName, Where] = {}
    if document.base is not None:
        places[document.base] = (*document.where, "base_model")
    for module in document.modules:
        for piece in module.pieces:
            for taken in piece.sources:
                places.setdefault(taken.model, (*taken.scope.where[:-1], "model"))
            if piece.base is not None:
                places.setdefault(piece.base, (*piece.where, "base_model"))
    return places


def places_of_tokenizer(document: Document) -> Mapping[Where, Where]:
    """Return the place of everything in a recipe's block about the tokenizer."""
    top, said = (*document.where, "tokenizer"), document.tokenizer
    return {
        ("tokenizer",): top,
        ("tokenizer", "source"): top if said is None else said.named_at,
        ("tokenizer", "pad_to_multiple_of"): (*top, "pad_to_multiple_of"),
        ("tokenizer", "chat_template"): (*document.where, "chat_template"),
        **{("tokenizer", "tokens", token): (*top, "tokens", token) for token in (said.tokens if said else ())},
    }


def moved(where: Where, places: Mapping[Where, Where]) -> Where:
    """Return the place in a configuration of a place in its recipe, or of what is around that.

    Args:
        where: the place in the recipe.
        places: recipe's place to configuration's; has the empty one.
    """
    return next(places[where[:i]] for i in range(len(where), -1, -1) if where[:i] in places)


def stand_in(origin: Origin, places: Mapping[Where, Where]) -> Origin:
    """Return an origin that knows the lines by the places in the recipe.

    Args:
        origin: knows them by the places in the configuration.
        places: recipe's place to configuration's.
    """
    lines = {place: origin.line(where) for place, where in places.items()}
    return Origin(origin.path, {place: line for place, line in lines.items() if line is not None}, translated=True)
