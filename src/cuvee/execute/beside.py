"""The donor's files as a merge writes them: copies, but for configurations, which tell the truth about the output."""

from collections.abc import Mapping

from cuvee.plan.plan import Plan
from cuvee.sources.sidecars import CONFIG
from cuvee.sources.storage import StoredFile
from cuvee.spec import File
from cuvee.writers.sidecars import sidecar_files

__all__ = ["as_written", "files_beside"]


def files_beside(plan: Plan, variant: int, sidecars: Mapping[str, File]) -> dict[str, bytes]:
    """Make the files that come from the donor, folder by folder: each has element types of its own.

    Args:
        plan: of the merge.
        variant: which of its outputs.
        sidecars: the donor's.

    Raises:
        SourceError: a file cannot be fetched from elsewhere.
        OutputError: a file cannot be read.
    """
    outputs, updates = plan.outputs[variant], plan.config[variant]
    custom_code = plan.variants[variant].recipe.output.custom_code
    folders: dict[str, dict[str, File]] = {}
    for name, file in sidecars.items():
        folder, slash, bare = name.rpartition("/")
        folders.setdefault(folder + slash, {})[bare] = file
    files: dict[str, bytes] = {}
    for folder, own in folders.items():
        types = {spec.dtype for name, spec in outputs.items() if name.startswith(folder) and spec.dtype.kind == "float"}
        dtype = types.pop() if len(types) == 1 else None
        made = sidecar_files(own, dtype=dtype, custom_code=custom_code, config_updates={} if folder else updates)
        files |= {folder + name: data for name, data in made.items()}
    return files


def as_written(plan: Plan, sidecars: Mapping[str, File]) -> Mapping[str, File]:
    """Return the donor's files as the merge would write them, made when they are read. Code is what the donor has."""

    def made(name: str, file: File) -> File:
        return StoredFile(str(file), name, lambda: files_beside(plan, 0, {name: file})[name])

    return {name: made(name, file) if _is_configuration(name) else file for name, file in sidecars.items()}


def _is_configuration(name: str) -> bool:
    return name.rpartition("/")[2] == CONFIG
