"""Tables with a row for each token: found in real families by their shapes alone, and told from others by name."""

import pytest
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    CLIPConfig,
    FalconConfig,
    GPTNeoXConfig,
    MambaConfig,
    PhiConfig,
    PreTrainedModel,
)

from cuvee.architectures.vocabulary import is_of_tokens, num_rows, resized, vocabulary_size, vocabulary_tensors
from cuvee.spec import DTYPES, Header, TensorSpec
from models import FAMILIES, VOCABULARY, build

TOKENS = 97  # no other extent of the models below


def header_of(model: PreTrainedModel) -> Header:
    return {name: TensorSpec(tuple(t.shape), DTYPES["F32"]) for name, t in model.state_dict().items()}


def by_shape(header: Header, tokens: int) -> set[str]:
    return {
        name for name, spec in header.items() if spec.shape and (spec.shape[0] == tokens or spec.shape == (1, tokens))
    }


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_tables_of_families_are_found(family: str, tied: bool) -> None:
    model = build(family, tied=tied)
    header = header_of(model)
    found = vocabulary_tensors(header, model.config.to_dict())
    assert set(found) == by_shape(header, VOCABULARY)
    assert set(found.values()) == {VOCABULARY}
    assert vocabulary_tensors(header, {}) == found


SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
OTHERS = {
    "gpt_neox": (AutoModelForCausalLM, GPTNeoXConfig, SMALL),
    "falcon": (AutoModelForCausalLM, FalconConfig, SMALL),
    "phi": (AutoModelForCausalLM, PhiConfig, SMALL),
    "mamba": (AutoModelForCausalLM, MambaConfig, {"hidden_size": 8, "num_hidden_layers": 1, "state_size": 2}),
    "bart": (
        AutoModelForSeq2SeqLM,
        BartConfig,
        {
            "d_model": 8,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
        },
    ),
}


@pytest.mark.parametrize("family", OTHERS)
def test_tables_of_other_families_are_found(family: str) -> None:
    auto, config, sizes = OTHERS[family]
    model = auto.from_config(config(vocab_size=TOKENS, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes))
    header = header_of(model)
    assert set(vocabulary_tensors(header, model.config.to_dict())) == by_shape(header, TOKENS) != set()


def test_text_models_size_is_that_of_a_model_of_two_parts() -> None:
    parts = {
        "text_config": {"vocab_size": TOKENS, **SMALL},
        "vision_config": {**SMALL, "image_size": 8, "patch_size": 4},
    }
    model = AutoModel.from_config(CLIPConfig(**parts))
    config = model.config.to_dict()
    assert vocabulary_size(config) == TOKENS
    assert set(vocabulary_tensors(header_of(model), config)) == {"text_model.embeddings.token_embedding.weight"}


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_positions.weight",
        "bert.embeddings.position_embeddings.weight",
        "bert.embeddings.token_type_embeddings.weight",
        "visual.patch_embedding.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.embed_tokens.weight",
        "transformer.wpe.weight",
        "classifier.weight",
        "model.norm.weight",
        "multi_modal_projector.linear_1.weight",
    ],
)
def test_tables_of_other_things_are_told_apart_by_name(name: str) -> None:
    assert not is_of_tokens(name, TensorSpec((TOKENS, 8), DTYPES["F32"]))


def test_whole_numbers_are_no_table() -> None:
    assert not is_of_tokens("model.embed_tokens.weight", TensorSpec((TOKENS, 8), DTYPES["I32"]))


def test_embedding_without_configuration_says_the_size() -> None:
    header = {
        "lm_head.weight": TensorSpec((50, 8), DTYPES["F32"]),
        "model.embed_tokens.weight": TensorSpec((64, 8), DTYPES["F32"]),
    }
    assert vocabulary_tensors(header, {}) == {"model.embed_tokens.weight": 64}
    assert vocabulary_tensors(header, {"vocab_size": 50}) == {"lm_head.weight": 50}
    assert vocabulary_tensors(header, {"vocab_size": 7}) == {"model.embed_tokens.weight": 64}
    assert vocabulary_tensors({}, {"vocab_size": 7}) == {}


def test_bias_of_logits_has_its_tokens_on_the_second_axis() -> None:
    spec = TensorSpec((1, 64), DTYPES["F32"])
    assert num_rows("final_logits_bias", spec) == 64
    assert resized("final_logits_bias", spec, 3) == (1, 3)
    assert resized("lm_head.weight", TensorSpec((64, 8), DTYPES["F32"]), 3) == (3, 8)
