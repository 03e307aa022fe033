"""Where the output goes: what may stand there, and what may never be touched.

Knows names and folders, and nothing of tensors.
"""

import os
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from cuvee.errors import OutputError, SourceError
from cuvee.sources.folder import SUFFIX
from cuvee.sources.header import read_header
from cuvee.sources.pipeline import component_folders
from cuvee.sources.sidecars import CARD, PIPELINE
from cuvee.sources.strict_json import read_object, read_small

__all__ = ["CODE", "SIDECAR", "check_name", "check_target", "is_single_file", "record_of"]

SIDECAR = "cuvee.json"
# Names of files that are no safetensors: whoever gives one wants something that is not written.
OTHER_FILES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".gguf", ".json", ".yaml", ".yml", ".md"})
CODE = "cuvee_code"  # key of the headers' free text under which a merge names the code it copied
# All that a checkpoint folder holds, by the conventions of transformers. A folder that holds anything else (train.py,
# notes.txt) is someone's work, and stays.
CHECKPOINT_FILES = (
    "*" + SUFFIX, "*.jinja", "*.json", "*.model", "*.spm", "*.yaml", "*.yml",
    "LICENSE*", CARD, "merges.txt", "vocab.txt",
    "configuration_*.py", "image_processing_*.py", "modeling_*.py", "processing_*.py", "tokenization_*.py",
)  # fmt: skip


def is_single_file(out: Path) -> bool:
    """Say whether the output is one file by itself rather than a folder: its name says so."""
    return out.suffix == SUFFIX


def record_of(out: Path) -> Path:
    """Return where the record of an output lies: in the folder, or beside the single file under a name of its own."""
    return out.with_name(f"{out.stem}.{SIDECAR}") if is_single_file(out) else out / SIDECAR


def check_target(
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
    is_ours: Callable[[Path], bool] = lambda _: False,
) -> Path:
    """Verify that an output may be put at `out`, without touching anything.

    Beside an output that is one file its record is put: what has that one's name may be the record of an earlier merge,
    also if its weights are gone, and is all else only replaced if `overwrite` says so.

    Args:
        out: a folder, or a file whose name ends in ``.safetensors``; need not exist, nor its parents.
        overwrite: replace a checkpoint that stands there.
        inputs: files and folders that are read; the output must be none of them, in none of them and around none of
            them.
        is_ours: says whether what stands at the real path is what is about to be made.

    Returns:
        The real path of the output, links followed.

    Raises:
        OutputError: it may not; says why.
    """
    check_name(os.fspath(out))
    try:
        real = Path(os.path.realpath(Path(out).expanduser()))
    except (RuntimeError, ValueError) as error:  # ~nobody, a zero byte
        raise OutputError(
            f"{os.fspath(out)!r} is not a path that can be written: {error} Choose another one."
        ) from error
    try:
        for path in inputs:
            _check_apart(real, Path(path))
        for parent in real.parents:
            if parent.exists() and not parent.is_dir():
                raise OutputError(f"{real} cannot be made: {parent} is not a folder.")
        if is_single_file(real):
            _check_record(record_of(real), overwrite, inputs)
        if real.exists() and not is_ours(real):
            (_check_file if is_single_file(real) else _check_folder)(real, overwrite)
    except OSError as error:
        raise OutputError(f"{real} cannot be written: {error.filename}: {error.strerror}.") from error
    return real


def check_name(out: str) -> None:
    """Verify that an output is named like what is written: a folder, or one safetensors file, of this machine.

    Args:
        out: as the user gave it.

    Raises:
        OutputError: it is an address, or named like a file of another kind.
    """
    # Path has taken "s3://bucket" for a path, and left one slash of two.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", out):
        raise OutputError(
            f"The output {out} is an address; an output is a folder or file of this machine. Write it here, and then "
            "copy it there."
        )
    suffix = Path(out).suffix.lower()
    if suffix in OTHER_FILES and not Path(out).is_dir():
        raise OutputError(
            f"The output {out} is named like a {suffix} file, which is not written. Give a folder, or a name that ends "
            f"in {SUFFIX} for the weights alone."
        )


def _check_apart(out: Path, path: Path) -> None:
    # An input is guarded under the name the user gave and under the one it really has.
    lexical = Path(os.path.abspath(path))  # noqa: PTH100  Path.resolve would follow the links
    for place in {lexical, Path(os.path.realpath(path))}:
        if _is_same(out, place):
            cause = "is that input"
        elif any(_is_same(parent, place) for parent in out.parents):
            cause = "lies inside it"
        elif any(_is_same(out, parent) for parent in place.parents):
            cause = "contains it"
        else:
            continue
        raise OutputError(
            f"The output {out} would touch the input {path}: it {cause}. Choose another place; inputs are never "
            f"changed."
        )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _check_file(out: Path, overwrite: bool) -> None:
    if not out.is_file():
        raise OutputError(
            f"{out} exists and is not a file; an output whose name ends in {SUFFIX} is one. Choose another name."
        )
    if not overwrite:
        raise _exists(out)


def _check_record(record: Path, overwrite: bool, inputs: Sequence[Path]) -> None:
    for path in inputs:
        _check_apart(record, Path(path))
    if not os.path.lexists(record):
        return
    if record.is_dir():
        raise OutputError(f"{record} is a folder; the record of the output goes there. Choose another name.")
    if not overwrite and not _is_record(record):
        raise OutputError(
            f"{record} exists already, and is no record of a merge; that of the output goes there. Choose another "
            "name, or overwrite it (--overwrite, overwrite=True)."
        )


def _is_record(path: Path) -> bool:
    """Say whether a file is what a merge says of itself; a recipe, for one, is not."""
    try:
        return path.is_file() and {"format", "output"} <= read_object(path).keys()
    except SourceError:
        return False


def _check_folder(out: Path, overwrite: bool) -> None:
    if not out.is_dir():
        raise OutputError(f"{out} exists and is not a folder. Choose another place, or a name that ends in {SUFFIX}.")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise _exists(out)
    # Overwriting removes the folder. Only one that holds a checkpoint and nothing else goes: not a home folder, not a
    # repository, not a training run with its optimizer, not a cache whose files are links.
    folders = [out, *_folders_within(out)]
    code = _copied_code(folders)
    files = [entry for folder in folders for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)]
    for entry in files:
        known = _is_checkpoint_file(entry.name) or entry.name in code
        if Path(entry.path) not in folders and (not entry.is_file(follow_symlinks=False) or not known):
            name = Path(entry.path).relative_to(out)
            raise OutputError(
                f"{out} will not be overwritten: it holds '{name}', which is no part of a checkpoint. "
                f"Remove the folder yourself, or choose another place."
            )
    if not any(entry.name.endswith(SUFFIX) for entry in files):
        raise OutputError(
            f"{out} will not be overwritten: it holds files but no {SUFFIX}, so it is no checkpoint. "
            f"Remove the folder yourself, or choose another place."
        )


def _folders_within(out: Path) -> list[Path]:
    """Return the folders in a checkpoint that belong to it: those that the index of a pipeline names."""
    index = out / PIPELINE
    if index.is_symlink() or not index.is_file():
        return []
    try:
        named = [out / name for name in component_folders(read_small(index), str(index))]
    except SourceError:  # no pipeline of ours, nor of anyone
        return []
    return [folder for folder in named if folder.is_dir() and not folder.is_symlink()]


def _copied_code(folders: Sequence[Path]) -> frozenset[str]:
    """Return the names of the Python files that a merge copied into folders, as its weights say; none for others."""
    for path in (path for folder in folders for path in sorted(folder.glob("*" + SUFFIX))):
        try:
            return frozenset(read_header(path).metadata.get(CODE, "").split("/"))
        except SourceError:  # no checkpoint of ours, nor of anyone
            break
    return frozenset()


def _is_checkpoint_file(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in CHECKPOINT_FILES)


def _exists(out: Path) -> OutputError:
    return OutputError(f"{out} exists already. Choose another place, or overwrite it (--overwrite, overwrite=True).")
