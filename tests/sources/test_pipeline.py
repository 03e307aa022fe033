import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import cuvee
from cuvee.architectures.layers import depth_of, layer_of
from cuvee.architectures.roles import role_of
from cuvee.errors import FormatError, SourceError, UnsupportedError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.open import open_source
from cuvee.sources.pipeline import Pipeline
from cuvee.spec import DTYPES, TensorSpec, folders_of
from sources.hub_server import Hub

INDEX = {
    "_class_name": "SomePipeline",
    "requires_safety_checker": False,
    "some_numbers": [1, 2],
    "image_encoder": [None, None],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
TEXT = {"embeddings.weight": torch.arange(6.0).reshape(2, 3)}
UNET = {"conv_in.weight": torch.arange(4.0), "conv_out.bias": torch.ones(2)}


def save(folder: Path, tensors: dict[str, torch.Tensor], name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / name)
    (folder / "config.json").write_text('{"a": 1}')


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    out = tmp_path / "pipeline"
    save(out / "text_encoder", TEXT, "model.safetensors")
    save(out / "unet", UNET, "diffusion_pytorch_model.safetensors")
    (out / "tokenizer").mkdir()
    (out / "tokenizer" / "vocab.json").write_text("{}")
    (out / "model_index.json").write_text(json.dumps(INDEX))
    return out


def read(source: Any) -> dict[str, torch.Tensor]:
    found = {}
    for name, spec in source.header.items():
        buffer = bytearray(spec.nbytes)
        source.read_into(memoryview(buffer), name)
        found[name] = torch.frombuffer(buffer, dtype=getattr(torch, spec.dtype.torch_name)).reshape(spec.shape)
    return found


def test_tensors_are_named_by_component_and_read_from_its_files(pipeline: Path) -> None:
    source = open_source(pipeline)
    expected = {f"text_encoder/{k}": v for k, v in TEXT.items()} | {f"unet/{k}": v for k, v in UNET.items()}
    torch.testing.assert_close(read(source), expected, rtol=0, atol=0)
    assert list(source.header) == list(expected)
    assert source.locate("unet/conv_out.bias") == str(pipeline / "unet" / "diffusion_pytorch_model.safetensors")
    assert source.cost("unet/conv_out.bias") == 8
    assert folders_of(source) == {"text_encoder": "model", "unet": "diffusion_pytorch_model"}
    assert source.config == {"text_encoder": {"a": 1}, "unet": {"a": 1}}
    files = {"model_index.json", "text_encoder/config.json", "tokenizer/vocab.json", "unet/config.json"}
    assert set(source.sidecars) == files
    assert source.location == str(pipeline)
    assert {pipeline, pipeline / "unet"} <= {*source.paths}
    with pytest.raises(SourceError, match=r"has no tensor 'unet/conv_in\.wight'.*unet/conv_in\.weight"):
        source.cost("unet/conv_in.wight")
    source.close()


def test_a_component_by_itself_has_no_folders(pipeline: Path) -> None:
    assert folders_of(open_source(pipeline / "unet")) == {}


def test_identity_changes_with_a_component_and_a_change_is_noticed(pipeline: Path) -> None:
    source = open_source(pipeline)
    before = source.identity
    source.check_unchanged()
    save(pipeline / "unet", {**UNET, "more": torch.ones(1)}, "diffusion_pytorch_model.safetensors")
    with pytest.raises(SourceError, match="unet"):
        source.check_unchanged()
    assert open_source(pipeline).identity != before


@pytest.mark.parametrize("name", ["model_index.json", "tokenizer/vocab.json", "unet/config.json"])
def test_a_small_file_of_a_pipeline_that_changes_is_noticed(name: str, pipeline: Path) -> None:
    source = open_source(pipeline)
    with (pipeline / name).open("a") as file:
        file.write(" ")
    with pytest.raises(SourceError, match=f"{name} was changed during the merge"):
        source.check_unchanged()
    assert open_source(pipeline).identity != source.identity


def test_a_variant_is_read_where_there_is_no_other(pipeline: Path) -> None:
    plain = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    half = {name: tensor.half() for name, tensor in UNET.items()}
    save(pipeline / "unet", half, "diffusion_pytorch_model.fp16.safetensors")
    assert open_source(pipeline).header["unet/conv_out.bias"].dtype.name == "F32"
    plain.unlink()
    source = open_source(pipeline)
    assert source.header["unet/conv_out.bias"].dtype.name == "F16"
    assert folders_of(source)["unet"] == "diffusion_pytorch_model"


def test_a_variant_in_several_files_is_read(pipeline: Path) -> None:
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    files = {name: f"diffusion_pytorch_model.fp16-0000{i + 1}-of-00002.safetensors" for i, name in enumerate(UNET)}
    for name, file in files.items():
        save(pipeline / "unet", {name: UNET[name]}, file)
    index = pipeline / "unet" / "diffusion_pytorch_model.safetensors.index.fp16.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    source = open_source(pipeline)
    assert {name for name in source.header if name.startswith("unet/")} == {f"unet/{name}" for name in UNET}
    assert folders_of(source)["unet"] == "diffusion_pytorch_model"


@pytest.mark.parametrize(("library", "stem"), [("diffusers", "diffusion_pytorch_model"), ("mine", "model")])
def test_files_of_other_names_are_to_be_called_what_the_library_expects(
    library: str, stem: str, pipeline: Path
) -> None:
    unet = pipeline / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "weights.safetensors")
    (pipeline / "model_index.json").write_text(json.dumps({**INDEX, "unet": [library, "X"]}))
    assert folders_of(open_source(pipeline))["unet"] == stem


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", ".hidden", "a\\b", "", "zero\0"])
def test_a_component_elsewhere_is_refused(name: str, pipeline: Path) -> None:
    (pipeline / "model_index.json").write_text(json.dumps({**INDEX, name: ["diffusers", "X"]}))
    with pytest.raises(FormatError, match="expected the bare name of a folder"):
        open_source(pipeline)


@pytest.mark.parametrize("value", [["diffusers"], ["diffusers", 3], ["a", "b", "c"], [None, None, "x"]])
def test_a_component_that_is_no_pair_is_refused(value: Any, pipeline: Path) -> None:
    (pipeline / "model_index.json").write_text(json.dumps({**INDEX, "unet": value}))
    with pytest.raises(FormatError, match=r"component 'unet' is .*expected \[library, class\]"):
        open_source(pipeline)


def test_a_missing_folder_is_named(pipeline: Path) -> None:
    (pipeline / "model_index.json").write_text(json.dumps({**INDEX, "vae": ["diffusers", "AutoencoderKL"]}))
    with pytest.raises(FormatError, match=r"names the component 'vae', but there is no such folder"):
        open_source(pipeline)


def test_a_component_without_its_weights_is_named(pipeline: Path) -> None:
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"unet holds no \.safetensors file"):
        open_source(pipeline)


def test_pickled_weights_of_a_component_are_refused(pipeline: Path) -> None:
    weights = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    (pipeline / "unet" / "config.json").unlink()
    with pytest.raises(SourceError, match=r"unet.diffusion_pytorch_model\.bin holds pickled weights"):
        open_source(pipeline)


def test_a_pipeline_without_weights_is_refused(pipeline: Path) -> None:
    (pipeline / "model_index.json").write_text('{"tokenizer": ["transformers", "CLIPTokenizer"]}')
    with pytest.raises(UnsupportedError, match="no component has weights"):
        open_source(pipeline)


def test_an_adapter_of_a_pipeline_is_refused(pipeline: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"is a pipeline of several models.*text_encoder\+some"):
        open_source(f"{pipeline}+some")


def test_an_adapter_is_not_extracted_from_a_pipeline(pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"is a pipeline of several models.*/text_encoder\.$"):
        cuvee.extract(pipeline, pipeline, tmp_path / "out", rank=2)


def test_an_address_holds_a_pipeline(pipeline: Path) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.put(str(pipeline), "/pipelines/one", recursive=True)
    try:
        source = open_source("memory://pipelines/one")
        assert isinstance(source, Pipeline)
        torch.testing.assert_close(read(source)["unet/conv_in.weight"], UNET["conv_in.weight"])
        assert source.sidecars["tokenizer/vocab.json"].read_bytes() == b"{}"
        source.close()
    finally:
        memory.rm("/pipelines", recursive=True)


def test_a_pipeline_on_the_hub_is_downloaded_by_component(pipeline: Path, hub: Hub) -> None:
    files = {path.relative_to(pipeline).as_posix(): path.read_bytes() for path in pipeline.rglob("*") if path.is_file()}
    commit = hub.add("org/model", files)
    source = open_source("org/model")
    assert isinstance(source, Pipeline)
    assert source.location == f"org/model@{commit}"
    weights = {"model.safetensors", "diffusion_pytorch_model.safetensors"}
    assert not weights & hub.asked("GET")
    source.fetch(["unet/conv_in.weight"])
    assert weights & hub.asked("GET") == {"diffusion_pytorch_model.safetensors"}
    expected = {f"text_encoder/{k}": v for k, v in TEXT.items()} | {f"unet/{k}": v for k, v in UNET.items()}
    torch.testing.assert_close(read(source), expected, rtol=0, atol=0)
    assert source.sidecars["tokenizer/vocab.json"].read_bytes() == b"{}"
    assert source.locate("unet/conv_out.bias") == f"org/model@{commit}/unet/diffusion_pytorch_model.safetensors"
    source.check_unchanged()
    source.close()


def test_a_folder_that_the_hub_lacks_is_named(pipeline: Path, hub: Hub) -> None:
    hub.add("org/model", {"model_index.json": (pipeline / "model_index.json").read_bytes()})
    with pytest.raises(FormatError, match=r"names the component 'text_encoder', but there is no such folder"):
        open_source("org/model")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv_in.weight", (4, 4, 3, 3)),
        ("conv_out.weight", (4, 4, 3, 3)),
        ("0.weight", (4, 4)),
        ("text_model.embeddings.token_embedding.weight", (4, 4)),
        ("shared.weight", (4, 4)),
        ("lm_head.weight", (4, 4)),
        ("down_blocks.0.attentions.1.norm.weight", (4,)),
    ],
)
def test_role_and_depth_are_those_within_the_component(name: str, shape: tuple[int, ...]) -> None:
    spec = TensorSpec(shape, DTYPES["F32"])
    assert role_of(f"unet/{name}", spec) == role_of(name, spec)
    assert depth_of(f"unet/{name}", {}) == depth_of(name, {})
    inner, outer = layer_of(name), layer_of(f"unet/{name}")
    assert (inner is None) == (outer is None)
    if inner is not None and outer is not None:
        assert (outer.index, outer.rest) == (inner.index, inner.rest)
        assert outer.stack in ("unet", f"unet/{inner.stack}")


def test_component_checkpoints_are_what_the_pipeline_holds(pipeline: Path) -> None:
    alone = Checkpoint(pipeline / "unet")
    source = open_source(pipeline)
    assert {f"unet/{name}": spec for name, spec in alone.header.items()}.items() <= source.header.items()
    assert load_file(pipeline / "unet" / "diffusion_pytorch_model.safetensors").keys() == alone.header.keys()
