"""Real names: what transformers' models of many families are made of, built on the meta device, without weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from cuvee.spec import DTYPES, Header, TensorSpec

NAMES_OF_DTYPES = {dtype.torch_name: dtype for dtype in DTYPES.values()}

# Encoders, decoders, both; mixtures of experts, state spaces, convolutions, vision, audio, several parts.
FAMILIES = (
    *("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3MoeForCausalLM", "MixtralForCausalLM", "Gemma2ForCausalLM"),
    *("GPT2LMHeadModel", "GPTNeoXForCausalLM", "GPTJForCausalLM", "FalconForCausalLM", "BloomForCausalLM"),
    *("OPTForCausalLM", "Phi3ForCausalLM", "MambaForCausalLM", "JambaForCausalLM", "RwkvForCausalLM"),
    *(
        "DeepseekV3ForCausalLM",
        "GptOssForCausalLM",
        "BertForPreTraining",
        "RobertaForMaskedLM",
        "DistilBertForMaskedLM",
    ),
    *("AlbertForMaskedLM", "ElectraForMaskedLM", "DebertaV2ForMaskedLM", "T5ForConditionalGeneration"),
    *("BartForConditionalGeneration", "WhisperForConditionalGeneration", "ViTForImageClassification", "CLIPModel"),
    *("ConvNextForImageClassification", "ResNetForImageClassification", "SwinForImageClassification", "SiglipModel"),
    *("Dinov2ForImageClassification", "BeitForImageClassification", "MobileNetV2ForImageClassification"),
    *("SegformerForSemanticSegmentation", "Wav2Vec2ForCTC", "LlavaForConditionalGeneration"),
    "Gemma3ForConditionalGeneration",
)
DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")


@dataclass(frozen=True)
class Family:
    """A model's names.

    Attributes:
        header: its state dict, tied names included.
        config: as `save_pretrained` would write it.
        modules: class of the module that owns each tensor.
        tied: alias to canonical name, by the model's own account.
    """

    header: Header
    config: Mapping[str, object]
    modules: Mapping[str, str]
    tied: Mapping[str, str]

    @property
    def stored(self) -> Header:
        """What `save_pretrained` would store: each tied weight once."""
        return {name: spec for name, spec in self.header.items() if name not in self.tied}


def family(class_name: str) -> Family:
    import torch
    import transformers

    model_class = getattr(transformers, class_name)
    default = model_class.config_class()
    config = model_class.config_class(
        **{key: 2 for key in DEPTHS if key in default.to_dict() and "swin" not in default.model_type}
    )
    with torch.device("meta"):
        model = model_class(config)
    modules = {name: type(module).__name__ for name, module in model.named_modules()}
    header = {
        name: TensorSpec(tuple(tensor.shape), NAMES_OF_DTYPES[str(tensor.dtype).removeprefix("torch.")])
        for name, tensor in model.state_dict().items()
    }
    tied = dict(model.get_expanded_tied_weights_keys(all_submodels=True))
    return Family(
        header=header,
        config={**config.to_diff_dict(), "architectures": [class_name]},
        modules={name: modules[name.rpartition(".")[0]] for name in header},
        tied={alias: tied.get(canonical, canonical) for alias, canonical in tied.items()},
    )


@pytest.fixture(scope="session")
def families() -> Mapping[str, Family]:
    """Every family of the list, by the name of its class."""
    return {class_name: family(class_name) for class_name in FAMILIES}
