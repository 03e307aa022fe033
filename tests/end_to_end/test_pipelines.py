"""Pipelines of several models, merged component by component and loaded by diffusers; single files in their style."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel

import cuvee
from cuvee.cli.inspect import inspect
from cuvee.errors import OutputError, PlanError
from cuvee.execute.verify import verify

diffusers = pytest.importorskip("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

UNET = "unet/diffusion_pytorch_model.safetensors"
Tensors = dict[str, torch.Tensor]


def tokenizer(folder: Path) -> CLIPTokenizer:
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def text_encoder() -> CLIPTextModel:
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {"vocab_size": 3, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return CLIPTextModel(CLIPTextConfig(**sizes, **words))


def vae() -> Any:
    return diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4, layers_per_block=1)


def stable_diffusion(seed: int, folder: Path) -> Any:
    torch.manual_seed(seed)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(folder),
        unet=unet,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def flux(seed: int) -> Any:
    torch.manual_seed(seed)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )
    t5 = T5EncoderModel(T5Config(vocab_size=5, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2))
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=None,
        text_encoder_2=t5,
        tokenizer_2=None,
        transformer=transformer,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return three pipelines of one architecture; the third has its UNet in several files."""
    made = []
    for seed in range(3):
        folder = tmp_path_factory.mktemp("words")
        out = tmp_path_factory.mktemp("pipeline")
        pipeline = stable_diffusion(seed, folder)
        pipeline.save_pretrained(out, safe_serialization=True)
        if seed == 2:
            shutil.rmtree(out / "unet")
            pipeline.unet.save_pretrained(out / "unet", max_shard_size="60KB")
            assert len(list((out / "unet").glob("*.safetensors"))) > 1
        made.append(out)
    return made


def recipe(method: str, models: list[Path], **more: Any) -> dict[str, Any]:
    """Write a recipe in which the last model is the base where the method needs one; thresholds are per tensor."""
    places = [str(model) for model in models]
    if method == "ties":
        more["parameters"] = {"density": 0.4, "trim_scope": "tensor"}
    if method == "linear":
        return {"cuvee": 1, "method": method, "models": places, **more}
    return {"cuvee": 1, "method": method, "models": places[:-1], "base": places[-1], **more}


def weights(folder: Path) -> Tensors:
    """Return what the safetensors library finds in a folder's weight files."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def assert_loads_as(out: Path, expected: dict[str, Tensors], **given: Any) -> None:
    """Verify that diffusers loads a pipeline, with these weights in each component."""
    loaded = diffusers.DiffusionPipeline.from_pretrained(out, **given)
    for component, tensors in expected.items():
        state = getattr(loaded, component).state_dict()
        torch.testing.assert_close({name: state[name] for name in tensors}, tensors, rtol=0, atol=0)


def merged_apart(method: str, models: list[Path], component: str, out: Path) -> Tensors:
    """Merge the folders of a component by themselves."""
    cuvee.merge(recipe(method, [model / component for model in models]), out)
    return weights(out)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties"])
def test_a_merge_of_pipelines_is_the_pipeline_of_merged_components(
    method: str, folders: list[Path], tmp_path: Path
) -> None:
    cuvee.merge(recipe(method, folders), tmp_path / "out")
    names = ("text_encoder", "unet", "vae")
    expected = {name: merged_apart(method, folders, name, tmp_path / name) for name in names}
    assert_loads_as(tmp_path / "out", expected)
    for name in names:
        assert weights(tmp_path / "out" / name).keys() == expected[name].keys()


def test_files_are_where_diffusers_looks_for_them(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe("linear", folders[:2]), tmp_path / "out")
    given, made = ({str(p.relative_to(top)) for p in top.rglob("*")} for top in (folders[0], tmp_path / "out"))
    assert made == given | {"README.md", "cuvee.json"}
    for name in ("model_index.json", "unet/config.json", "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folders[0] / name).read_bytes()
    assert "library_name: diffusers" in (tmp_path / "out" / "README.md").read_text()


def test_transformers_with_two_text_encoders_are_merged(tmp_path: Path) -> None:
    pipelines = [flux(seed) for seed in range(2)]
    for i, pipeline in enumerate(pipelines):
        pipeline.save_pretrained(tmp_path / str(i), safe_serialization=True)
    cuvee.merge(recipe("linear", [tmp_path / "0", tmp_path / "1"]), tmp_path / "out")
    expected = {
        name: {
            key: ((one.double() + other.double()) / 2).float()
            for (key, one), other in zip(
                getattr(pipelines[0], name).state_dict().items(),
                getattr(pipelines[1], name).state_dict().values(),
                strict=True,
            )
            if one.is_floating_point()
        }
        for name in ("transformer", "vae", "text_encoder", "text_encoder_2")
    }
    assert_loads_as(tmp_path / "out", expected, tokenizer=None, tokenizer_2=None)
    assert (tmp_path / "out" / "text_encoder_2" / "model.safetensors").is_file()
    assert (tmp_path / "out" / "transformer" / "diffusion_pytorch_model.safetensors").is_file()


@pytest.mark.parametrize("shard_size", ["5GB", "60KB"])
def test_one_component_is_written_as_diffusers_reads_it(folders: list[Path], tmp_path: Path, shard_size: str) -> None:
    places = [folder / "unet" for folder in folders[:2]]
    cuvee.merge(recipe("linear", places, output={"shard_size": shard_size}), tmp_path / "out")
    loaded = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "out").state_dict()
    torch.testing.assert_close(loaded, weights(tmp_path / "out"), rtol=0, atol=0)
    index = tmp_path / "out" / "diffusion_pytorch_model.safetensors.index.json"
    assert index.is_file() == (shard_size == "60KB")
    assert "library_name: diffusers" in (tmp_path / "out" / "README.md").read_text()


def test_a_text_encoder_by_itself_is_written_as_transformers_reads_it(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe("linear", [folder / "text_encoder" for folder in folders[:2]]), tmp_path / "out")
    CLIPTextModel.from_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "library_name: transformers" in (tmp_path / "out" / "README.md").read_text()


def test_the_output_is_divided_into_files_and_loads(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe("linear", folders, output={"shard_size": "60KB"}), tmp_path / "out")
    unet = tmp_path / "out" / "unet"
    index = json.loads((unet / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert {path.name for path in unet.glob("*.safetensors")} == {*index["weight_map"].values()}
    assert len({*index["weight_map"].values()}) > 1
    assert index["weight_map"].keys() == weights(folders[0] / "unet").keys()
    assert (tmp_path / "out" / "text_encoder" / "model.safetensors").is_file()
    assert_loads_as(tmp_path / "out", {"unet": merged_apart("linear", folders, "unet", tmp_path / "alone")})


def test_rules_treat_components_differently(folders: list[Path], tmp_path: Path) -> None:
    rules = [{"match": "vae/*", "copy": "base"}, {"match": "unet/*", "method": "linear"}]
    cuvee.merge(recipe("task_arithmetic", folders, tensors=rules), tmp_path / "out")
    expected = {
        "vae": weights(folders[2] / "vae"),
        "unet": merged_apart("linear", folders[:2], "unet", tmp_path / "unet"),
        "text_encoder": merged_apart("task_arithmetic", folders, "text_encoder", tmp_path / "text"),
    }
    assert_loads_as(tmp_path / "out", expected)


def test_each_component_is_told_its_own_type(folders: list[Path], tmp_path: Path) -> None:
    halved = tmp_path / "halved"
    shutil.copytree(folders[0], halved)
    file = halved / "text_encoder" / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    cuvee.merge(recipe("linear", [halved, halved]), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "text_encoder" / "config.json").read_text())["dtype"] == "float16"
    assert (tmp_path / "out" / "vae" / "config.json").read_bytes() == (halved / "vae" / "config.json").read_bytes()
    cuvee.merge(recipe("linear", folders[:2], output={"dtype": "bfloat16"}), tmp_path / "small")
    loaded = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "small", torch_dtype=torch.bfloat16)
    assert {loaded.unet.dtype, loaded.vae.dtype, loaded.text_encoder.dtype} == {torch.bfloat16}
    assert json.loads((tmp_path / "small" / "text_encoder" / "config.json").read_text())["dtype"] == "bfloat16"


def test_variants_are_written_under_the_plain_name(folders: list[Path], tmp_path: Path) -> None:
    variant = tmp_path / "variant"
    diffusers.DiffusionPipeline.from_pretrained(folders[0]).to(torch.float16).save_pretrained(variant, variant="fp16")
    assert (variant / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    cuvee.merge(recipe("linear", [variant, variant]), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "text_encoder").glob("*.safetensors")] == ["model.safetensors"]
    assert_loads_as(tmp_path / "out", {})
    torch.testing.assert_close(weights(tmp_path / "out" / "unet"), weights(variant / "unet"), rtol=0, atol=0)


def test_a_merge_within_a_merge_is_a_pipeline(folders: list[Path], tmp_path: Path) -> None:
    inner = recipe("linear", folders[:2])
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [inner, str(folders[2])]}, tmp_path / "out")
    cuvee.merge(inner, tmp_path / "step")
    cuvee.merge(recipe("linear", [tmp_path / "step", folders[2]]), tmp_path / "steps")
    for component in ("text_encoder", "unet", "vae"):
        one, two = weights(tmp_path / "out" / component), weights(tmp_path / "steps" / component)
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert_loads_as(tmp_path / "out", {})


def test_a_merge_is_inspected_and_verified(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    cuvee.merge(recipe("ties", folders), out)
    assert {finding.state for finding in verify(out, replay=True)} == {"same"}
    inspect(str(out), as_json=False, tensors=False)
    shown = capsys.readouterr().out
    assert UNET in shown
    assert "vae/diffusion_pytorch_model.safetensors" in shown
    tensors = load_file(out / UNET)
    tensors["conv_in.bias"] += 1
    save_file(tensors, out / UNET, {"format": "pt"})
    changed = next(finding for finding in verify(out) if finding.state == "changed")
    assert changed.part == "output"
    assert "unet/conv_in.bias" in changed.text
    (out / "unet" / "config.json").write_text("{}")
    (out / "tokenizer" / "tokenizer_config.json").unlink()
    parts = {finding.part: finding.state for finding in verify(out)}
    assert (parts["unet/config.json"], parts["tokenizer/tokenizer_config.json"]) == ("changed", "missing")


def test_an_earlier_merge_is_overwritten(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe("linear", folders[:2], output={"shard_size": "60KB"}), tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        cuvee.merge(recipe("linear", folders[1:]), tmp_path / "out")
    cuvee.merge(recipe("linear", folders[1:]), tmp_path / "out", overwrite=True, sync=True)
    assert_loads_as(tmp_path / "out", {"unet": merged_apart("linear", folders[1:], "unet", tmp_path / "alone")})


@pytest.mark.parametrize("foreign", ["notes.txt", "unet/notes.txt", "images/one.safetensors", "unet/deep/a.json"])
def test_a_pipeline_with_something_else_in_it_stays(foreign: str, folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folders[0], out)
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("mine")
    named = foreign if foreign.endswith(".txt") else str(Path(foreign).parent)
    with pytest.raises(OutputError, match=f"holds '{named}', which is no part of a checkpoint"):
        cuvee.merge(recipe("linear", folders[1:]), out, overwrite=True)
    assert (out / foreign).read_text() == "mine"


def test_a_linked_component_is_not_removed(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folders[0], out)
    (out / "vae").rename(tmp_path / "vae")
    (out / "vae").symlink_to(tmp_path / "vae")
    with pytest.raises(OutputError, match="holds 'vae'"):
        cuvee.merge(recipe("linear", folders[1:]), out, overwrite=True)
    assert any((tmp_path / "vae").iterdir())


def test_one_file_cannot_hold_a_pipeline(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="several models, in the folders text_encoder, unet, vae"):
        cuvee.merge(recipe("linear", folders[:2]), tmp_path / "out.safetensors")


def test_a_component_that_a_model_lacks_is_named(folders: list[Path], tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(folders[0], lacking)
    shutil.rmtree(lacking / "vae")
    index = json.loads((lacking / "model_index.json").read_text())
    (lacking / "model_index.json").write_text(json.dumps({**index, "vae": [None, None]}))
    with pytest.raises(PlanError, match=r"'m1' has no vae/\*\. Give a rule.*copy from a model that has them, or skip"):
        cuvee.merge(recipe("linear", [folders[1], lacking]), tmp_path / "out")
    rules = [{"match": "vae/*", "copy": "m0"}]
    cuvee.merge(recipe("linear", [folders[1], lacking], tensors=rules), tmp_path / "out")
    assert_loads_as(tmp_path / "out", {"vae": weights(folders[1] / "vae")})
    rules = [{"match": "vae/*", "copy": "m1"}]
    planned = cuvee.plan(recipe("linear", [lacking, folders[1]], tensors=rules))
    assert any("Check model_index.json before" in told for told in planned.warnings)


def test_single_files_in_the_style_of_the_first_releases_are_merged(tmp_path: Path) -> None:
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append({
            "model.diffusion_model.input_blocks.0.0.weight": torch.randn(4, 4, 3, 3),
            "model.diffusion_model.out.2.bias": torch.randn(4),
            "first_stage_model.decoder.conv_in.weight": torch.randn(4, 4, 3, 3),
            "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(8).reshape(1, 8),
            "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": torch.randn(5, 8),
            "model_ema.diffusion_modelinput_blocks00weight": torch.randn(4, 4, 3, 3),
            "model_ema.num_updates": torch.tensor(100 + seed, dtype=torch.int32),
        })  # fmt: skip
        save_file(models[-1], tmp_path / f"{seed}.safetensors")
    places = [tmp_path / "0.safetensors", tmp_path / "1.safetensors"]
    cuvee.merge(recipe("linear", places), tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert found.keys() == models[0].keys()
    for name, tensor in found.items():
        one, other = models[0][name], models[1][name]
        expected = ((one.double() + other.double()) / 2).float() if one.is_floating_point() else one
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-7)
    without = recipe("linear", places, tensors=[{"match": "model_ema.*", "skip": True}])
    cuvee.merge(without, tmp_path / "small.safetensors")
    kept = {name for name in models[0] if not name.startswith("model_ema.")}
    assert load_file(tmp_path / "small.safetensors").keys() == kept


def test_custom_code_of_a_component_travels_when_asked_and_is_overwritten(folders: list[Path], tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(folders[0], own)
    (own / "unet" / "my_unet.py").write_text("pass")
    (own / "pipeline.py").write_text("pass")
    out = tmp_path / "out"
    cuvee.merge(recipe("linear", [own, folders[1]]), out)
    assert not list(out.rglob("*.py"))
    for _ in range(2):
        cuvee.merge(recipe("linear", [own, folders[1]], output={"custom_code": True}), out, overwrite=True)
        assert (out / "unet" / "my_unet.py").read_text() == (out / "pipeline.py").read_text() == "pass"
    (out / "unet" / "other.py").write_text("mine")
    with pytest.raises(OutputError, match=r"holds 'unet.other\.py'"):
        cuvee.merge(recipe("linear", folders[:2]), out, overwrite=True)


def test_other_settings_and_tokenizers_of_components_are_told(folders: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folders[1], other)
    config = json.loads((other / "unet" / "config.json").read_text())
    (other / "unet" / "config.json").write_text(json.dumps({**config, "sample_size": 16, "_diffusers_version": "0"}))
    (other / "tokenizer" / "tokenizer.json").write_text("{}")
    notes = cuvee.merge(recipe("linear", [folders[0], other]), tmp_path / "out").notes
    assert any("configured otherwise" in note and "unet.sample_size (16, not 8)." in note for note in notes)
    assert any("another tokenizer" in note and "tokenizer/tokenizer.json" in note for note in notes)
