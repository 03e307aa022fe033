"""One configuration of mergekit, read: its keys and values, checked as far as that needs no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.mergekit.methods import METHODS
from cuvee.recipe.mergekit.reference import ModelName, model_name
from cuvee.recipe.mergekit.settings import Scope, scope, truth
from cuvee.recipe.values import kind_of
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["Document", "Module", "Piece", "Taken", "Token", "Tokenizer", "path_of", "read_document"]

KEYS = (
    "merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source",
    "tokenizer", "chat_template", "name",
)  # fmt: skip
FORMS = ("models", "slices", "modules")
DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Taken:
    """A model that takes part.

    Attributes:
        model: its name.
        layers: the first of its layers and the one after the last; None for all.
        scope: parameters said beside it.
    """

    model: ModelName
    layers: tuple[int, int] | None
    scope: Scope


@dataclass(frozen=True, slots=True)
class Piece:
    """Models merged together: whole, or some layers of them.

    Attributes:
        sources: the models.
        base: the base model, if it has one of its own.
        scope: parameters said for all of them.
        where: its place.
    """

    sources: Sequence[Taken]
    base: ModelName | None
    scope: Scope
    where: Where


@dataclass(frozen=True, slots=True)
class Module:
    """A part of models that is merged by itself.

    Attributes:
        name: its name; empty for models of one part, and where nothing is said of parts.
        pieces: whole models, or slices.
        sliced: whether the pieces are slices of layers.
        scope: its parameters.
    """

    name: str
    pieces: Sequence[Piece]
    sliced: bool
    scope: Scope


@dataclass(frozen=True, slots=True)
class Token:
    """What is said of a token.

    Attributes:
        source: where its row comes from, as plain values; None if nothing is said of that.
        force: models that have the token get that row, too.
        where: its place.
    """

    source: object
    force: bool
    where: Where


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """What is said of the tokenizer.

    Attributes:
        source: whose it is, as a plain value.
        tokens: what is said of single tokens.
        multiple: what the number of rows is to be a multiple of, as a plain value; None if nothing is said of that.
        named_at: the place of the source.
    """

    source: object
    tokens: Mapping[str, Token]
    multiple: object
    named_at: Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A configuration.

    Attributes:
        method: mergekit's name of the method.
        modules: what is merged.
        base: the base model, or None.
        scope: parameters at the top.
        dtype: type that models are rounded to.
        out_dtype: type that is written.
        tokenizer: what is said of the tokenizer; None if nothing is.
        chat_template: as written, or None.
        name: what other documents call its result; empty if they cannot.
        ignored: keys that mean nothing, with their places.
        ignored_at: those places.
        where: its place in the file.
    """

    method: str
    modules: Sequence[Module]
    base: ModelName | None
    scope: Scope
    dtype: str | None
    out_dtype: str | None
    tokenizer: Tokenizer | None
    chat_template: str | None
    name: str
    ignored: Sequence[str]
    ignored_at: Sequence[Where]
    where: Where


def read_document(content: object, where: Where) -> Document:
    """Read a configuration.

    Args:
        content: its keys and values.
        where: its place in the file.

    Raises:
        RecipeError: something in it is wrong.
    """
    if not isinstance(content, Mapping):
        raise RecipeError(f"a mergekit configuration is a mapping (key: value), not {kind_of(content)}.", where)
    return _Reader(where).document(content)


class _Reader:
    """Reads a configuration, and notes which keys mean nothing."""

    def __init__(self, where: Where) -> None:
        self._top = where
        self._ignored: list[str] = []
        self._ignored_at: list[Where] = []

    def document(self, content: Mapping[str, object]) -> Document:
        """Read all of it."""
        where = self._top
        self._known(content, KEYS, where)
        return Document(
            method=_method(content.get("merge_method"), (*where, "merge_method")),
            modules=self._modules(content),
            base=self._name_at(content, "base_model", where),
            scope=scope(content.get("parameters"), (*where, "parameters")),
            dtype=_dtype(content, "dtype", where),
            out_dtype=_dtype(content, "out_dtype", where),
            tokenizer=self._tokenizer(content),
            chat_template=_text(content, "chat_template", where),
            name=_text(content, "name", where) or "",
            ignored=self._ignored,
            ignored_at=self._ignored_at,
            where=where,
        )

    def _modules(self, content: Mapping[str, object]) -> Sequence[Module]:
        where = self._top
        form = _form(content, FORMS, where)
        if form != "modules":
            return [self._module("", content, form, where, Scope({}, where))]
        modules = _mapping(content["modules"], (*where, "modules"))
        read = []
        for name, value in modules.items():
            place = (*where, "modules", name)
            inner = _mapping(value, place)
            self._known(inner, ("models", "slices", "parameters"), place)
            own = scope(inner.get("parameters"), (*place, "parameters"))
            read.append(self._module(name, inner, _form(inner, FORMS[:2], place), place, own))
        return read

    def _module(self, name: str, content: Mapping[str, object], form: str, where: Where, own: Scope) -> Module:
        place = (*where, form)
        entries = _list(content[form], place)
        if form == "slices":
            return Module(name, [self._slice(entry, (*place, i)) for i, entry in enumerate(entries)], True, own)
        sources = [self._model(entry, (*place, i)) for i, entry in enumerate(entries)]
        return Module(name, [Piece(sources, None, Scope({}, place), place)], False, own)

    def _model(self, value: object, where: Where) -> Taken:
        entry = _mapping(value, where)
        self._known(entry, ("model", "parameters"), where)
        if "model" not in entry:
            raise RecipeError("an entry of 'models' has no 'model'.", where)
        name = model_name(entry["model"], (*where, "model"))
        self._overridden(entry["model"], (*where, "model"))
        return Taken(name, None, scope(entry.get("parameters"), (*where, "parameters")))

    def _slice(self, value: object, where: Where) -> Piece:
        entry = _mapping(value, where)
        self._known(entry, ("sources", "base_model", "parameters"), where)
        place = (*where, "sources")
        sources = [self._source(each, (*place, i)) for i, each in enumerate(_list(entry.get("sources"), place))]
        if not sources:
            raise RecipeError("a slice has no 'sources'.", where)
        lengths = {taken.layers[1] - taken.layers[0] for taken in sources if taken.layers}
        if len(lengths) > 1:
            raise RecipeError(
                "the 'layer_range' of all sources of a slice are of one length; here they have "
                f"{', '.join(map(str, sorted(lengths)))} layers.",
                place,
            )
        own = scope(entry.get("parameters"), (*where, "parameters"))
        return Piece(sources, self._name_at(entry, "base_model", where), own, where)

    def _source(self, value: object, where: Where) -> Taken:
        entry = _mapping(value, where)
        self._known(entry, ("model", "layer_range", "parameters"), where)
        for key in ("model", "layer_range"):
            if key not in entry:
                raise RecipeError(f"a source of a slice has no '{key}'.", where)
        name = model_name(entry["model"], (*where, "model"))
        self._overridden(entry["model"], (*where, "model"))
        given, place = entry["layer_range"], (*where, "layer_range")
        first, end = map(_whole, given) if isinstance(given, list) and len(given) == 2 else (None, None)
        if first is None or end is None:
            raise RecipeError(f"'layer_range' is {shown(given)}; expected [first, end].", place)
        if first < 0 or end <= first:
            wrong = "layers are counted from 0" if first < 0 else "there is no layer in it"
            raise RecipeError(
                f"'layer_range' is [{first}, {end}]: {wrong}. The first layer is 0, and the second number is the layer "
                "after the last.",
                place,
            )
        return Taken(name, (first, end), scope(entry.get("parameters"), (*where, "parameters")))

    def _tokenizer(self, content: Mapping[str, object]) -> Tokenizer | None:
        """Read what is said of the tokenizer, in either form."""
        where = (*self._top, "tokenizer")
        block, source = content.get("tokenizer"), content.get("tokenizer_source")
        if block is not None and source:
            raise RecipeError("give 'tokenizer' or 'tokenizer_source', not both.", (*self._top, "tokenizer_source"))
        if block is None:
            return Tokenizer(source, {}, None, (*self._top, "tokenizer_source")) if source else None
        said = _mapping(block, where)
        self._known(said, ("source", "tokens", "pad_to_multiple_of"), where)
        tokens, place = said.get("tokens") or {}, (*where, "tokens")
        if not isinstance(tokens, Mapping):
            raise RecipeError(f"'tokens' is {shown(tokens)}; expected TOKEN: {{source: ...}}.", place)
        read = {token: self._token(token, each, (*place, token)) for token, each in tokens.items()}
        return Tokenizer(said.get("source", "union"), read, said.get("pad_to_multiple_of"), (*where, "source"))

    def _token(self, token: str, value: object, where: Where) -> Token:
        if not isinstance(value, Mapping):
            raise RecipeError(f"token {shown(token)} is {shown(value)}; expected {{source: ..., force: ...}}.", where)
        self._known(value, ("source", "force"), where)
        source = value.get("source")
        if isinstance(source, Mapping) and "kind" in source:
            self._known(source, ("kind", "model", "token", "token_id"), (*where, "source"))
        return Token(source, truth("force", value.get("force", False), (*where, "force")), where)

    def _name_at(self, content: Mapping[str, object], key: str, where: Where) -> ModelName | None:
        if content.get(key) is None:
            return None
        self._overridden(content[key], (*where, key))
        return model_name(content[key], (*where, key))

    def _overridden(self, value: object, where: Where) -> None:
        if isinstance(value, Mapping) and value.get("override_architecture") is not None:
            self._ignored.append(f"'{path_of(where)}.override_architecture': tensors are told by their names.")

    def _known(self, content: Mapping[str, object], known: Sequence[str], where: Where) -> None:
        for key in content:
            if key not in known:
                self._ignored.append(f"'{path_of((*where, key))}'.{nearest(key, known)}")
                self._ignored_at.append((*where, key))


def path_of(where: Where) -> str:
    """Return a place in words: ``models[0].layer_range``."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _method(value: object, where: Where) -> str:
    if not isinstance(value, str) or value not in METHODS:
        known = ", ".join(METHODS)
        raise RecipeError(
            f"'merge_method' is {shown(value)}, which mergekit does not have.{nearest(str(value), METHODS)} It has: "
            f"{known}.",
            where,
        )
    return value


def _form(content: Mapping[str, object], forms: Sequence[str], where: Where) -> str:
    """Return which of some keys is given."""
    given = [form for form in forms if content.get(form)]
    if len(given) != 1:
        found = f"it has {' and '.join(given)}" if given else "it has none of them"
        meant = next((f". '{key}' is no key.{hint}" for key in content if (hint := _misspelt(key, forms))), "")
        raise RecipeError(f"expected one of {', '.join(forms)}; {found}{meant or '.'}", (*where, *given[1:2]))
    return given[0]


def _misspelt(key: str, known: Sequence[str]) -> str:
    """Return which of some keys was meant by one that means nothing, as `nearest` does."""
    return "" if key in KEYS else nearest(key, known)


def _mapping(value: object, where: Where) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise RecipeError(f"expected a mapping (key: value) here, not {kind_of(value)}.", where)
    return value


def _list(value: object, where: Where) -> Sequence[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecipeError(f"'{where[-1]}' must be a list, not {kind_of(value)}.", where)
    return value


def _text(content: Mapping[str, object], key: str, where: Where) -> str | None:
    value = content.get(key)
    if not isinstance(value, str | None):
        raise RecipeError(f"'{key}' is {shown(value)}; expected text.", (*where, key))
    return value


def _whole(value: object) -> int | None:
    """Return a whole number, which may be in quotes; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
        return int(number) if number.is_integer() else None
    except (ValueError, OverflowError):
        return None


def _dtype(content: Mapping[str, object], key: str, where: Where) -> str | None:
    value = _text(content, key, where)
    plain = value.removeprefix("torch.") if value else None
    if plain is not None and plain not in DTYPES:
        # To its letters, int64 is near to float64; but whoever asks for whole numbers did not mean that.
        hint = "" if plain.startswith(("int", "uint")) else nearest(plain, DTYPES)
        raise RecipeError(f"'{key}' is {shown(value)}.{hint} It can be: {', '.join(DTYPES)}.", (*where, key))
    return plain
