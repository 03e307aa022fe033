"""Adapters that are broken, of another base, or of a kind that is not read: one clear error each, before a weight."""

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig

from cuvee.errors import CuveeError, FormatError, SourceError, UnsupportedError
from cuvee.sources.adapter.configuration import read_configuration
from cuvee.sources.adapter.names import role_of
from cuvee.sources.open import open_source
from sources.adapter.adapters import MODELS, make, reconfigure, rewrite

Q = "base_model.model.model.layers.0.self_attn.q_proj."
E = "base_model.model.model.embed_tokens."
Tensors = dict[str, torch.Tensor]


def refused(folder: Path, kind: type[CuveeError], match: str, base: Path | None = None) -> None:
    """Expect one error; nothing stays open."""
    with pytest.raises(kind, match=match) as caught:
        open_source(f"{base or folder / 'base'}+{folder / 'adapter'}")
    assert caught.type is kind


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"peft_type": "VERA"},
            r"adapter_config\.json: 'peft_type' is 'VERA'; only LORA and IA3 are read\. Merge it with peft",
        ),
        ({"peft_type": None}, "'peft_type' is None"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "the option 'layer_replication' .* is not read. Merge it with peft"),
        ({"alora_invocation_tokens": [1]}, "the option 'alora_invocation_tokens'"),
        ({"use_qalora": True}, "the option 'use_qalora'"),
        ({"use_bdlora": {"nblocks": 2}}, "the option 'use_bdlora'"),
        ({"megatron_config": {"a": 1}}, "the option 'megatron_config'"),
        ({"option_of_tomorrow": 3}, "the option 'option_of_tomorrow'"),
        *[
            (
                {"init_lora_weights": start},
                f"'init_lora_weights' is '{start}'.*path_initial_model_for_weight_conversion",
            )
            for start in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "of_tomorrow")
        ],
    ],
    ids=str,
)
def test_kinds_that_are_not_read(options: dict[str, object], match: str, llama: Path) -> None:
    reconfigure(llama / "adapter", **options)
    refused(llama, UnsupportedError, match)


@pytest.mark.parametrize("options", [{"init_lora_weights": "eva"}, {"option_of_tomorrow": None}, {"lora_dropout": 0.5}])
def test_options_without_effect_are_ignored(options: dict[str, object], llama: Path) -> None:
    reconfigure(llama / "adapter", **options)
    open_source(f"{llama}/base+{llama}/adapter").close()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"r": 0}, "'r' is 0; expected whole numbers from 1"),
        ({"r": "4"}, "'r' is '4'"),
        ({"r": True}, "'r' is True"),
        ({"lora_alpha": "x"}, "'lora_alpha' is 'x'; expected finite numbers"),
        ({"lora_alpha": 1e999}, "'?lora_alpha|not a JSON number"),
        ({"use_dora": "yes"}, "'use_dora' is 'yes'; expected true or false"),
        ({"rank_pattern": [1]}, "'rank_pattern' is .*expected an object"),
        ({"rank_pattern": {"q_proj": -1}}, "'rank_pattern' .* expected whole numbers from 1"),
        ({"alpha_pattern": {"(": 1}}, r"'\(' is not a regular expression"),
        ({"alpha_pattern": {"(a+)+": 1}}, r"'\(a\+\)\+' could take very long to match"),
        ({"alpha_pattern": {".*.*.*.*.*x": 1}}, "could take very long to match"),
        ({"modules_to_save": "lm_head"}, "'modules_to_save' is 'lm_head'; expected a list of texts"),
        ({"target_parameters": [3]}, "'target_parameters' is .*expected a list of texts"),
        ({"trainable_token_indices": [-1]}, "'trainable_token_indices' is .*row numbers"),
        ({"trainable_token_indices": [1, 1]}, "'trainable_token_indices' is .*each row once"),
        ({"r": 8}, r"lora_embedding_A' has shape \(4, 40\).*expected \(8, 40\)"),
        ({"rank_pattern": {"q_proj": 2}}, r"lora_A\.weight' has shape \(4, 16\).*expected \(2, 16\), the rank being 2"),
        ({"use_dora": True}, "'model.embed_tokens' has no magnitudes; the configuration says DoRA"),
        ({"peft_type": "IA3"}, "is of no use: the configuration is of IA3|is of no use: the configuration does not"),
    ],
    ids=str,
)
def test_wrong_configurations(options: dict[str, object], match: str, llama: Path) -> None:
    reconfigure(llama / "adapter", **options)
    refused(llama, FormatError, match)


def without(name: str) -> Callable[[Tensors], Tensors]:
    """Leave a tensor out."""
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def also(**more: torch.Tensor) -> Callable[[Tensors], Tensors]:
    """Put tensors in."""
    return lambda tensors: {**tensors, **more}


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (without(f"{Q}lora_B.weight"), FormatError, "lora_A.weight' is of no use: its module has no lora_B"),
        (without(f"{E}lora_embedding_A"), FormatError, "embedding_B' is of no use: its module has no lora_embedding_A"),
        (also(**{f"{Q}lora_A.twin.weight": torch.ones(1)}), FormatError, "holds adapters called"),
        (also(**{f"{Q}lora_C.weight": torch.ones(1)}), SourceError, "q_proj.lora_C.weight', which .* lacks"),
        (also(**{f"{Q}lora_A.bias": torch.ones(1)}), FormatError, "is of no kind that peft saves"),
        (also(**{f"{Q}lora_magnitude_vector": torch.ones(16)}), FormatError, "does not speak of it"),
        (also(**{f"{Q}ia3_l": torch.ones(16, 1)}), FormatError, "is of no use: the configuration is of LORA"),
        (also(**{f"{E}token_adapter.trainable_tokens_delta": torch.ones(1, 16)}), FormatError, "names no tokens"),
        (also(**{f"{Q}lora_B.weight": torch.ones(16, 3)}), FormatError, r"has shape \(16, 3\).*expected \(16, 4\)"),
        (also(**{f"{Q}lora_A.weight": torch.ones(4, 9)}), FormatError, r"has shape \(4, 9\).*expected \(4, 16\)"),
        (also(**{f"{Q}lora_A.weight": torch.ones(4)}), FormatError, r"has shape \(4,\)"),
        (also(**{f"{Q}lora_A.weight": torch.ones(4, 16, dtype=torch.int8)}), UnsupportedError, "is I8; expected float"),
        (also(**{f"{Q}lora_B.bias": torch.ones(16)}), SourceError, "which has none in .*cannot be merged"),
        (also(**{"base_model.model.score.weight": torch.ones(2, 16)}), SourceError, "'score.weight', which .* lacks"),
        (
            also(**{f"{E}base_layer.weight": torch.ones(44, 16)}),
            SourceError,
            "If the adapter's vocabulary was enlarged",
        ),
        (also(**{f"{Q}original_module.weight": torch.ones(1)}), FormatError, "but what replaces it is missing"),
        (
            also(**{f"{E}weight": torch.ones(40, 16), f"{E}base_layer.weight": torch.zeros(40, 16)}),
            FormatError,
            "are the same tensor of the base, and differ",
        ),
    ],
)
def test_tensors_that_do_not_fit(
    change: Callable[[Tensors], Tensors], kind: type[CuveeError], match: str, llama: Path
) -> None:
    rewrite(llama / "adapter", change)
    refused(llama, kind, match)


def test_the_base_of_another_size_is_refused(llama: Path) -> None:
    tensors = safetensors.torch.load_file(llama / "base" / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.weight"] = torch.ones(24, 24)
    safetensors.torch.save_file(tensors, llama / "base" / "model.safetensors")
    refused(llama, FormatError, r"for 'model.layers.0.self_attn.q_proj.weight' of shape \(24, 24\).*another base's")


def test_another_family_is_refused_with_what_the_adapter_was_made_for(llama: Path) -> None:
    MODELS["gpt2"]().save_pretrained(llama / "other")
    reconfigure(llama / "adapter", base_model_name_or_path="org/llama")
    match = "Name the base that the adapter was trained on. The adapter says that it was made for 'org/llama'"
    refused(llama, SourceError, match, llama / "other")


def test_two_bases_within_the_base_are_ambiguous(llama: Path) -> None:
    tensors = safetensors.torch.load_file(llama / "base" / "model.safetensors")
    twice = {f"{side}.{name}": tensor.clone() for name, tensor in tensors.items() for side in ("left", "right")}
    safetensors.torch.save_file(twice, llama / "base" / "model.safetensors")
    refused(llama, SourceError, "could be 'left.model.embed_tokens.weight' or 'right.model.embed_tokens.weight'")


def test_quantised_weights_are_refused(llama: Path) -> None:
    tensors = safetensors.torch.load_file(llama / "base" / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.weight"] = torch.ones(16, 16, dtype=torch.int8)
    safetensors.torch.save_file(tensors, llama / "base" / "model.safetensors")
    refused(llama, UnsupportedError, "is stored as I8; adapters are added to floating-point weights only")


def test_convolutions_in_groups_are_refused(tmp_path: Path) -> None:
    config = LoraConfig(target_modules=["pos_conv_embed.conv", "conv_layers.1.conv"], r=4)
    with pytest.raises(NotImplementedError):  # by peft; base and adapter are written by then
        make(tmp_path, MODELS["wav2vec2"], config)
    base = tmp_path / "base" / "model.safetensors"
    tensors = safetensors.torch.load_file(base)  # as older models keep it
    names = [name for name in tensors if "pos_conv_embed.conv.parametrizations" in name]
    kept = {name: tensor for name, tensor in tensors.items() if name not in names}
    safetensors.torch.save_file({**kept, "encoder.pos_conv_embed.conv.weight": torch.ones(16, 8, 4)}, base)
    refused(tmp_path, UnsupportedError, "'encoder.pos_conv_embed.conv' is a convolution in groups")


def test_factors_of_a_head_that_the_base_ties_are_refused(tmp_path: Path) -> None:
    def tied() -> torch.nn.Module:
        return type(MODELS["llama"]())(
            MODELS["llama"]().config.__class__(**{**MODELS["llama"]().config.to_dict(), "tie_word_embeddings": True})
        )

    make(tmp_path, tied, LoraConfig(target_modules=["lm_head"], r=4))
    refused(tmp_path, SourceError, "its head is its embedding")


def test_a_token_beyond_the_embedding_is_refused(llama: Path) -> None:
    reconfigure(llama / "adapter", trainable_token_indices=[40])
    rewrite(llama / "adapter", lambda _: {f"{E}token_adapter.trainable_tokens_delta": torch.ones(1, 16)})
    refused(llama, FormatError, "token 40 is trained, and 'model.embed_tokens.weight' in .* has shape")


def test_two_changes_of_one_tensor_are_refused(llama: Path) -> None:
    reconfigure(llama / "adapter", trainable_token_indices=[4])
    rewrite(llama / "adapter", also(**{f"{E}token_adapter.trainable_tokens_delta": torch.ones(1, 16)}))
    refused(llama, UnsupportedError, "changes 'model.embed_tokens.weight' in more than one way")


def test_factors_that_fit_several_parameters_are_refused(tmp_path: Path) -> None:
    parameters = ["experts.one", "experts.two"]
    (tmp_path / "base").mkdir()
    (tmp_path / "adapter").mkdir()
    packed = {f"experts.{name}": torch.ones(2, 3, 5) for name in ("one", "two")}
    safetensors.torch.save_file(packed, tmp_path / "base" / "model.safetensors")
    factors = {"experts.lora_A.weight": torch.ones(4, 5), "experts.lora_B.weight": torch.ones(3, 4)}
    safetensors.torch.save_file(factors, tmp_path / "adapter" / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "target_parameters": parameters}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    refused(tmp_path, UnsupportedError, "leave open which belong to which of 'one', 'two'")
    reconfigure(tmp_path / "adapter", target_parameters=["experts.three"])
    refused(tmp_path, SourceError, "changes 'three' of 'experts'.*has neither these nor experts kept apart")
    reconfigure(tmp_path / "adapter", target_parameters=["experts.one"], r=3)
    refused(tmp_path, FormatError, r"rank 3 by the configuration|rank 3|fits none of")
    reconfigure(tmp_path / "adapter", target_parameters=["other.one"])
    refused(tmp_path, SourceError, "changes 'experts.weight'")


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.sampled_from([2**70, 10**400]), st.floats(), st.text(max_size=9)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = [field.name for field in dataclasses.fields(LoraConfig)] + ["feedforward_modules", "new"]


@settings(max_examples=300)
@given(fields=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3), kind=st.sampled_from(["LORA", "IA3"]))
def test_whatever_the_configuration_says_it_is_read_or_refused(fields: dict[str, object], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter_config.json"
        path.write_text(json.dumps({"peft_type": kind, **fields}))
        with contextlib.suppress(CuveeError):
            found = read_configuration(path.read_bytes(), str(path))
            found.scaling("model.layers.0.q_proj")
            found.scales_inputs("model.layers.0.q_proj")
            found.tokens("embed")
            found.parameters("experts")
            found.saves("classifier.weight")


@given(
    name=st.one_of(st.text(), st.from_regex(r"(base_model\.model\.)?(x\.|base_layer\.|lora_A\.|weight|default\.){1,5}"))
)
def test_whatever_a_tensor_is_called_it_has_a_role_or_none(name: str) -> None:
    role = role_of(name)
    assert role is None or isinstance(role.module, str)


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_truncated_files_are_refused(kept: int, llama: Path) -> None:
    file = llama / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused(llama, FormatError, r"adapter_model\.safetensors")


@pytest.mark.parametrize(
    ("missing", "match"),
    [
        ("adapter_config.json", r"no adapter_config\.json, which says how to scale it"),
        ("adapter_model.safetensors", r"holds no adapter: adapter_model\.safetensors is missing.*come after the base"),
    ],
)
def test_missing_files_are_named(missing: str, match: str, llama: Path) -> None:
    (llama / "adapter" / missing).unlink()
    refused(llama, SourceError, match)


def test_pickled_adapters_are_refused(llama: Path) -> None:
    (llama / "adapter" / "adapter_model.safetensors").rename(llama / "adapter" / "adapter_model.bin")
    refused(llama, SourceError, r"adapter_model.bin holds an adapter as pickled weights, .* Load it with peft")


def test_a_configuration_that_is_no_json_is_refused(llama: Path) -> None:
    (llama / "adapter" / "adapter_config.json").write_text("{")
    refused(llama, FormatError, r"adapter_config\.json is not valid JSON")


def test_an_adapter_alone_says_how_to_name_it(llama: Path) -> None:
    reconfigure(llama / "adapter", base_model_name_or_path="org/llama")
    with pytest.raises(
        UnsupportedError, match=r"Name the model it was trained on, too: BASE\+ADAPTER, here org/llama\+"
    ):
        open_source(llama / "adapter")
    (llama / "adapter" / "adapter_config.json").unlink()
    with pytest.raises(UnsupportedError, match=r"here BASE\+/"):
        open_source(llama / "adapter")


def test_a_file_instead_of_the_folder_is_refused(llama: Path) -> None:
    with pytest.raises(SourceError, match=r"is not the folder of an adapter\. Name its folder"):
        open_source(f"{llama}/base+{llama}/adapter/adapter_model.safetensors")


def test_what_is_no_adapter_is_refused(llama: Path) -> None:
    with pytest.raises(SourceError, match="merged holds no adapter"):
        open_source(f"{llama}/base+{llama}/merged")
    with pytest.raises(SourceError, match=r"nowhere. is not a local folder or file"):
        open_source(f"{llama}/base+{llama}/nowhere")
    with pytest.raises(UnsupportedError, match="holds an adapter"):
        open_source(f"{llama}/adapter+{llama}/base")
    shutil.rmtree(llama / "base")
    with pytest.raises(SourceError, match="base' is not a local folder"):
        open_source(f"{llama}/base+{llama}/adapter")


@pytest.mark.parametrize("shape", [(10**9, 0), (0, 10**9)])
def test_shapes_without_elements_take_no_memory(shape: tuple[int, int], llama: Path) -> None:
    """A file of a few bytes can name extents of any size as long as one of them is zero."""
    file = llama / "adapter" / "adapter_model.safetensors"
    header = json.dumps(
        {
            f"{Q}lora_A.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]},
            f"{Q}lora_B.weight": {"dtype": "F32", "shape": shape[::-1], "data_offsets": [0, 0]},
        }
    ).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    reconfigure(llama / "adapter", r=10**9)
    refused(llama, FormatError, "has shape")
    header = header.replace(b"self_attn.q_proj", b"mlp.experts")
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    reconfigure(llama / "adapter", r=1, target_parameters=["mlp.experts.gate_up_proj"])
    refused(llama, SourceError, "has neither these nor experts kept apart")
