"""Models that are given one vocabulary: each becomes a source whose tables have the output's rows.

Each also gets the configuration and the tokenizer's files that go with them, so whoever takes it for a model sees
nothing of where it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cuvee.architectures.vocabulary import is_of_tokens, num_rows, vocabulary_size
from cuvee.errors import PlanError, nearest
from cuvee.sources.sidecars import CONFIG
from cuvee.sources.storage import StoredFile
from cuvee.sources.strict_json import parse_object, shown
from cuvee.sources.table import MEAN, MEAN_OF_ALL, ZERO
from cuvee.sources.vocabulary import Vocabulary
from cuvee.spec import File, Source, folders_of
from cuvee.tensors.framework import np
from cuvee.tokenizers.alignment import Alignment
from cuvee.tokenizers.choice import BASE, UNION, Choice, Given
from cuvee.tokenizers.configuration import Renumber, renumbering, resettled, untied
from cuvee.tokenizers.files import tokenizer_files
from cuvee.tokenizers.formats import NAMED
from cuvee.tokenizers.reading import FILES, Tokenizer, read_tokenizer
from cuvee.tokenizers.tables import Model, content_of, models_of, tables_of
from cuvee.tokenizers.templates import AUTO, most_frequent
from cuvee.tokenizers.vocabulary import Known, Made, make_vocabulary

__all__ = ["fit"]

GENERATION = "generation_config.json"
WHERE = ("tokenizer",)
MOST_NEAR = 5000  # tokens among which the nearest to a misspelt one is looked for
Fitted = tuple[dict[str, Source], list[str]]


def fit(choice: Choice, sources: Mapping[str, Source], donor: str) -> Fitted:
    """Give models one vocabulary, and one tokenizer.

    Args:
        choice: what the recipe asks.
        sources: the models by label, in the recipe's order; they stay open.
        donor: label of the model that lends configuration and, unless the recipe says otherwise, tokenizer.

    Returns:
        A source for each label, and what the user should know.

    Raises:
        PlanError: a model has no tokenizer or no vocabulary, or the recipe names a token or row that is not there.
        FormatError: a tokenizer cannot be read.
        MissingLibraryError: reading one takes a library that is not installed.
    """
    for label, source in sources.items():
        if folders_of(source):
            raise PlanError(
                f"model '{label}' ({source.reference}) is a pipeline, whose components have tokenizers of their own; "
                "a tokenizer can be made for a component: name its folder.",
                WHERE,
            )
    in_order = {donor: sources[donor], **sources}
    return _Fitting(choice, in_order, donor).fitted(sources)


class _Fitting:
    """One recipe's models.

    Args:
        choice: what the recipe asks.
        sources: the models, the donor first.
        donor: its label.
    """

    def __init__(self, choice: Choice, sources: Mapping[str, Source], donor: str) -> None:
        self._choice, self._sources, self._donor = choice, sources, donor
        self._labels = list(sources)
        self._notes: list[str] = []
        read: dict[int, Tokenizer | None] = {}
        for label, source in sources.items():
            if id(source) not in read:
                read[id(source)] = read_tokenizer(source.sidecars, f"model '{label}' ({source.reference})")
        self._own = {label: read[id(source)] for label, source in sources.items()}

    def fitted(self, sources: Mapping[str, Source]) -> Fitted:
        """Return a source for each label, in the order given, and notes."""
        if self._choice.source is None:
            owner = self._tokenizer(self._donor)
            made = Made(owner=owner, numbers=dict(owner.numbers))
            files = _in_memory(tokenizer_files(made, self._template(owner)))
            wrapped = _wrapped(sources[self._donor], {}, sources[self._donor].config, files, {})
            donor = sources[self._donor]
            return {label: wrapped if each is donor else each for label, each in sources.items()}, self._notes
        models = models_of(self._sources)
        self._check_tables(models)
        known = {model.label: Known(tokenizer=self._known(model.label), rows=model.rows) for model in models}
        explicit = {given.token: self._explicit(given, known) for given in self._choice.tokens}
        made = make_vocabulary(self._choice, known, self._donor)
        alignment = self._align(made, known, explicit)
        self._notes += [*self._told(alignment, made, models), *made.notes]
        files = _in_memory(tokenizer_files(made, self._template(made.owner)))
        fitted: dict[int, Source] = {}
        for i, model in enumerate(models):
            if id(model.source) not in fitted:
                fitted[id(model.source)] = self._fitted(models, i, alignment, made, files)
        return {label: fitted[id(source)] for label, source in sources.items()}, self._notes

    def _tokenizer(self, label: str) -> Tokenizer:
        """Return a model's own tokenizer."""
        found = self._own[label]
        if found is None:
            having = [label for label, own in self._own.items() if own is not None]
            source = "source" if self._choice.source is not None else "chat_template"
            raise PlanError(
                f"model '{label}' ({self._sources[label].reference}) has no tokenizer beside its weights"
                f"{f'; {_and(having)} has one' if having else ''}. Put its tokenizer.json there.",
                (*WHERE, source),
            )
        return found

    def _known(self, label: str) -> Tokenizer:
        """Return a model's tokenizer: its own, or the donor's, which it is taken to share."""
        if label in (self._donor, self._choice.source) or self._own[label] is not None:
            return self._tokenizer(label)
        self._notes.append(f"'{label}' has no tokenizer of its own and is taken to share that of '{self._donor}'.")
        return self._tokenizer(self._donor)

    def _check_tables(self, models: Sequence[Model]) -> None:
        """Refuse models without a table of tokens; tell of tables of another size."""
        other: dict[str, None] = {}
        for model in models:
            if not model.tables:
                raise PlanError(
                    f"model '{model.label}' ({model.source.reference}) has no tensor that is indexed by a vocabulary "
                    "(an input embedding, such as model.embed_tokens.weight), so none can be given to it. Leave out "
                    "'tokenizer'.",
                    WHERE,
                )
            header = model.source.header
            for name in header:
                if name not in model.tables and is_of_tokens(name, header[name]):
                    other[f"{name} ({num_rows(name, header[name]):,} rows, not {model.rows:,})"] = None
        if other:
            self._notes.append(f"Of another vocabulary, and left as they are: {', '.join(other)}.")

    def _explicit(self, given: Given, known: Mapping[str, Known]) -> tuple[int, int] | None:
        """Return the row that the recipe gives for a token: the model's index, or ZERO, and the row."""
        if given.zero:
            return ZERO, 0
        if given.model is None:
            return None
        model = known[given.model]
        where = (*WHERE, "tokens", given.token, "source")
        if given.number is not None:
            if given.number >= model.rows:
                raise PlanError(
                    f"token {shown(given.token)} takes row {given.number:,} of '{given.model}', which has "
                    f"{model.rows:,} (0 to {model.rows - 1:,}).",
                    where,
                )
            return self._labels.index(given.model), given.number
        text = given.token if given.text is None else given.text
        row = model.row(text)
        if row is None:
            raise PlanError(
                f"'{given.model}' has no token {shown(text)}, whose row {shown(given.token)} is to get."
                f"{_nearest(text, model)} A row can be given by its number, too: "
                f"{{model: {given.model}, id: NUMBER}}.",
                where,
            )
        return self._labels.index(given.model), row

    def _align(
        self, made: Made, known: Mapping[str, Known], explicit: Mapping[str, tuple[int, int] | None]
    ) -> Alignment:
        """Find each model's row for each token."""
        numbers = np.fromiter(made.numbers.values(), np.int64, len(made.numbers))
        places = np.full((len(known), made.size), -1, np.int32)
        for m, model in enumerate(known.values()):
            own = model.tokenizer.numbers
            rows = np.fromiter((own.get(token, -1) for token in made.numbers), np.int64, len(made.numbers))
            places[m, numbers] = np.where(rows < model.rows, rows, -1)
        is_token = np.zeros(made.size, np.bool_)
        is_token[numbers] = True
        multiple = self._choice.multiple
        return Alignment(
            places,
            is_token,
            -(-made.size // multiple) * multiple,
            base=self._labels.index(BASE) if BASE in self._labels else None,
            explicit={made.numbers[token]: each for token, each in explicit.items() if each is not None},
            forced=[made.numbers[given.token] for given in self._choice.tokens if given.force],
        )

    def _template(self, owner: Tokenizer) -> str | None:
        """Return the chat template that the recipe asks for; None to leave what there is."""
        asked = self._choice.chat_template
        if asked != AUTO:
            return None if asked is None else NAMED.get(asked, asked)
        found = most_frequent(own.template if own else None for own in self._own.values())
        if found is None:
            self._notes.append("No model has a chat template, so the merge has none.")
        elif found != (owner.template or "").strip():
            givers = [label for label, own in self._own.items() if own and (own.template or "").strip() == found]
            self._notes.append(f"The chat template is that of {_and(givers)}.")
        return found

    def _fitted(
        self, models: Sequence[Model], index: int, alignment: Alignment, made: Made, files: Mapping[str, File]
    ) -> Source:
        """Give one model the vocabulary."""
        model = models[index]
        source = model.source
        renumber = renumbering(self._known_quietly(model.label), made)
        owner = next((label for label, own in self._own.items() if own is made.owner), self._donor)
        sizes = (vocabulary_size(source.config) or model.rows, alignment.size)
        other = self._sources[owner]
        is_own = other is source
        same = renumbering(made.owner, made)
        instead = {} if is_own else resettled(other.config, same)[0]
        config, words = resettled(source.config, renumber, sizes, instead)
        if model.label == self._donor and words:
            self._notes.append(f"Numbers of tokens in the configuration follow the vocabulary: {'; '.join(words)}.")
        tables = tables_of(models, index, alignment)
        if config and not tables.keys() <= source.header.keys():
            config = untied(config)
        changed = {**files, **_generation(source, renumber, {} if is_own else resettled(_generates(other), same)[0])}
        return _wrapped(source, tables, config, changed, {CONFIG: config} if config != source.config else {})

    def _known_quietly(self, label: str) -> Tokenizer:
        """Return a model's tokenizer, of which all has been said."""
        return self._own[label] or self._tokenizer(self._donor)

    def _told(self, alignment: Alignment, made: Made, models: Sequence[Model]) -> list[str]:
        """Say which vocabulary it is, and how many rows come from where."""
        source = self._choice.source
        what = f"that of '{self._donor if source == BASE else source}'"
        if source == UNION:
            what = f"the union of those of {_and(self._labels)}"
        more = alignment.size - len(made.numbers)
        rows = f", and {more:,} row{'s' if more > 1 else ''} of no token" if more else ""
        told = [_shares(alignment, m, self._labels) for m in range(len(models))]
        return [f"The vocabulary is {what}: {len(made.numbers):,} tokens{rows}. {' '.join(told)}"]


def _shares(alignment: Alignment, model: int, labels: Sequence[str]) -> str:
    """Say how many rows a model has itself, and where it takes the others."""
    giver = alignment.rows(model, [True] * len(labels)).giver
    counts = {g: int((giver == g).sum()) for g in (*range(len(labels)), ZERO, MEAN)}
    own = counts.pop(model)
    names = {ZERO: "of zeros", MEAN: "averaged", **{g: f"of '{label}'" for g, label in enumerate(labels)}}
    others = ", ".join(f"{count:,} {names[g]}" for g, count in counts.items() if count)
    if own == int((giver != MEAN_OF_ALL).sum()):
        return f"'{labels[model]}' has all of them."
    return f"'{labels[model]}' has {own:,} of them; its other rows: {others}."


def _nearest(text: str, model: Known) -> str:
    """Suggest a token: one that differs by the sign of a space, or one that begins or ends alike."""
    tokens = [token for token, number in model.tokenizer.numbers.items() if number < model.rows]
    bare = text.strip("Ġ▁ ").casefold()
    same = [token for token in tokens if token.strip("Ġ▁ ").casefold() == bare]
    alike = [
        token
        for token in tokens
        if abs(len(token) - len(text)) <= 2 and (token[:2] == text[:2] or token[-2:] == text[-2:])
    ]
    return f" Did you mean {shown(same[0])}?" if same else nearest(text, alike[:MOST_NEAR])


def _and(labels: Sequence[str]) -> str:
    """Name some models."""
    return " and ".join([", ".join(f"'{label}'" for label in labels[:-1]), f"'{labels[-1]}'"][len(labels) < 2 :])


def _in_memory(files: Mapping[str, bytes]) -> dict[str, File]:
    """Return files that travel with a model."""
    return {name: StoredFile(f"{name} (made)", name, partial(bytes, data)) for name, data in files.items()}


def _generates(source: Source) -> Mapping[str, Any]:
    """Return a model's ``generation_config.json``; empty if it has none."""
    file = source.sidecars.get(GENERATION)
    return {} if file is None else parse_object(file.read_bytes(), str(file), constants=True)


def _generation(source: Source, renumber: Renumber, instead: Mapping[str, Any]) -> dict[str, File]:
    """Return ``generation_config.json`` with the numbers of the output's tokens, if that changes it."""
    changed, words = resettled(_generates(source), renumber, None, instead)
    return {GENERATION: _as_file(GENERATION, changed)} if words else {}


def _as_file(name: str, content: Mapping[str, Any]) -> File:
    """Return a configuration as a file."""
    data = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    return _in_memory({name: data})[name]


def _wrapped(
    source: Source,
    tables: Mapping[str, Any],
    config: Mapping[str, object],
    files: Mapping[str, File],
    rewritten: Mapping[str, Mapping[str, object]],
) -> Vocabulary:
    """Put a source behind its tables, with the files of the tokenizer instead of its own."""
    kept = {name: file for name, file in source.sidecars.items() if name not in FILES}
    made = {name: _as_file(name, content) for name, content in rewritten.items() if name in kept}
    return Vocabulary(source, tables, config, {**kept, **made, **files}, content_of(tables))
