"""Weight files that are damaged, cut short or made to do harm: safetensors and pickles."""

import io
import os
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import cuvee
from bad_input.checkpoints import write_file
from docs.errors.checkpoints import refuse_to_open
from docs.errors.scenarios import Place, provokes


def _header(table: object, data: bytes = b"", length: int | None = None) -> None:
    """Open a file with this header and data."""
    write_file(Path("bad.safetensors"), table, data, length)
    cuvee.open_source("bad.safetensors")


def _tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# safetensors


@provokes("{file} has {count} bytes; a safetensors file begins with 8 that hold its header's length. …")
def file_without_bytes(_: Place) -> None:
    Path("model.safetensors").touch()
    cuvee.open_source("model.safetensors")


@provokes("{file} is a git-lfs pointer, not the weights. Run `git lfs pull` in its folder.")
def pointer_instead_of_weights(_: Place) -> None:
    Path("model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n")
    cuvee.open_source("model.safetensors")


@provokes(
    "{file}: the header claims {size} bytes, but only {size} follow. The file is truncated or not safetensors: "
    "download it again."
)
def header_cut_short(_: Place) -> None:
    _header({}, length=1 << 40)


@provokes("{file}: the header claims {size} bytes; the format allows {size}. …")
def header_that_is_huge(_: Place) -> None:
    write_file(Path("bad.safetensors"), {}, length=100_000_001)
    os.truncate("bad.safetensors", 200_000_000)  # sparse
    cuvee.open_source("bad.safetensors")


@provokes("{file}: the header begins with {bytes}; expected '{'. …")
def archive_named_safetensors(_: Place) -> None:
    _header(b"PK\3\4 and so on")


@provokes("{file}: __metadata__ is {value}; expected an object of texts. …")
def metadata_that_is_a_list(_: Place) -> None:
    _header({"__metadata__": ["pt"]})


@provokes("{file}: __metadata__ {key} is {value}; expected text. …")
def metadata_with_a_number(_: Place) -> None:
    _header({"__metadata__": {"step": 1000}})


@provokes("{file}: {number} bytes follow the last tensor, which belong to none. …")
def bytes_left_over(_: Place) -> None:
    _header({"w": _tensor()}, bytes(11))


@provokes(
    "{file}: tensor {tensor}: ends at byte {byte} of the data, but the file holds only {size}; the file is "
    "truncated. The file is damaged or was not written as safetensors: download or write it again."
)
def data_cut_short(_: Place) -> None:
    _header({"w": _tensor()}, bytes(5))


@provokes("{file}: tensor {tensor}: unknown dtype {dtype}; expected one of {dtypes}. …")
def dtype_in_small_letters(_: Place) -> None:
    _header({"w": _tensor("bf16")}, bytes(8))


@provokes(
    "{file}: tensor {tensor}: takes {count} bytes, but shape {shape} of {dtype} needs {count}. The file is "
    "damaged or was not written as safetensors: download or write it again."
)
def shape_of_another_size(_: Place) -> None:
    _header({"w": _tensor(shape=(3,))}, bytes(8))


@provokes(
    "{file}: tensor {tensor}: begins at byte {byte}, inside {tensor}, which ends at {byte}; they overlap. The "
    "file is damaged or was not written as safetensors: download or write it again."
)
def tensors_that_overlap(_: Place) -> None:
    _header({"w": _tensor(), "v": _tensor(offsets=(4, 12))}, bytes(12))


@provokes(
    "{file}: tensor {tensor}: begins at byte {byte}, but the tensor before ends at {byte}; the bytes between are "
    "no one's. The file is damaged or was not written as safetensors: download or write it again."
)
def hole_between_tensors(_: Place) -> None:
    _header({"w": _tensor(), "v": _tensor(offsets=(12, 20))}, bytes(20))


SPOILT = (
    "{file}: tensor {tensor}: {cause}. The file is damaged or was not written as safetensors: download or write "
    "it again."
)


def _spoilt(name: str, fields: object) -> None:
    def play(_: Place) -> None:
        _header({"w": fields}, bytes(8))

    play.__name__ = name
    provokes(SPOILT)(play)


_spoilt("tensor_that_is_a_list", [])
_spoilt("tensor_without_shape", {"dtype": "F32", "data_offsets": [0, 8]})
_spoilt("tensor_with_unknown_field", {**_tensor(), "scale": 2})
_spoilt("tensor_with_shape_that_is_a_number", _tensor(shape=2))
_spoilt("tensor_with_negative_extent", _tensor(shape=(-2,)))
_spoilt("tensor_with_a_thousand_axes", _tensor(shape=(1,) * 1000))
_spoilt("tensor_with_more_elements_than_any_file", _tensor(shape=(2**62, 2**62)))
_spoilt("tensor_with_offsets_as_text", _tensor(offsets="08"))
_spoilt("tensor_with_reversed_offsets", _tensor(offsets=(8, 0)))
_spoilt("tensor_with_half_a_byte", _tensor("F4", (3,), (0, 2)))


# Pickles


def _saved(content: object, **options: Any) -> None:
    """Open what torch.save has written."""
    torch.save(content, "model.bin", **options)
    cuvee.open_source("model.bin")


OLD = {"_use_new_zipfile_serialization": False}


class Calls:
    """Becomes, when it is unpickled, what a function returns."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


@provokes(
    "{file}: torch {version} cannot read pickled weights safely, a file could make it run code; 2.10 or later can. …"
)
def torch_that_is_old(place: Place) -> None:
    place.patch.setattr(torch, "__version__", "2.5.1+cpu")
    _saved({"w": torch.ones(2)})


@provokes(
    "{file} is refused: beside tensors it asks for {names}; cuvee takes tensors from pickles and never runs code "
    "that they name. …"
)
def pickle_that_runs_a_command(_: Place) -> None:
    _saved({"w": torch.ones(2), "x": Calls(os.system, "touch ran")})


@provokes(
    "{file} cannot be read as pickled weights{reason}: it is damaged, or holds something other than tensors; "
    "cuvee takes tensors from pickles and never runs code that they name. …"
)
def pickle_that_is_damaged(_: Place) -> None:
    torch.save({"w": torch.ones(2)}, "model.bin")
    _rewritten(lambda name, data: (name.replace("data/0", "data/1"), data, zipfile.ZIP_STORED))


@provokes(
    "{file} does not hold pickled weights, or is damaged: {reason}. Download it again, or save it anew with torch.save."
)
def web_page_named_as_weights(_: Place) -> None:
    Path("model.bin").write_text("<!DOCTYPE html><title>Sign in</title>")
    cuvee.open_source("model.bin")


@provokes("{file} holds a {type}; expected a state dict, name → tensor.")
def pickle_of_one_tensor(_: Place) -> None:
    _saved(torch.ones(2))


@provokes("{file} holds no tensors; expected a state dict, name → tensor. It has: {names}.")
def pickle_of_settings(_: Place) -> None:
    _saved({"epoch": 3, "best": {"loss": 0.1}})


@provokes(
    "{file} holds {number} state dicts ({names}), and nothing says which is meant. Save one alone: "
    "safetensors.torch.save_file(torch.load(file, weights_only=True)[key], new)."
)
def pickle_of_two_state_dicts(_: Place) -> None:
    _saved({"model": {"w": torch.ones(2)}, "ema": {"w": torch.ones(2)}})


@provokes(
    "{place} has entries that are no tensors: {names} ({types}). Nothing is left out in silence: save the "
    "tensors alone."
)
def pickle_with_a_step_between_tensors(_: Place) -> None:
    _saved({"w": torch.ones(2), "step": 1000})


@provokes(
    "{file}: tensor {tensor} says it has {size} bytes, but {size} are stored for it. Save it anew (contiguous, "
    "without expand)."
)
def pickle_with_an_expanded_tensor(_: Place) -> None:
    _saved({"w": torch.ones(1).expand(1000)})


@provokes(
    "{file} has {size} bytes in the format before PyTorch 1.6, which has to be held in memory whole; at most "
    "{most} are read. …"
)
def old_pickle_that_is_large(_: Place) -> None:
    torch.save({"w": torch.ones(2)}, "model.bin", **OLD)
    os.truncate("model.bin", 3_000_000_000)  # sparse
    cuvee.open_source("model.bin")


@provokes("{file} cannot be read: {reason}.")
def pickle_of_somebody_else(place: Place) -> None:
    torch.save({"w": torch.ones(2)}, "model.bin")
    refuse_to_open(place, "model.bin")
    cuvee.open_source("model.bin")


@provokes("{file} cannot be read: {reason}.")
def pickle_that_vanishes(place: Place) -> None:
    torch.save({"w": torch.ones(2)}, "model.bin")
    exists = os.path.exists

    def exists_for_the_last_time(path: Any) -> bool:
        was_there = exists(path)
        Path("model.bin").unlink(missing_ok=True)  # by another program, as soon as it was looked at
        return was_there

    place.patch.setattr(os.path, "exists", exists_for_the_last_time)
    cuvee.open_source("model.bin")


@provokes("{file} is not an ordinary file; expected {what}. Copy it to one.")
def pickle_from_a_pipe(_: Place) -> None:
    os.mkfifo("model.bin")
    cuvee.open_source("model.bin")


# The archives that pickles lie in

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
Change = Callable[[str, bytes], tuple[str, bytes, int]]


def _rewritten(change: Change) -> None:
    """Open an archive of torch's, each record of which is as `change` says."""
    file = io.BytesIO()
    torch.save({"w": torch.ones(4)}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile("model.bin", "w") as new:
        for entry in old.infolist():
            name, data, compression = change(entry.filename, old.read(entry))
            new.writestr(name, data, compression)
    cuvee.open_source("model.bin")


def _ended(directory: bytes, nbytes: int | None = None) -> None:
    """Open an archive of this directory, which says that it has so many bytes."""
    count = len(directory) if nbytes is None else nbytes
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, count, 4, 0)
    with Path("model.bin").open("wb") as file:
        file.write(b"PK\3\4" + directory)
        file.seek(4 + count)
        file.write(end)
    cuvee.open_source("model.bin")


@provokes("{file} is a zip archive with no plain end: it was cut short, or is damaged. …")
def archive_cut_short(_: Place) -> None:
    torch.save({"w": torch.ones(4)}, "model.bin")
    os.truncate("model.bin", 900)
    cuvee.open_source("model.bin")


@provokes("{file} is a zip archive whose directory is not where it says: it is damaged. …")
def archive_with_something_before_it(_: Place) -> None:
    torch.save({"w": torch.ones(4)}, "model.bin")
    Path("model.bin").write_bytes(b"PK\3\4" + Path("model.bin").read_bytes())
    cuvee.open_source("model.bin")


@provokes("{file}: its directory claims {size} bytes; at most {size} are read. …")
def archive_with_a_huge_directory(_: Place) -> None:
    _ended(b"", 20_000_000)  # sparse


@provokes("{file} is a zip archive that torch.save has not written, or damaged: {reason}. …")
def archive_with_a_damaged_directory(_: Place) -> None:
    _ended(b"no directory at all, but as many bytes as one could have")


@provokes("{file}: its record {record} is compressed, which torch.save never does. …")
def archive_that_was_compressed(_: Place) -> None:
    _rewritten(lambda name, data: (name, data, DEFLATED))


@provokes("{file}: its record {record} claims {size} bytes; at most {size} are read. …")
def archive_with_a_huge_version(_: Place) -> None:
    _rewritten(lambda name, data: (name, bytes(1 << 17) if name.endswith("version") else data, STORED))


@provokes("{file} holds a program (TorchScript), not weights. Save the model's state dict.")
def program_instead_of_weights(_: Place) -> None:
    with warnings.catch_warnings(action="ignore"):  # of what torch intends to give up
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "model.bin")
    cuvee.open_source("model.bin")


@provokes("{file} was written on a machine of the other byte order. Convert it there, to safetensors.")
def archive_of_another_machine(_: Place) -> None:
    other = b"big" if sys.byteorder == "little" else b"little"
    _rewritten(lambda name, data: (name, other if name.endswith("byteorder") else data, STORED))
