"""Pickled weights as a Source: what ``torch.save`` has written, read only where a user names the file itself.

A pickle is a program. It is looked through first, and refused if it asks for anything but tensors and plain containers;
then torch's reader of weights alone, which runs nothing either, makes the tensors. Files are mapped, not read. Knows
nothing of what the tensors mean.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from cuvee.errors import CuveeWarning, FormatError, MissingLibraryError, SourceError, some
from cuvee.sources.archive import is_archive, requests_of_archive, requests_of_old_file
from cuvee.sources.folder import (
    PICKLE_INDEX_SUFFIX,
    PICKLE_SUFFIX,
    PICKLE_SUFFIXES,
    Weights,
    check_index,
    read_index,
)
from cuvee.sources.local import LocalFolder
from cuvee.sources.memory import Memory
from cuvee.sources.pages import MappedPages
from cuvee.sources.stamps import Stamp, check_stamps, stamp
from cuvee.sources.strict_json import shown

if TYPE_CHECKING:
    import torch

__all__ = ["Pickled", "is_pickled"]

# Before it, files could run code through the reader of weights alone (CVE-2025-32434, CVE-2026-24747).
SAFE_TORCH = (2, 10)
# Bytes of a file in the format before PyTorch 1.6, which cannot be mapped: all of it is held in memory.
MOST_UNMAPPED = 2_000_000_000
LISTED = 5
MAPPED = 2 << 20  # bytes of pages that are mapped while one thread reads a block
NO_CODE = "cuvee takes tensors from pickles and never runs code that they name"


def is_pickled(path: Path) -> bool:
    """Say whether a path is named like pickled weights: one file, or the index of several."""
    is_named = path.suffix.lower() in PICKLE_SUFFIXES or path.name.endswith(PICKLE_INDEX_SUFFIX)
    return is_named and not os.path.isdir(path)  # noqa: PTH112 - Path's raises for a name that is too long


class Pickled(Memory):
    """Named tensors of a file that ``torch.save`` has written, or of the several that an index names.

    A file holds a state dict. Where it holds other things beside one (a training checkpoint), that one is taken if it
    is the only one, and a warning names it and what is left out. No configuration comes with it, whatever lies beside
    it.

    Args:
        path: the file, or the index (``pytorch_model.bin.index.json``).
        reference: what the user called it; the path if not given.

    Attributes:
        paths: the index, if there is one, and the weight files, links not followed.
        identity: each file's real path, size, and time of its last change.

    Raises:
        SourceError: nothing readable is there, it asks for more than tensors, or it is unclear which tensors are meant.
        FormatError: a file or the index is malformed.
        UnsupportedError: a tensor is stored in a form that cannot be read.
        MissingLibraryError: torch is too old to read such a file safely.
    """

    def __init__(self, path: Path, reference: str | None = None) -> None:
        is_index = path.name.endswith(PICKLE_INDEX_SUFFIX)
        folder = LocalFolder(path.parent if is_index else path)
        weights = Weights((path.name,), None, {})
        if is_index:
            weights = read_index(folder, path.name, folder.names(), PICKLE_SUFFIX)
        files = [folder.file(name) for name in weights.files]
        self._stamps = {file: _stamp(file) for file in files}
        loaded = {file: _state_dict(file, _load(file, size)) for file, (size, _) in self._stamps.items()}
        check_index(folder, weights, {file.name: own for file, own in loaded.items()})
        super().__init__(
            {name: tensor for own in loaded.values() for name, tensor in own.items()},
            reference if reference is not None else os.fspath(path),
        )
        self._homes = {name: file for file, own in loaded.items() for name in own}
        for name, tensor in self._tensors.items():
            _check_stored(self._homes[name], name, tensor)
        check_stamps(self._stamps)
        self._pages = MappedPages(files)
        self.paths = ((path,) if is_index else ()) + tuple(files)
        self.identity = "\n".join(f"{os.path.realpath(file)} {size} {at}" for file, (size, at) in self._stamps.items())
        self.memory = MAPPED
        self.location = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow the links

    def locate(self, name: str) -> str:
        """Return the path of the file that holds the tensor.

        Raises:
            SourceError: there is no such tensor, or the source was closed.
        """
        self._tensor(name)
        return str(self._homes[name])

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes; see `Memory.read_into`.

        Raises:
            SourceError: also if the file has changed since it was opened.
        """
        tensor = self._tensor(name)  # keeps the file mapped until its pages are let go
        file = self._homes[name]
        check_stamps({file: self._stamps[file]})  # to touch a page beyond the end of a file would end the process
        super().read_into(buffer, name, offset)
        if tensor.is_contiguous():
            self._pages.let_go(tensor.data_ptr() + offset, buffer.nbytes)
        else:
            storage = tensor.untyped_storage()
            self._pages.let_go(storage.data_ptr(), storage.nbytes())

    def check_unchanged(self) -> None:
        """Verify that the files are still what they were when they were opened.

        Raises:
            SourceError: one is not; names it.
        """
        check_stamps(self._stamps)


def _stamp(file: Path) -> Stamp:
    """Look at a file before anything opens it: opening a pipe would wait for a writer."""
    try:
        status = file.stat()
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{file} is not an ordinary file; expected pickled weights. Copy it to one.")
    return stamp(status)


def _load(file: Path, size: int) -> object:
    """Let torch read a file: tensors and plain containers only."""
    import torch

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_TORCH:
        wanted = ".".join(map(str, SAFE_TORCH))
        raise MissingLibraryError(
            f"{file}: torch {torch.__version__} cannot read pickled weights safely, a file could make it run code; "
            f"{wanted} or later can. Upgrade torch, or convert the file to safetensors."
        )
    try:
        can_be_mapped = is_archive(file)
        if not can_be_mapped and size > MOST_UNMAPPED:
            raise SourceError(
                f"{file} has {size:,} bytes in the format before PyTorch 1.6, which has to be held in memory whole; at "
                f"most {MOST_UNMAPPED:,} are read. Save it anew: torch.save(torch.load(file, weights_only=True), new)."
            )
        asked = requests_of_archive(file) if can_be_mapped else requests_of_old_file(file)
        if asked:
            raise SourceError(
                f"{file} is refused: beside tensors it asks for {_some(asked)}; {NO_CODE}. If you trust it, load "
                "it where it was made, and save its state dict alone."
            )
        return torch.load(os.fspath(file), map_location="cpu", weights_only=True, mmap=can_be_mapped)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle can make its reader raise anything
        raise FormatError(
            f"{file} cannot be read as pickled weights{_cause(error)}: it is damaged, or holds something other than "
            f"tensors; {NO_CODE}. Download it again, or save its state dict alone, best as safetensors."
        ) from error


def _cause(error: Exception) -> str:
    """Say what torch says, but for its advice to switch the protection off."""
    said = "" if isinstance(error, UnpicklingError) else str(error).partition("\n")[0]
    return f" ({shown(said)})" if said else ""


def _state_dict(file: Path, content: object) -> Mapping[str, torch.Tensor]:
    """Return the one state dict of what a file holds; what is beside it is named in a warning."""
    if not isinstance(content, Mapping):
        raise SourceError(f"{file} holds a {type(content).__name__}; expected a state dict, name → tensor.")
    if _num_tensors(content):
        return _only_tensors(str(file), content)
    inner = [key for key, value in content.items() if isinstance(value, Mapping) and _num_tensors(value)]
    if not inner:
        raise SourceError(f"{file} holds no tensors; expected a state dict, name → tensor. It has: {_some(content)}.")
    if len(inner) > 1:
        raise SourceError(
            f"{file} holds {len(inner)} state dicts ({_some(inner)}), and nothing says which is meant. Save one alone: "
            "safetensors.torch.save_file(torch.load(file, weights_only=True)[key], new)."
        )
    (key,) = inner
    taken = _only_tensors(f"{file}: {shown(key)}", content[key])
    rest = [other for other in content if other != key]
    said = f"{file}: the tensors under {shown(key)} are read; left out: {_some(rest, len(rest))}."
    warnings.warn(said, CuveeWarning, stacklevel=2)
    return taken


def _only_tensors(where: str, content: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Verify that a state dict holds tensors by name, and nothing else."""
    import torch

    others = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        kinds = sorted({type(content[key]).__name__ for key in others})
        raise SourceError(
            f"{where} has entries that are no tensors: {_some(others)} ({', '.join(kinds)}). "
            "Nothing is left out in silence: save the tensors alone."
        )
    return content


def _num_tensors(content: Mapping[str, object]) -> int:
    import torch

    return sum(isinstance(value, torch.Tensor) for value in content.values())


def _some(names: Iterable[str], most: int = LISTED) -> str:
    return some(map(shown, names), most) or "nothing"


def _check_stored(file: Path, name: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor that says it has more elements than are stored: a few bytes could stand for any number."""
    claimed, stored = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if claimed > stored:
        raise FormatError(
            f"{file}: tensor {shown(name)} says it has {claimed:,} bytes, but {stored:,} "
            "are stored for it. Save it anew (contiguous, without expand)."
        )
