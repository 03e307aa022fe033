"""The recipe's ``tokenizer`` block: from plain values to a choice, checked, and back. Opens no model."""

from collections.abc import Mapping, Sequence
from typing import Any

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.parameters import plain_number
from cuvee.recipe.values import inside, keys_of, kind_of, mapping_of
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown
from cuvee.tokenizers.choice import BASE, UNION, ZERO, Choice, Given
from cuvee.tokenizers.templates import check_template

__all__ = ["check_choice", "choice_of", "written_choice"]

_KEYS = ("source", "tokens", "pad_to_multiple_of", "chat_template")
MOST = 1 << 20  # rows; nobody pads to more


def choice_of(value: object) -> Choice | None:
    """Read the block from plain values; None stays None.

    Args:
        value: the block, or a choice, which is returned as it is.

    Raises:
        RecipeError: something in it is wrong; its place begins below ``tokenizer``.
    """
    if value is None or isinstance(value, Choice):
        return value
    block = keys_of(value, _KEYS, "tokenizer", ())
    template = block.get("chat_template")
    if template is not None:
        if not isinstance(template, str):
            raise RecipeError(f"chat_template must be text, not {kind_of(template)}.", ("chat_template",))
        with inside("chat_template"):
            check_template(template)
    rest = [key for key in _KEYS[:3] if block.get(key) is not None]
    if template is not None and not rest:
        return Choice(source=None, chat_template=template)
    source = block.get("source", UNION) or UNION
    if not isinstance(source, str):
        raise RecipeError(f"'source' must be union, base or the label of a model, not {kind_of(source)}.", ("source",))
    tokens = mapping_of(block.get("tokens"), ("tokens",))
    return Choice(
        source=source,
        tokens=tuple(_given(token, said) for token, said in tokens.items()),
        multiple=_multiple(block.get("pad_to_multiple_of")),
        chat_template=template,
    )


def _multiple(value: object) -> int:
    """Return what the number of rows is to be a multiple of."""
    number = 1 if value is None else plain_number(value)
    if type(number) is int and 1 <= number <= MOST:
        return number
    raise RecipeError(
        f"pad_to_multiple_of is {shown(value)}; it must be a whole number from 1 to {MOST:,}.", ("pad_to_multiple_of",)
    )


def _given(token: str, said: object) -> Given:
    """Read what is said of one token."""
    where = ("tokens", token)
    if not token:
        raise RecipeError("a token is some text; '' is none.", where)
    entry = keys_of({} if said is None else said, ("source", "force"), f"token {shown(token)}", where)
    force = entry.get("force", False)
    if not isinstance(force, bool):
        raise RecipeError(f"'force' is {shown(force)}; it must be true or false.", (*where, "force"))
    source = entry.get("source")
    if source is None:
        return Given(token=token, force=force)
    if isinstance(source, str):
        zero = source == ZERO
        return Given(token=token, model=None if zero else source, zero=zero, force=force)
    return _row_of(token, source, force, (*where, "source"))


def _row_of(token: str, source: object, force: bool, where: Where) -> Given:
    """Read which row of a model a token gets."""
    if not isinstance(source, Mapping):
        raise RecipeError(
            f"'source' must be the label of a model, zero, or {{model: LABEL, token: TEXT}} or {{model: LABEL, id: "
            f"NUMBER}}, not {kind_of(source)}.",
            where,
        )
    entry = keys_of(source, ("model", "token", "id"), "a token's source", where)
    model, text, number = entry.get("model"), entry.get("token"), plain_number(entry.get("id"))
    if not isinstance(model, str):
        raise RecipeError("a token's source needs 'model': the label of one.", where)
    if (text is None) == (number is None):
        raise RecipeError("a token's source has either 'token', a text, or 'id', a number.", where)
    if text is not None and (not isinstance(text, str) or not text):
        raise RecipeError(f"'token' is {shown(text)}; it must be text (put numbers in quotes).", (*where, "token"))
    if number is not None and (type(number) is not int or number < 0):
        raise RecipeError(f"'id' is {shown(number)}; it must be a whole number from 0.", (*where, "id"))
    return Given(token=token, model=model, text=text, number=number, force=force)


def check_choice(choice: Choice, labels: Sequence[str], has_base: bool) -> None:
    """Verify that a choice speaks of models that the recipe has.

    Args:
        choice: the choice.
        labels: the models' labels.
        has_base: whether there is a base.

    Raises:
        RecipeError: it does not; its place begins below ``tokenizer``.
    """
    known = (*labels, *((BASE,) if has_base else ()))
    if choice.source in (UNION, BASE):
        _check_word(choice.source, labels, ("source",))
    elif choice.source is not None:
        _check_label(choice.source, known, "the tokenizer's source", (UNION, BASE), ("source",))
    for given in choice.tokens:
        if given.zero:
            _check_word(ZERO, labels, ("tokens", given.token, "source"))
        if given.model is not None:
            others = () if given.text is not None or given.number is not None else (ZERO,)
            where = ("tokens", given.token, "source", *(() if others else ("model",)))
            _check_label(given.model, known, f"the source of token {shown(given.token)}", others, where)


def _check_word(word: str, labels: Sequence[str], where: Where) -> None:
    """Refuse a word that could be the label of a model as well."""
    if word in labels:
        raise RecipeError(f"'source: {word}' could mean the model of that label; give the model another one.", where)


def _check_label(label: str, known: Sequence[str], what: str, others: Sequence[str], where: Where) -> None:
    """Refuse a label that no model has."""
    if label not in known:
        possible = ", ".join((*others, *known))
        raise RecipeError(
            f"{what} is {shown(label)}, which the recipe does not have.{nearest(label, (*others, *known))} It can be: "
            f"{possible}.",
            where,
        )


def written_choice(choice: Choice) -> dict[str, object]:
    """Return plain values that `choice_of` reads back to an equal choice."""
    template = {"chat_template": choice.chat_template} if choice.chat_template is not None else {}
    if choice.source is None:
        return {**template}
    tokens = {given.token: _written(given) for given in choice.tokens}
    return {
        "source": choice.source,
        **({"tokens": tokens} if tokens else {}),
        **({"pad_to_multiple_of": choice.multiple} if choice.multiple > 1 else {}),
        **template,
    }


def _written(given: Given) -> dict[str, Any]:
    """Return what is said of one token as plain values."""
    source: object = ZERO if given.zero else given.model
    if given.text is not None:
        source = {"model": given.model, "token": given.text}
    elif given.number is not None:
        source = {"model": given.model, "id": given.number}
    return {**({} if source is None else {"source": source}), **({"force": True} if given.force else {})}
