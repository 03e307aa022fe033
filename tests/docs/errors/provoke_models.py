"""Models that are not there, folders and indexes that do not say which files are the model, JSON that is none."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import cuvee
from cuvee.sources.local import LocalFolder
from docs.errors.checkpoints import SHARDS, checkpoint, listed, opened, read, refuse_to_open, shards
from docs.errors.scenarios import Place, provokes

CANNOT_BE_READ = "{file} cannot be read: {reason}."
NOT_ORDINARY = "{file} is not an ordinary file; expected {what}. Copy it to one."
CHANGED = (
    "{file} was changed during the merge: the result would be neither of the old model nor of the new one. Merge again "
    "when nothing writes to it."
)
TENSOR_CANNOT_BE_READ = "{file}: tensor {tensor} cannot be read: {reason}."


# What the system does not give


@provokes(CANNOT_BE_READ)
def path_that_is_too_long(_: Place) -> None:
    cuvee.open_source("model" * 1000)


@provokes(CANNOT_BE_READ)
def weights_of_somebody_else(place: Place) -> None:
    checkpoint(place.folder / "math")
    refuse_to_open(place, "model.safetensors")
    cuvee.open_source("math")


@provokes(CANNOT_BE_READ)
def folder_of_somebody_else(place: Place) -> None:
    checkpoint(place.folder / "math")

    def refuse(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    place.patch.setattr(Path, "iterdir", refuse)
    cuvee.open_source("math")


@provokes(CANNOT_BE_READ)
def configuration_of_somebody_else(place: Place) -> None:
    (checkpoint(place.folder / "math") / "config.json").write_text("{}")
    refuse_to_open(place, "config.json")
    cuvee.open_source("math")


@provokes(NOT_ORDINARY)
def weights_from_a_pipe(_: Place) -> None:
    os.mkfifo("model.safetensors")
    cuvee.open_source("model.safetensors")


@provokes(NOT_ORDINARY)
def index_that_is_a_pipe(place: Place) -> None:
    os.mkfifo(place.folder / "pytorch_model.bin.index.json")
    cuvee.open_source("pytorch_model.bin.index.json")


# Folders


@provokes("{folder} holds no .safetensors file. Expected a checkpoint folder as saved by save_pretrained.…")
def folder_without_weights(_: Place) -> None:
    Path("empty").mkdir()
    cuvee.open_source("empty")


@provokes("{folder} holds no .safetensors file, but its folders {folders} do. Name one of them.")
def folder_of_models(place: Place) -> None:
    checkpoint(place.folder / "models" / "math")
    cuvee.open_source("models")


@provokes("{folder} holds {number} safetensors {files} and no single index that says which make up the model.…")
def folder_of_files_without_index(place: Place) -> None:
    (shards(place.folder / "math") / "model.safetensors.index.json").unlink()
    cuvee.open_source("math")


@provokes(
    "{folder} holds both {file} and {index}, which names other files ({files}): two models, perhaps one older "
    "than the other. …"
)
def folder_of_two_models(place: Place) -> None:
    checkpoint(shards(place.folder / "math").parent / "math")
    cuvee.open_source("math")


@provokes(
    "{folder} holds an adapter ({file}), not a whole model. Name the model it was trained on, too: BASE+ADAPTER, "
    "here {base}+{adapter}."
)
def adapter_instead_of_model(_: Place) -> None:
    Path("adapter").mkdir()
    safetensors.torch.save_file({"lora_A": torch.ones(1)}, "adapter/adapter_model.safetensors")
    Path("adapter/adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    cuvee.open_source("adapter")


@provokes(
    "{file} holds pickled weights, a format that can carry code; they are read, without ever running code, only "
    "where the file itself is named: give {file}. …"
)
def folder_of_pickled_weights(_: Place) -> None:
    Path("old").mkdir()
    torch.save({"w": torch.ones(2)}, "old/pytorch_model.bin")
    cuvee.open_source("old")


@provokes("{file} holds an adapter as pickled weights, which are not read. …")
def adapter_of_pickled_weights(_: Place) -> None:
    Path("old").mkdir()
    torch.save({"w": torch.ones(2)}, "old/adapter_model.bin")
    cuvee.open_source("old")


@provokes("{file} holds pickled weights, which are not read in pipelines. …")
def pipeline_of_pickled_weights(place: Place) -> None:
    path = Path(_pipeline(place, UNET))
    next(path.glob("unet/*.safetensors")).unlink()
    torch.save({"w": torch.ones(2)}, path / "unet/diffusion_pytorch_model.bin")
    cuvee.open_source(path)


@provokes("{file} is a pickle of whatever kind, which can run code when opened, and is not read. …")
def folder_of_a_pickle(_: Place) -> None:
    Path("old").mkdir()
    Path("old/weights.pkl").write_bytes(b"\x80\x04.")
    cuvee.open_source("old")


# Indexes


@provokes("{index} names {files}, missing from the folder. {remedy}")
def index_of_files_that_are_missing(place: Place) -> None:
    (shards(place.folder / "math") / SHARDS[1]).unlink()
    cuvee.open_source("math")


@provokes("{index}: 'weight_map' is {value}; expected an object of tensor name → file name. Download the index again.")
def index_without_map(place: Place) -> None:
    listed(checkpoint(place.folder / "math"), {})
    cuvee.open_source("math")


@provokes(
    "{index}: tensor {tensor} is said to be in {file}; expected the bare name of a {suffix} file in the same "
    "folder. Do not trust this checkpoint."
)
def index_that_leads_elsewhere(place: Place) -> None:
    listed(shards(place.folder / "math"), {"a": "/etc/secrets.safetensors"})
    cuvee.open_source("math")


@provokes("Tensor {tensor} is in both {file} and {file}; expected each tensor in one file. …")
def tensor_in_two_files(place: Place) -> None:
    folder = shards(place.folder / "math")
    safetensors.torch.save_file({"a": torch.ones(2), "b": torch.ones(2)}, folder / SHARDS[1])
    cuvee.open_source("math")


@provokes(
    "{index}: tensor {tensor} is said to be in {file}, but {where}. Index and files do not belong together: {advice}."
)
def index_of_another_model(place: Place) -> None:
    listed(shards(place.folder / "math"), {"a": SHARDS[1], "b": SHARDS[0]})
    cuvee.open_source("math")


@provokes("{file}: tensor {tensor} is missing from {index}. Index and files do not belong together: {advice}.")
def index_of_an_older_model(place: Place) -> None:
    folder = shards(place.folder / "math")
    safetensors.torch.save_file({"b": torch.ones(2), "c": torch.ones(2)}, folder / SHARDS[1])
    cuvee.open_source("math")


# JSON beside weights


def _configured(place: Place, text: bytes) -> None:
    """Open a model whose configuration is this."""
    (checkpoint(place.folder / "math") / "config.json").write_bytes(text)
    cuvee.open_source("math")


@provokes("{file} is not UTF-8 text ({reason}); expected JSON. Download it again.")
def configuration_in_another_encoding(place: Place) -> None:
    _configured(place, '{"name": "é"}'.encode("latin-1"))


@provokes("{file} is nested too deeply to be read; expected a plain JSON object. Download it again.")
def configuration_that_is_nested_deeply(place: Place) -> None:
    _configured(place, b'{"a": ' + b"[" * 100_000)


@provokes("{file} is not valid JSON: {reason}. Download it again.")
def configuration_that_is_cut_off(place: Place) -> None:
    _configured(place, b'{"hidden_size": 4,')


@provokes("{file} is not valid JSON: {reason}. Download it again.")
def header_that_names_a_tensor_twice(_: Place) -> None:
    fields = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    text = f'{{"w":{fields},"w":{fields}}}'.encode()
    Path("model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    cuvee.open_source("model.safetensors")


@provokes("{file} is JSON of type {type}; expected an object, {…}. Download it again.")
def configuration_that_is_a_list(place: Place) -> None:
    _configured(place, b"[]")


@provokes("{file} has {size} bytes; a JSON file of at most {size} was expected. Download it again.")
def configuration_that_is_huge(place: Place) -> None:
    (checkpoint(place.folder / "math") / "config.json").touch()
    os.truncate("math/config.json", 1 << 40)  # sparse
    cuvee.open_source("math")


# Pipelines


def _pipeline(place: Place, index: object) -> str:
    """Make a pipeline with one component and a tokenizer, and this index."""
    checkpoint(place.folder / "pipeline" / "unet")
    (place.folder / "pipeline" / "tokenizer").mkdir()
    (place.folder / "pipeline" / "model_index.json").write_text(json.dumps(index))
    return "pipeline"


UNET = {"unet": ["diffusers", "UNet2DConditionModel"]}


@provokes("{index}: no component has weights; expected a pipeline as saved by save_pretrained.")
def pipeline_without_weights(place: Place) -> None:
    cuvee.open_source(_pipeline(place, {"tokenizer": ["transformers", "CLIPTokenizer"]}))


MISSING_COMPONENT = (
    "{index} names the component {component}, but there is no such folder. Download the whole pipeline, or set the "
    "component to [null, null]."
)


@provokes(MISSING_COMPONENT)
def pipeline_without_a_component(place: Place) -> None:
    cuvee.open_source(_pipeline(place, UNET | {"vae": ["diffusers", "AutoencoderKL"]}))


@provokes(MISSING_COMPONENT)
def pipeline_with_a_component_no_folder_can_be_called(place: Place) -> None:
    cuvee.open_source(_pipeline(place, {"x" * 5000: ["diffusers", "AutoencoderKL"]}))


@provokes("{index}: component {component} is {value}; expected [library, class]. Download it again.")
def component_without_class(place: Place) -> None:
    cuvee.open_source(_pipeline(place, {"unet": ["diffusers"]}))


@provokes("{index}: a component is called {name}; expected the bare name of a folder beside it. …")
def component_elsewhere(place: Place) -> None:
    cuvee.open_source(_pipeline(place, UNET | {"../../secrets": ["diffusers", "AutoencoderKL"]}))


@provokes("{model} is a pipeline of several models; an adapter is for one of them. …")
def adapter_on_a_pipeline(place: Place) -> None:
    cuvee.open_source(f"{_pipeline(place, UNET)}+adapter")


# Files that change while they are read


@provokes(CHANGED)
def model_that_is_written_during_the_merge(place: Place) -> None:
    source = opened(place, checkpoint(place.folder / "math"))
    os.utime("math/model.safetensors", ns=(1, 1))
    source.check_unchanged()


@provokes("{file} cannot be read: {reason}.")
def tokenizer_that_goes_away_while_its_model_is_opened(place: Place) -> None:
    checkpoint(place.folder / "math")
    LocalFolder(place.folder / "math").watch(["tokenizer.json"])


GONE = "{file} was there when the merge began and is not now: {reason}."


@provokes(GONE)
def model_that_is_removed_during_the_merge(place: Place) -> None:
    source = opened(place, checkpoint(place.folder / "math"))
    Path("math/model.safetensors").unlink()
    source.check_unchanged()


@provokes(TENSOR_CANNOT_BE_READ)
def model_that_is_written_before_it_is_read(place: Place) -> None:
    source = opened(place, checkpoint(place.folder / "math"))
    os.utime("math/model.safetensors", ns=(1, 1))
    read(source, "w")


@provokes(TENSOR_CANNOT_BE_READ)
def state_dict_that_was_closed(_: Place) -> None:
    source = cuvee.open_source({"w": torch.ones(2)})
    source.close()
    read(source, "w")


@provokes(
    "{file}: tensor {tensor}: the file ended after {count} of {count} bytes. It was cut short since its header "
    "was read; nothing may write to an input during a merge."
)
def model_that_is_cut_short_while_it_is_read(place: Place) -> None:
    source = opened(place, checkpoint(place.folder / "math"))
    read(source, "v")
    os.truncate("math/model.safetensors", 100)
    read(source, "w")


# State dicts


def _merged(**tensors: Any) -> None:
    """Merge two models, one of them a state dict."""
    cuvee.plan({"cuvee": 1, "method": "linear", "models": [{"w": torch.ones(2)}, {"w": torch.ones(2), **tensors}]})


@provokes("{model}: tensor {name}: its name is a {type}; expected text. Rename it.")
def tensor_called_by_number(_: Place) -> None:
    cuvee.open_source({0: torch.ones(2)})  # type: ignore[dict-item]


@provokes("{model}: tensor {tensor} is a {type}; expected a torch tensor. Leave it out of the state dict.")
def state_dict_with_a_number(_: Place) -> None:
    _merged(step=1000)


@provokes("{model}: tensor {tensor} is on device 'meta': it has a shape and no values. Load the weights first.")
def state_dict_without_values(_: Place) -> None:
    _merged(x=torch.empty(2, device="meta"))


@provokes(
    "{model}: tensor {tensor} is not a plain dense tensor ({kind}). Convert it first (dequantize, to_dense, "
    "full_tensor)."
)
def state_dict_with_sparse_tensor(_: Place) -> None:
    _merged(x=torch.eye(2).to_sparse())


@provokes(
    "{model}: tensor {tensor} has element type {dtype}, which safetensors cannot hold. Convert it to one of {dtypes}."
)
def state_dict_with_large_complex_numbers(_: Place) -> None:
    _merged(x=torch.ones(2, dtype=torch.complex128))
