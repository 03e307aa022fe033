"""Models with other numbers of rows for tokens, where the recipe says nothing of tokenizers. Reads no tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cuvee.architectures.vocabulary import vocabulary_size, vocabulary_tensors
from cuvee.sources.vocabulary import Vocabulary
from cuvee.spec import Source
from cuvee.tensors.framework import np
from cuvee.tokenizers.alignment import Alignment
from cuvee.tokenizers.configuration import resettled, untied
from cuvee.tokenizers.tables import Model, content_of, models_of, tables_of

__all__ = ["reconcile"]


def reconcile(
    sources: Mapping[str, Source], donor: str, is_left: Callable[[str], bool]
) -> tuple[dict[str, Source], list[str]]:
    """Give models whose tables of tokens have another number of rows the donor's.

    Rows are matched by their numbers. Those that a model lacks are the donor's; those that only it has are left out.

    Args:
        sources: the models by label, in the recipe's order; they stay open.
        donor: label of the model that lends its configuration.
        is_left: says whether a rule of the recipe copies or skips a tensor.

    Returns:
        A source for each label, the same where nothing has to change; and what the user should know.
    """
    found = [vocabulary_tensors(source.header, source.config) for source in sources.values()]
    if len({rows for tables in found for rows in tables.values()}) < 2:
        return dict(sources), []
    first, *others = models_of({donor: sources[donor], **sources})
    fitted: dict[int, Source] = {}
    notes = []
    for model in others:
        source = model.source
        if first.rows in (model.rows, 0) or not any(
            first.held(name, source.header[name], name) for name in model.tables if not is_left(name)
        ):
            continue
        if id(source) not in fitted:
            fitted[id(source)] = _with_rows(model, first, is_left)
        notes.append(_told_of_rows(model.label, model.rows, donor, first.rows))
    return {label: fitted.get(id(source), source) for label, source in sources.items()}, notes


def _with_rows(model: Model, donor: Model, is_left: Callable[[str], bool]) -> Source:
    """Give a model the donor's number of rows."""
    source, rows = model.source, donor.rows
    places = np.tile(np.arange(rows, dtype=np.int32), (2, 1))
    places[1, model.rows :] = -1
    alignment = Alignment(places, np.ones(rows, np.bool_), rows, base=0)
    tables = tables_of([donor, model], 1, alignment, lambda name: not is_left(name))
    sizes = (vocabulary_size(source.config) or model.rows, rows)
    config = resettled(source.config, lambda number: number, sizes)[0]
    if config and not tables.keys() <= source.header.keys():
        config = untied(config)
    return Vocabulary(source, tables, config, source.sidecars, content_of(tables))


def _told_of_rows(label: str, own: int, donor: str, rows: int) -> str:
    """Say what became of the rows that only one of two models has."""
    begin = f"'{label}' has {own:,} rows in its vocabulary and '{donor}' {rows:,}, which the merge has, too"
    if own < rows:
        return (
            f"{begin}: the {rows - own:,} that '{label}' lacks are those of '{donor}'. If its tokenizer is another "
            "one, say tokenizer: {source: union}."
        )
    return (
        f"{begin}: the last {own - rows:,} of '{label}' are left out. If its tokenizer has tokens there, say "
        "tokenizer: {source: union}."
    )
