"""Adapters that are incomplete, of another base, or of a kind that is not read."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch

import cuvee
from cuvee.spec import Source
from docs.errors.checkpoints import opened, read
from docs.errors.scenarios import Place, provokes

Shapes = Mapping[str, tuple[int, ...]]

LAYER = "model.layers.0.self_attn.q_proj"
BASE: Shapes = {"model.embed_tokens.weight": (6, 4), f"{LAYER}.weight": (4, 4)}
ROOT = "base_model.model."
Q = f"{ROOT}{LAYER}."
E = f"{ROOT}model.embed_tokens."
FACTORS: Shapes = {f"{Q}lora_A.weight": (2, 4), f"{Q}lora_B.weight": (4, 2)}


def _base(tensors: Mapping[str, torch.Tensor] | None = None, **config: object) -> None:
    """Make the folder of a base."""
    Path("base").mkdir()
    made = {name: torch.ones(shape) for name, shape in BASE.items()}
    safetensors.torch.save_file({**(made if tensors is None else tensors)}, "base/model.safetensors")
    Path("base/config.json").write_text(json.dumps(config))


def _adapter(shapes: Shapes = FACTORS, dtype: torch.dtype = torch.float32, **config: object) -> None:
    """Make the folder of an adapter."""
    Path("adapter").mkdir()
    tensors = {name: torch.ones(shape, dtype=dtype) for name, shape in shapes.items()}
    safetensors.torch.save_file(tensors, "adapter/adapter_model.safetensors")
    Path("adapter/adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, **config}))


def _open(shapes: Shapes = FACTORS, dtype: torch.dtype = torch.float32, **config: object) -> Source:
    """Open an adapter on the base, which is made if it is not there."""
    if not Path("base").exists():
        _base()
    _adapter(shapes, dtype, **config)
    return cuvee.open_source("base+adapter")


# Folders


@provokes("'{path}' is not a local folder or file.…")
def adapter_that_is_not_there(_: Place) -> None:
    _base()
    cuvee.open_source("base+nowhere")


@provokes("{folder} is not the folder of an adapter.…")
def file_instead_of_an_adapter(place: Place) -> None:
    _base()
    safetensors.torch.save_file({"lora_A": torch.ones(1)}, place.folder / "adapter_model.safetensors")
    cuvee.open_source("base+adapter_model.safetensors")


@provokes("{file} cannot be read: {reason}.")
def adapter_that_no_folder_can_be_called(_: Place) -> None:
    _base()
    cuvee.open_source("base+" + "adapter" * 1000)


@provokes(
    "{folder} holds no adapter: adapter_model.safetensors is missing. In BASE+ADAPTER, adapters come after the base."
)
def model_instead_of_adapter(_: Place) -> None:
    _base()
    cuvee.open_source("base+base")


@provokes(
    "{folder} holds adapter_model.safetensors but no adapter_config.json, which says how to scale it. Download both."
)
def adapter_without_configuration(_: Place) -> None:
    _base()
    _adapter()
    Path("adapter/adapter_config.json").unlink()
    cuvee.open_source("base+adapter")


# Configurations


@provokes("{file}: 'peft_type' is {kind}; only LORA and IA3 are read. …")
def adapter_of_another_kind(_: Place) -> None:
    _open(peft_type="VERA")


@provokes("{file}: the option '{option}' ({value}) is not read. …")
def adapter_with_an_option_of_tomorrow(_: Place) -> None:
    _open(layer_replication=[[0, 2], [1, 2]])


@provokes(
    "{file}: 'init_lora_weights' is {value}: the adapter was trained on a base that this way to begin had "
    "changed, and does not fit the base as it is. …"
)
def adapter_on_a_changed_base(_: Place) -> None:
    _open(init_lora_weights="pissa")


@provokes(
    "{folder}/adapter_config.json: '{key}' is {value}; expected {what}. Correct it, or save the adapter again "
    "with peft."
)
def adapter_with_rank_as_text(_: Place) -> None:
    _open(r="2")


@provokes(
    "{file}: the expression {expression} could take very long to match; expected {what}. Write it in simpler terms."
)
def adapter_with_an_expression_that_takes_long(_: Place) -> None:
    _open(rank_pattern={"(.*a)*b": 2})


@provokes("{file}: {expression} is not a regular expression: {reason}.")
def adapter_with_an_expression_that_is_none(_: Place) -> None:
    _open(alpha_pattern={"q_proj(": 2})


@provokes("{file} was changed during the merge. Merge again when nothing writes to it.")
def adapter_configuration_that_is_written_during_the_merge(place: Place) -> None:
    _open().close()
    source = opened(place, "base+adapter")
    Path("adapter/adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 32}')
    source.check_unchanged()


@provokes("{file} cannot be read: {reason}.")
def adapter_configuration_that_is_removed_during_the_merge(place: Place) -> None:
    _open().close()
    source = opened(place, "base+adapter")
    Path("adapter/adapter_config.json").unlink()
    source.check_unchanged()


# The adapter's file


@provokes(
    "{file}: tensor {tensor} is of no kind that peft saves for {kind}; expected factors, vectors or whole "
    "tensors of modules. Save the adapter again with peft."
)
def adapter_with_a_tensor_of_no_kind(_: Place) -> None:
    _open({**FACTORS, f"{Q}lora_A.bias": (2,)})


@provokes("{file}: tensor {tensor} is {dtype}; expected floating-point numbers. …")
def adapter_of_whole_numbers(_: Place) -> None:
    _open(dtype=torch.int8)


@provokes("{file} holds adapters called {names}; expected one. Save them one by one.")
def two_adapters_in_one_file(_: Place) -> None:
    _open({f"{Q}{role}.{name}.weight": (2, 2) for role in ("lora_A", "lora_B") for name in ("math", "code")})


@provokes("{file}: {tensor} and {tensor} are the same tensor of one module. …")
def factor_under_two_names(_: Place) -> None:
    _open({**FACTORS, f"{LAYER}.lora_A.weight": (2, 4)})


@provokes("{file}: {tensor} and {tensor} are the same tensor of the base, and differ. …")
def module_that_was_saved_twice(_: Place) -> None:
    _base()
    _adapter({f"{E}weight": (6, 4)})
    twice = {f"{E}weight": torch.ones(6, 4), f"{E}base_layer.weight": torch.zeros(6, 4)}
    safetensors.torch.save_file(twice, "adapter/adapter_model.safetensors")
    cuvee.open_source("base+adapter")


@provokes("{file}: {tensor} was replaced, but what replaces it is missing. …")
def module_whose_replacement_is_missing(_: Place) -> None:
    _open({f"{E}original_module.weight": (6, 4)})


@provokes("{file}: module {module} has no magnitudes; the configuration says DoRA ('use_dora'). …")
def magnitudes_that_are_missing(_: Place) -> None:
    _open(use_dora=True)


@provokes(
    "{file}: tensor {tensor} is of no use: {reason}. The file is incomplete, or adapter_config.json is another "
    "adapter's."
)
def factor_without_the_other(_: Place) -> None:
    _open({f"{Q}lora_A.weight": (2, 4)})


@provokes(
    "{file}: tensor {tensor} is of no use: {reason}. The file is incomplete, or adapter_config.json is another "
    "adapter's."
)
def tokens_that_the_configuration_does_not_name(_: Place) -> None:
    _open({f"{E}token_adapter.trainable_tokens_delta": (1, 4)})


# Adapter and base


@provokes("{file} changes {tensor}, which {base} lacks.…")
def base_of_another_family(_: Place) -> None:
    _base({"transformer.h.0.attn.c_attn.weight": torch.ones(4, 12)})
    _open(base_model_name_or_path="org/llama")


@provokes("{file} changes {tensor}, which {base} lacks: its head is its embedding. …")
def factors_of_a_head_that_is_tied(_: Place) -> None:
    _open({f"{ROOT}lm_head.lora_A.weight": (2, 4), f"{ROOT}lm_head.lora_B.weight": (6, 2)})


APART = (
    "{file} holds {what} of its own, {tensor}, and {base} ties its head to its embedding, which other parts of it use, "
)


@provokes(APART + "too. …")
def head_of_its_own(_: Place) -> None:
    _base(tie_word_embeddings=True)
    _open({f"{ROOT}lm_head.weight": (6, 4)}, modules_to_save=["lm_head"])


@provokes(APART + "too. …")
def embedding_of_its_own(_: Place) -> None:
    _base(tie_word_embeddings=True)
    _open({f"{E}weight": (6, 4)}, modules_to_save=["embed_tokens"])


@provokes("{base}: the adapter's {tensor} could be {tensors}. …")
def two_towers_in_the_base(_: Place) -> None:
    _base({f"{side}.{LAYER}.weight": torch.ones(4, 4) for side in ("text", "image")})
    _open()


@provokes("{file}: tensor {tensor} is stored as {dtype}; adapters are added to floating-point weights only. …")
def base_that_is_quantised(_: Place) -> None:
    _base({f"{LAYER}.weight": torch.ones(4, 4, dtype=torch.int8)})
    _open()


@provokes("{file}: tensor {tensor} has shape {shape}; for {tensor} of shape {shape} in {base}, expected {shape}. …")
def rank_of_another_configuration(_: Place) -> None:
    _open(r=8)


@provokes("{file}: tensor {tensor} of shape {shape} stands for {tensor}, of shape {shape} in {base}. …")
def vocabulary_that_was_enlarged(_: Place) -> None:
    _open({**FACTORS, f"{E}weight": (8, 4)})


@provokes("{file}: token {token} is trained, and {tensor} in {base} has shape {shape}. …")
def token_beyond_the_vocabulary(_: Place) -> None:
    _open({f"{E}token_adapter.trainable_tokens_delta": (1, 4)}, trainable_token_indices=[6])


@provokes("{file} changes {tensor} in more than one way. …")
def factors_and_tokens_of_one_embedding(_: Place) -> None:
    factors = {f"{E}lora_embedding_A": (2, 6), f"{E}lora_embedding_B": (4, 2)}
    _open({**factors, f"{E}token_adapter.trainable_tokens_delta": (1, 4)}, trainable_token_indices=[5])


@provokes("{file}: {tensor} and {tensor} both stand for {tensor} of {base}. …")
def two_names_of_one_tensor(_: Place) -> None:
    _open({f"{ROOT}model.embed_tokens.weight": (6, 4), f"{ROOT}embed_tokens.weight": (6, 4)})


@provokes("{file} changes {tensor} and {tensor}, which are one tensor in {base}. …")
def both_names_of_a_tied_tensor(_: Place) -> None:
    shared = torch.ones(6, 4)
    torch.save({"model.embed_tokens.weight": shared, "lm_head.weight": shared}, "base.bin")
    head = {f"{ROOT}lm_head.lora_A.weight": (2, 4), f"{ROOT}lm_head.lora_B.weight": (6, 2)}
    _adapter({**head, f"{E}lora_embedding_A": (2, 6), f"{E}lora_embedding_B": (4, 2)})
    cuvee.open_source("base.bin+adapter")


@provokes(
    "{file}: {module} is a convolution in groups, whose factors cannot be merged; peft cannot either. Train an "
    "adapter that leaves it out."
)
def convolution_in_groups(_: Place) -> None:
    _base({"conv.weight": torch.ones(8, 2, 3)})
    _open({"conv.lora_A.weight": (2, 4, 3), "conv.lora_B.weight": (8, 1, 1)})


@provokes("{file}: {tensor} is added to the bias of {module}, which has none in {base}. …")
def bias_that_the_base_lacks(_: Place) -> None:
    _open({**FACTORS, f"{Q}lora_B.bias": (4,)})


@provokes("{model}: {tensor}: {axis} {number} is all zero with the adapter added, and DoRA cannot give it a norm. …")
def row_without_norm(place: Place) -> None:
    _base({f"{LAYER}.weight": torch.zeros(4, 4)})
    _adapter({**FACTORS, f"{Q}lora_magnitude_vector": (4,)}, use_dora=True, lora_alpha=0)
    read(opened(place, "base+adapter"), f"{LAYER}.weight")


# Packed experts


def _experts(factors: Shapes, parameters: list[str], **config: object) -> None:
    """Open an adapter on a base with packed experts, two of three outputs and five inputs each."""
    _base({f"experts.{name}": torch.ones(2, 3, 5) for name in ("one", "two")})
    _open(factors, target_parameters=parameters, **config)


EXPERTS: Shapes = {"experts.lora_A.weight": (4, 5), "experts.lora_B.weight": (3, 4)}


@provokes(
    "{file} has {number} pairs of factors for {module}, and 'target_parameters' names {number} of its "
    "parameters. The configuration is another adapter's."
)
def factors_of_more_parameters_than_are_named(_: Place) -> None:
    below = {name.replace("experts.", "experts.base_layer."): shape for name, shape in EXPERTS.items()}
    _experts({**EXPERTS, **below}, ["experts.one"])


@provokes(
    "{file}: {tensor} is beside the factors of a parameter ('target_parameters'), which have neither bias nor "
    "magnitudes. The configuration is another adapter's."
)
def bias_of_a_parameter(_: Place) -> None:
    _experts({**EXPERTS, "experts.lora_B.bias": (3,)}, ["experts.one"])


@provokes("{file}: the shapes of the factors of {module} leave open which belong to which of {parameters}. …")
def factors_that_fit_two_parameters(_: Place) -> None:
    _experts(EXPERTS, ["experts.one", "experts.two"])


@provokes(
    "{file}: the factors of {module} have shapes {shapes} and rank {rank} by the configuration, which fits none "
    "of {parameters} in {base}. The adapter is another base's."
)
def factors_that_fit_no_parameter(_: Place) -> None:
    _experts(EXPERTS, ["experts.one"], r=3)


@provokes(
    "{file} changes {parameters} of {module} (factors of shapes {shapes}), and {base} has neither these nor "
    "experts kept apart that would make them up. …"
)
def parameters_that_the_base_lacks(_: Place) -> None:
    _experts(EXPERTS, ["experts.three"])
