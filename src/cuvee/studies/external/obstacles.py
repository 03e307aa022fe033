"""What keeps a study on a declared suite from being run on this machine, found before anything is read or trained."""

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from cuvee.errors import StudyError
from cuvee.studies.external.adapters.adapter import Adapter
from cuvee.studies.external.adapters.opening import open_adapter
from cuvee.studies.external.declaration import Declaration, Remote
from cuvee.studies.external.places import VARIABLE, data_folder, model_folder
from cuvee.studies.external.scoring import Harness
from cuvee.studies.study import Preset

__all__ = ["check", "obstacles"]

CONFIGURATIONS = ("config.json", "model_index.json")
BYTES = 4  # of a weight in memory: merges are made in float32


def check(declaration: Declaration, preset: Preset, processes: int = 0) -> None:
    """See that a study on a declared suite can be run here.

    Raises:
        StudyError: it cannot; names all that is missing.
    """
    found = obstacles(declaration, preset, processes)
    if found:
        raise StudyError(
            f"{declaration.name}: the suite cannot be run here. {' '.join(found)} --plan says what it takes."
        )


def obstacles(declaration: Declaration, preset: Preset, processes: int = 0) -> Sequence[str]:
    """List what is missing, a sentence each.

    Args:
        declaration: of the suite.
        preset: what of it would be run.
        processes: jobs at a time; 0 does all in this process.
    """
    try:
        adapter = open_adapter(declaration)
    except StudyError as error:
        return [f"{error}"]
    return [
        *_libraries(adapter),
        *_programs(declaration),
        *_gaps(declaration),
        *_models(declaration, adapter, preset),
        *_data(declaration, adapter),
        *_memory(declaration, preset, max(1, processes)),
    ]


def _libraries(adapter: Adapter) -> Iterator[str]:
    """Name libraries that are not installed."""
    for name, extra in adapter.libraries:
        if find_spec(name) is None:
            yield f"{name} is not installed; run: pip install 'cuvee[{extra}]'."


def _programs(declaration: Declaration) -> Iterator[str]:
    """Name tasks that would run what a model wrote."""
    scoring = declaration.scoring
    if isinstance(scoring, Harness) and scoring.runs_code:
        yield f"The tasks {', '.join(scoring.runs_code)} run programs that a model wrote, which cuvee does not do."


def _gaps(declaration: Declaration) -> Iterator[str]:
    """Name what nobody knows of how experts are trained."""
    recipe = declaration.training
    if recipe is not None:
        said = (("rate", recipe.rate), ("batch", recipe.batch), ("steps", recipe.steps))
        missing = [name for name, fact in said if not fact.value]
        if missing:
            yield f"How experts are trained is not known ({', '.join(missing)}); say it in a copy of the declaration."


def _models(declaration: Declaration, adapter: Adapter, preset: Preset) -> Iterator[str]:
    """Name models that do not lie where they should."""
    sources: dict[Remote, None] = {}
    for arm in preset.arms:
        network = declaration.networks[arm.architecture]
        wanted = [network.bases[arm.base], network.bases.get("strong") or network.bases["weak"]]
        wanted += [each.source for each in declaration.experts if each.network == arm.architecture]
        sources |= dict.fromkeys([*wanted, *adapter.models(arm.architecture)])
    for source in sources:
        folder = model_folder(source)
        if not any((folder / name).is_file() for name in CONFIGURATIONS):
            cure = f"run: hf download {source.hub} --local-dir {folder}"
            if source.path is not None:
                cure = "the declaration names it as 'path'; put the model there, or name another folder"
            yield f"There is no model in {folder}; {cure}."


def _data(declaration: Declaration, adapter: Adapter) -> Iterator[str]:
    """Name the folder of the data, where files are missing there."""
    files = list(dict.fromkeys(adapter.files(declaration.cells)))
    missing = [path for path in files if not path.is_file()]
    if missing:
        folder = data_folder(declaration)
        name = missing[0].relative_to(folder).as_posix()
        yield (
            f"{len(missing)} of {len(files)} files of data are missing in {folder}, first {name}; put them there, or "
            f"name another place of all with the variable {VARIABLE}."
        )


def _memory(declaration: Declaration, preset: Preset, processes: int) -> Iterator[str]:
    """Say where the models of a merge, the base and the merge itself are larger than this machine's memory."""
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name, counts in {arm.architecture: arm.counts for arm in preset.arms}.items():
        needed = BYTES * (declaration.networks[name].parameters.value or 0.0) * (max(counts) + 2)
        if processes * needed > here:
            times = "" if processes == 1 else f", {processes} times at once,"
            yield (
                f"Studies merge in memory: {max(counts)} models of {name} with their base{times} take "
                f"{processes * needed / 1e9:,.0f} GB, and this machine has {here / 1e9:,.0f} GB."
            )
