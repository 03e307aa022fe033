"""What a configuration of mergekit says of the tokenizer, in a recipe's words."""

from collections.abc import Mapping, Sequence

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.mergekit.document import Document, Token
from cuvee.recipe.mergekit.reference import ModelName, model_name
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["tokenizer_of"]

WORDS = "union", "base"
KINDS = "model_token", "zero"


def tokenizer_of(document: Document, labels: Mapping[ModelName, str], base: str | None) -> dict[str, object] | None:
    """Return the recipe's block about the tokenizer as plain values; None if nothing is said.

    Args:
        document: the configuration.
        labels: of the models.
        base: label of the model that is the recipe's base, or None.

    Raises:
        RecipeError: it names a model that the merge does not have, or says what cannot be.
    """
    called = {model: "base" if label == base else label for model, label in labels.items()}
    block: dict[str, object] = {}
    if (said := document.tokenizer) is not None:
        if said.source == "base":
            first = next(iter(labels))
            block["source"] = "base" if base is not None else called[first]
        else:
            block["source"] = said.source if said.source in WORDS else _label(said.source, called, said.named_at, WORDS)
        if said.tokens:
            block["tokens"] = {token: _token(each, called) for token, each in said.tokens.items()}
        if said.multiple is not None:
            block["pad_to_multiple_of"] = said.multiple
    if document.chat_template is not None:
        block["chat_template"] = document.chat_template
    return block or None


def _token(said: Token, called: Mapping[ModelName, str]) -> dict[str, object]:
    """Return what is said of a token."""
    entry: dict[str, object] = {"force": True} if said.force else {}
    source, where = said.source, said.where
    if isinstance(source, Mapping) and "kind" in source:
        kind = source["kind"]
        if kind not in KINDS:
            raise RecipeError(
                f"'kind' is {shown(kind)}.{nearest(str(kind), KINDS)} It can be: {', '.join(KINDS)}.", where
            )
        if kind == "zero":
            return {"source": "zero", **entry}
        row: dict[str, object] = {"model": _label(source.get("model"), called, (*where, "source", "model"))}
        row |= {"token": source["token"]} if source.get("token") is not None else {}
        row |= {"id": source["token_id"]} if source.get("token_id") is not None else {}
        return {"source": row, **entry}
    return {"source": _label(source, called, (*where, "source")), **entry} if source is not None else entry


def _label(value: object, called: Mapping[ModelName, str], where: Where, words: Sequence[str] = ()) -> str:
    """Return what the recipe calls a model; words could have stood there, too."""
    model = model_name(value, where)
    if model not in called:
        name, known = model.reference(), [each.reference() for each in called]
        raise RecipeError(
            f"'{name}' is no model of this merge.{nearest(name, (*words, *known))} Tokenizers and rows of tokens come "
            f"from models that it lists itself: {', '.join(known)}.",
            where,
        )
    return called[model]
