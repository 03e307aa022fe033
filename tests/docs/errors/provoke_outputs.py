"""Errors of places and files that are written."""

import errno
import fcntl
import json
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
from bad_input.checkpoints import write_file
from cuvee import files
from cuvee.execute import merge as merging
from cuvee.execute import run
from cuvee.execute.report import Report
from cuvee.plan import planner
from cuvee.plan.plan import Plan
from cuvee.writers import shards
from docs.errors.made import merge, models, save
from docs.errors.scenarios import Place, provokes


@provokes("'{path}' is not a path that can be written: {reason} Choose another one.")
def output_of_a_user_who_is_not_there(place: Place) -> None:
    models(place)
    merge("~nobody-of-this-name/out")


@provokes("The output {out} would touch the input {path}: it {cause}. …")
def output_is_an_input(place: Place) -> None:
    models(place)
    merge("a", overwrite=True)


@provokes("The output {out} would touch the input {path}: it {cause}. …")
def record_of_output_is_the_recipe(place: Place) -> None:
    models(place)
    (place.folder / "out.cuvee.json").write_text('{"cuvee": 1, "method": "linear", "models": ["a", "b"]}')
    cuvee.merge("out.cuvee.json", "out.safetensors", overwrite=True)


@provokes("{record} exists already, and is no record of a merge; that of the output goes there. …")
def record_of_output_would_replace_notes(place: Place) -> None:
    models(place)
    (place.folder / "out.cuvee.json").write_text("my notes")
    merge("out.safetensors")


@provokes("{record} is a folder; the record of the output goes there. Choose another name.")
def record_of_output_is_a_folder(place: Place) -> None:
    models(place)
    (place.folder / "out.cuvee.json").mkdir()
    merge("out.safetensors", overwrite=True)


@provokes("{out} cannot be made: {file} is not a folder.")
def output_below_a_file(place: Place) -> None:
    models(place)
    (place.folder / "file").touch()
    merge("file/out")


@provokes("{out} cannot be written: {place}: {reason}.")
def name_of_output_is_too_long(place: Place) -> None:
    models(place)
    merge("x" * 5000)


@provokes("{out} cannot be written: {place}: {reason}.")
def output_beyond_the_size_that_a_user_may_write(place: Place) -> None:
    models(place)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    place.stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    merge()


@provokes("{out} cannot be written: {place}: {reason}.")
def no_room_for_what_waits(place: Place) -> None:
    models(place)
    place.patch.setattr(tempfile, "TemporaryFile", fails(errno.ENOSPC))
    cuvee.extract("base", "a", "out", rank=2)


@provokes("{out} exists and is not a file; an output whose name ends in .safetensors is one. Choose another name.")
def output_file_is_a_folder(place: Place) -> None:
    models(place)
    (place.folder / "out.safetensors").mkdir()
    merge("out.safetensors")


@provokes("{out} exists and is not a folder. Choose another place, or a name that ends in .safetensors.")
def output_folder_is_a_file(place: Place) -> None:
    models(place)
    (place.folder / "out").touch()
    merge("out")


@provokes("{out} exists already. Choose another place, or overwrite it (--overwrite, overwrite=True).")
def output_exists(place: Place) -> None:
    models(place)
    merge()
    merge()


@provokes("{out} will not be overwritten: it holds '{name}', which is no part of a checkpoint. …")
def output_folder_holds_work(place: Place) -> None:
    models(place)
    merge()
    (place.folder / "out" / "train.py").touch()
    merge(overwrite=True)


@provokes("{out} will not be overwritten: it holds files but no .safetensors, so it is no checkpoint. …")
def output_folder_holds_no_checkpoint(place: Place) -> None:
    models(place)
    (place.folder / "out").mkdir()
    (place.folder / "out" / "vocab.txt").touch()
    merge(overwrite=True)


@provokes("The output {out} is an address; an output is a folder or file of this machine. …")
def output_is_an_address(place: Place) -> None:
    models(place)
    merge("s3://bucket/out")


@provokes("The output {out} is named like a {suffix} file, which is not written. …")
def output_is_named_like_another_file(place: Place) -> None:
    models(place)
    merge("out.bin")


@provokes("{out} is one file; the recipes make {number} results. Give a folder.")
def several_results_in_one_file(place: Place) -> None:
    one = {"method": "linear", "models": ["a", "b"]}
    cuvee.merge({"cuvee": 1, "recipes": {"one": one, "two": one}}, "out.safetensors")


@provokes("The outputs {one} and {other} would touch each other. Give each recipe a place of its own.")
def outputs_within_each_other(place: Place) -> None:
    models(place)
    one = {"cuvee": 1, "method": "linear", "models": ["a", "b"]}
    cuvee.merge_variants({"out": one, "out/scaled": one})


@provokes("{out} is one file; the output has several models, in the folders {folders}. Name a folder.")
def pipeline_in_one_file(place: Place) -> None:
    index = {"_class_name": "MadeUp", "unet": ["diffusers", "UNet2DModel"], "vae": ["diffusers", "AutoencoderKL"]}
    for name in ("a", "b"):
        for part in ("unet", "vae"):
            (place.folder / name / part).mkdir(parents=True)
            header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
            write_file(place.folder / name / part / "diffusion_pytorch_model.safetensors", header, bytes(4))
            (place.folder / name / part / "config.json").write_text(json.dumps({"_class_name": index[part][1]}))
        (place.folder / name / "model_index.json").write_text(json.dumps(index))
    merge("out.safetensors")


@provokes("{out} is being written by another process, in {folder}. Wait for it, stop it, or choose another place.")
def output_that_another_process_writes(place: Place) -> None:
    models(place)
    (place.folder / ".out.unfinished").mkdir()
    lock = place.stack.enter_context((place.folder / ".out.unfinished" / "lock").open("w"))
    fcntl.flock(lock, fcntl.LOCK_EX)
    merge()


@provokes(
    "{folder} is not a folder of yours, but {out} grows in a folder of this name. Remove it, or choose another place."
)
def hidden_folder_that_is_a_link(place: Place) -> None:
    models(place)
    (place.folder / "project").mkdir()
    (place.folder / ".out.unfinished").symlink_to("project")
    merge()


@provokes("{out}: the disk is full. The output needs {number} bytes; {free} were free when it was begun. …")
def disk_that_is_full(place: Place) -> None:
    models(place)
    place.patch.setattr(files, "_write_once", fails(errno.ENOSPC))
    merge()


@provokes("{journal} cannot be written: {reason}.")
def journal_that_cannot_be_written(place: Place) -> None:
    models(place)

    def progress(*_: int) -> None:
        place.patch.setattr(os, "write", fails(errno.EIO))

    tensors = {f"w{i}": torch.ones(1 << 17) for i in range(8)}
    for name in ("c", "d"):
        save(place, name, tensors)
    merge(models=["c", "d"], progress=progress, limits=cuvee.Limits(workers=1, block_bytes=1))


def fails(number: int) -> Any:
    """A call of the system that fails."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@provokes("{file}: its header would take {number} bytes; the format allows {most}. Choose a smaller shard size.")
def header_beyond_the_format(place: Place) -> None:
    models(place)
    place.patch.setattr(shards, "MAX_HEADER_BYTES", 300)  # instead of a million names
    merge()


@provokes("A tensor cannot be called '__metadata__': the safetensors format keeps that name for itself. Rename it.")
def tensor_with_a_name_of_the_format(place: Place) -> None:
    one = {"__metadata__": torch.ones(2)}
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [one, dict(one)]}, "out")


def _before_files_are_copied(place: Place, happens: Callable[[], object]) -> None:
    """Let something happen once the inputs have been checked a last time."""
    copied = merging.companions

    def late(plan: Plan, variant: int, out: Path, report: Report) -> dict[str, bytes]:
        happens()
        return copied(plan, variant, out, report)

    place.patch.setattr(merging, "companions", late)


@provokes("{file} cannot be copied: {reason}.")
def tokenizer_that_goes_away_during_the_merge(place: Place) -> None:
    models(place)
    tokenizer = place.folder / "a" / "tokenizer.json"
    tokenizer.write_text("{}")
    _before_files_are_copied(place, tokenizer.unlink)
    merge()


@provokes(
    "{file} is not valid JSON any more: {problem}. It has changed while the merge ran; merge again when nothing "
    "writes to it."
)
def configuration_that_is_written_during_the_merge(place: Place) -> None:
    models(place)
    _before_files_are_copied(place, lambda: write(place.folder / "a" / "config.json", "{"))
    merge()


@provokes(
    "{file} is not an object any more but JSON of type {kind}. It has changed while the merge ran; merge again "
    "when nothing writes to it."
)
def configuration_that_becomes_a_list(place: Place) -> None:
    models(place)
    _before_files_are_copied(place, lambda: write(place.folder / "a" / "config.json", "[]"))
    merge()


def write(path: Path, text: str) -> None:
    path.write_text(text)


@provokes("'{name}' cannot be added to {out}: expected a file name without folders.")
def code_with_a_backslash_in_its_name(place: Place) -> None:
    models(place)
    (place.folder / "a" / "modeling\\mine.py").touch()
    merge(output={"custom_code": True})


class OwnSource:
    """A source of somebody's own, which brings a file that the writer makes itself."""

    def __init__(self, folder: Path) -> None:
        self._source = cuvee.open_source(folder)
        self.sidecars = {"model.safetensors": folder / "config.json"}

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)


@provokes("'{name}' cannot be added to {out} twice.")
def source_that_brings_weights_as_a_file_beside_them(place: Place) -> None:
    models(place)
    source = OwnSource(place.folder / "a")
    place.stack.callback(source.close)
    merge(models=[source, "b"])


@provokes("{file} was cut short or removed while it was written; nothing else may write to it.")
def output_that_is_removed_meanwhile(place: Place) -> None:
    models(place)
    merge(progress=lambda *_: (place.folder / ".out.unfinished" / "output" / "model.safetensors").unlink(True))


@provokes("{file} was cut short or removed while it was written; nothing else may write to it.")
def hidden_folder_that_is_another_meanwhile(place: Place) -> None:
    models(place)
    lock = place.folder / ".out.unfinished" / "lock"
    merge(progress=lambda *_: lock.rename(lock.with_name("moved")) if lock.exists() else None)


@provokes("{file} was cut short or removed while it was written; nothing else may write to it.")
def output_that_is_cut_short_meanwhile(place: Place) -> None:
    place.patch.setattr(planner, "CELL", 1024)  # so that small tensors are merged in several steps
    place.patch.setattr(run, "CELL", 1)
    for name in "ab":
        save(place, name, {"w": torch.ones(3, 1024)})
    moved = 0

    def interrupt(nbytes: int, _: int) -> None:
        nonlocal moved
        moved += nbytes
        if moved > 20_000:  # two parts of three are done
            raise KeyboardInterrupt

    def cut(*_: int) -> None:
        os.truncate(place.folder / ".out.unfinished" / "output" / "model.safetensors", 1000)

    in_parts = {"tensors": [{"match": "w", "parts": 3}], "limits": cuvee.Limits(workers=1, block_bytes=1)}
    with pytest.raises(KeyboardInterrupt):
        merge(progress=interrupt, **in_parts)
    merge(progress=cut, **in_parts)
