"""A declared suite read from its YAML file, strictly: what is misspelt, missing or contradicts itself is an error."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

from cuvee.errors import RecipeError, StudyError
from cuvee.recipe.yaml_text import read
from cuvee.studies.external.declaration import (
    BYTES,
    Data,
    Declaration,
    Expert,
    Factors,
    Network,
    Remote,
    TrainingRecipe,
)  # fmt: skip
from cuvee.studies.external.document import Part
from cuvee.studies.external.facts import UNKNOWN, Fact
from cuvee.studies.external.scores import read_scoring
from cuvee.studies.external.scoring import Scoring
from cuvee.studies.suite import Cell, Metric, Split, Tuning

__all__ = ["FORMAT", "load"]

FORMAT = 1
SPLITS: tuple[Split, ...] = get_args(Split)
TUNINGS: tuple[Tuning, ...] = get_args(Tuning)
BASES = ("weak", "strong")
Factor = TypeVar("Factor", int, str)


def load(path: Path, reference: str = "") -> Declaration:
    """Read a declaration.

    Args:
        path: the YAML file.
        reference: how studies name it; by default the file's path.

    Raises:
        StudyError: it cannot be read, or says something wrong; names file and line.
    """
    try:
        content, origin = read(path)
    except RecipeError as error:
        raise StudyError(f"the declaration of a suite cannot be read: {error}") from error
    return _declaration(Part(content, origin), path.resolve().parent, reference or str(path))


def _declaration(top: Part, folder: Path, reference: str) -> Declaration:
    """Read the whole."""
    if top.whole("suite") != FORMAT:
        raise top.error("suite", f"this release reads declarations of format {FORMAT} ('suite: {FORMAT}').")
    axes = top.texts("axes")
    if len(axes) != 2:
        raise top.error("axes", f"a suite has two axes, such as [task, language]; found {len(axes)}.")
    cells, held_in = _cells(top.part("cells"))
    networks = top.each("networks", lambda part: _network(part, folder))
    if not networks:
        raise top.lacks("networks", "name one at least, from small to large")
    experts = tuple(_expert(part, cells, list(networks), folder) for part in top.parts("experts"))
    training = _training(top.part("training")) if top.has("training") else None
    if training is None and {expert.cell for expert in experts} != set(held_in):
        raise top.error("", "there is no 'training', and not every held-in cell has its published expert in 'experts'.")
    metric, chance = _metric(top.part("metric"))
    found = Declaration(
        reference=reference,
        name=top.text("name"),
        version=top.whole("version"),
        what=top.text("what"),
        paper=top.text("paper"),
        axes=(axes[0], axes[1]),
        cells=cells,
        held_in=held_in,
        metric=metric,
        chance=chance,
        examples=_examples(top.part("examples")),
        data=tuple(_data(part, folder) for part in top.parts("data")),
        networks=networks,
        training=training,
        experts=experts,
        scoring=_scoring(top, cells, networks),
        memory=top.fact("memory", UNKNOWN),
        factors=_all_factors(top, networks, held_in, training),
        notes=top.texts("notes", ()),
        folder=folder / top.text("folder") if top.has("folder") else None,
    )
    top.done(("experts", "folder", "training"))
    return found


def _cells(part: Part) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """Read cells: a grid of all combinations, or a list; and those that have constituents."""
    if part.has("grid") and part.has("list"):
        raise part.error("list", "cells are either a 'grid' or a 'list'; leave one of them out.")
    if part.has("grid"):
        grid = part.part("grid")
        cells = tuple(Cell(a, b) for a in grid.texts("a") for b in grid.texts("b"))
        grid.done()
    else:
        cells = tuple(Cell(a, b) for a, b in part.pairs("list"))
    held_in = tuple(Cell(a, b) for a, b in part.pairs("held_in"))
    for cell in held_in:
        if cell not in cells:
            raise part.error("held_in", f"there is no cell [{cell.a}, {cell.b}] among the cells.")
    part.done(("grid", "list"))
    for key, every in (("list" if part.has("list") else "grid", cells), ("held_in", held_in)):
        names = [cell.name for cell in every]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise part.error(key, f"two cells are called '{twice}'; results are kept by this name.")
    return cells, held_in


def _metric(part: Part) -> tuple[Metric, float]:
    metric = Metric(name=part.text("name"), what=part.text("what"))
    chance = part.share("chance", 0.0)
    part.done()
    return metric, chance


def _examples(part: Part) -> dict[Split, Fact]:
    found = {split: part.fact(split, UNKNOWN) for split in SPLITS}
    part.done()
    return found


def _scoring(top: Part, cells: Sequence[Cell], networks: Mapping[str, Network]) -> Scoring:
    """Read how a model is scored, which not every kind of network can be."""
    found = read_scoring(top.part("scoring"), cells)
    for name, network in networks.items():
        if found.kinds and network.kind not in found.kinds:
            part = top.part("networks").part(name)
            raise part.error("kind", f"the scoring is of {' or '.join(found.kinds)}; found '{network.kind}'.")
    return found


def _remote(part: Part, folder: Path) -> Remote:
    """Read where something is; its keys stand beside those of what it is."""
    path = folder / part.text("path") if part.has("path") else None
    return Remote(
        hub=part.text("hub") if path is None else part.text("hub", str(path)),
        revision=part.text("revision", "unpinned"),
        bytes=part.fact("bytes", UNKNOWN),
        path=path,
    )


def _data(part: Part, folder: Path) -> Data:
    found = Data(
        what=part.text("what"),
        source=_remote(part, folder),
        splits={split: inner.text(split) for inner in [part.part("splits")] for split in SPLITS if inner.has(split)},
        columns={name: inner.text(name) for inner in [part.part("columns")] for name in inner.keys()},  # noqa: SIM118
    )
    part.done(("path",))
    return found


def _network(part: Part, folder: Path) -> Network:
    parameters = part.fact("parameters")
    bases = part.each("bases", lambda inner: _base(inner, folder))
    if not bases or not set(bases) <= set(BASES):
        raise part.error(
            "bases", f"a network has a base 'weak', 'strong', or both; found {', '.join(bases) or 'none'}."
        )
    found = Network(
        what=part.text("what"),
        kind=part.text("kind"),
        parameters=parameters,
        loaded=part.fact("loaded", parameters),
        active=part.fact("active", parameters),
        tokens=part.fact("tokens"),
        dtype=part.one_of("dtype", list(BYTES)),
        bases=bases,
        adapters={name: inner.fact(name) for inner in [part.part("adapters")] for name in inner.keys()},  # noqa: SIM118
    )
    part.done()
    return found


def _base(part: Part, folder: Path) -> Remote:
    found = _remote(part, folder)
    part.done(("path",))
    return found


def _training(part: Part) -> TrainingRecipe:
    tunings = part.texts("tunings", ("full",))
    if not set(tunings) <= set(TUNINGS):
        raise part.error("tunings", f"ways of training are {', '.join(TUNINGS)}; found {', '.join(tunings)}.")
    lora = part.part("lora")
    found = TrainingRecipe(
        rate=part.fact("rate"),
        batch=part.fact("batch"),
        steps=part.fact("steps"),
        decay=part.number("decay", 0.0),
        patience=part.whole("patience") if part.has("patience") else None,
        every=part.whole("every", 50, least=1),
        multitask_steps=part.fact("multitask_steps") if part.has("multitask_steps") else None,
        tunings=tuple(each for each in TUNINGS if each in tunings),
        lora={
            name: lora.share(name) if name == "dropout" else lora.number(name)
            for name in ("rank", "alpha", "dropout")
            if lora.has(name)
        },
        targets=part.texts("targets", ()),
        inputs=part.texts("inputs", ()),
    )
    lora.done(("rank", "alpha", "dropout"))
    part.done(("patience", "multitask_steps"))
    return found


def _expert(part: Part, cells: Sequence[Cell], networks: Sequence[str], folder: Path) -> Expert:
    cell = part.cell("cell", cells)
    found = Expert(cell=cell, network=part.one_of("network", networks, networks[0]), source=_remote(part, folder))
    part.done(("path",))
    return found


def _all_factors(
    top: Part, networks: Mapping[str, Network], held_in: Sequence[Cell], training: TrainingRecipe | None
) -> dict[str, Factors]:
    tunings = training.tunings if training else ("full",)
    found = top.each("studies", lambda part: _factors(part, networks, held_in, tunings))
    if not found:
        raise top.lacks("studies", "say for which study the suite is, and what it varies")
    return found


def _factors(
    part: Part, networks: Mapping[str, Network], held_in: Sequence[Cell], tunings: Sequence[Tuning]
) -> Factors:
    counts = _once(part, "counts", part.wholes("counts"))
    if not all(1 <= count <= len(held_in) for count in counts):
        raise part.error("counts", f"sets have 1 to {len(held_in)} of the held-in cells; found {list(counts)}.")
    chosen = _chosen(part, "networks", networks, tuple(networks))
    bases = [name for name in BASES if all(name in networks[each].bases for each in chosen)]
    tuned = _chosen(part, "tunings", tunings, tuple(tunings[:1]))
    said = part.one_of("multitask", ("every", "all", "none"), "every")
    multitask: Literal["every", "all", "none"] = "all" if said == "all" else "none" if said == "none" else "every"
    found = Factors(
        networks=chosen,
        bases=tuple("weak" if each == "weak" else "strong" for each in _chosen(part, "bases", bases, ("strong",))),
        tunings=tuple(each for each in TUNINGS if each in tuned),
        counts=counts,
        draws=part.whole("draws", least=1),
        seeds=part.whole("seeds", least=1),
        methods=_once(part, "methods", part.texts("methods")) if part.has("methods") else None,
        multitask=multitask,
        lacks=part.texts("lacks", ()),
    )
    part.done(("methods",))
    return found


def _chosen(part: Part, key: str, known: Collection[str], default: tuple[str, ...]) -> tuple[str, ...]:
    """Read names of what has been declared."""
    found = _once(part, key, part.texts(key, default))
    for name in found:
        if name not in known:
            raise part.error(key, f"there is no '{name}' among {', '.join(known) or 'none'}.")
    return found


def _once(part: Part, key: str, values: tuple[Factor, ...]) -> tuple[Factor, ...]:
    """Return levels of a factor as they are; one that is there twice would be counted twice."""
    for value in values:
        if values.count(value) > 1:
            raise part.error(key, f"'{value}' stands there twice.")
    return values
