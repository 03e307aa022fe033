"""Ties between embeddings and heads, from names, configurations and files written by transformers."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.architectures.tied import stored_twice, tied_names
from cuvee.spec import DTYPES, Header, TensorSpec

TABLE = TensorSpec((100, 16), DTYPES["F32"])
OTHER = TensorSpec((90, 16), DTYPES["F32"])
VECTOR = TensorSpec((100,), DTYPES["F32"])


def header(*names: str) -> Header:
    return {name: VECTOR if name.endswith("bias") else TABLE for name in names}


DECODER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 100,
}
TINY = {
    "LlamaForCausalLM": DECODER,
    "Qwen2ForCausalLM": DECODER,
    "GPT2LMHeadModel": {
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
        "vocab_size": 100,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "BertForMaskedLM": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 100,
    },
    "T5ForConditionalGeneration": {
        "d_model": 16,
        "d_ff": 32,
        "d_kv": 8,
        "num_layers": 1,
        "num_heads": 2,
        "vocab_size": 100,
    },
}
TIES = {
    "LlamaForCausalLM": {"lm_head.weight": "model.embed_tokens.weight"},
    "Qwen2ForCausalLM": {"lm_head.weight": "model.embed_tokens.weight"},
    "GPT2LMHeadModel": {"lm_head.weight": "transformer.wte.weight"},
    "BertForMaskedLM": {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    "T5ForConditionalGeneration": {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "lm_head.weight": "shared.weight",
    },
}


def saved(class_name: str, tie: bool, folder: Path) -> tuple[Header, Mapping[str, object], Header]:
    """Save a tiny model; return the header of its file, its configuration, and the header of its state dict."""
    import safetensors
    import torch
    import transformers

    model_class = getattr(transformers, class_name)
    model = model_class(model_class.config_class(**TINY[class_name], tie_word_embeddings=tie))
    if not tie:  # a head of its own, as Flan-T5 has one, even where transformers ties by default
        for name in TIES[class_name]:
            if "embed_tokens" not in name:
                module = model.get_submodule(name.rpartition(".")[0])
                leaf = name.rpartition(".")[2]
                setattr(module, leaf, torch.nn.Parameter(getattr(module, leaf).detach().clone()))
    model.save_pretrained(folder)
    with safetensors.safe_open(folder / "model.safetensors", "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        stored = {name: TensorSpec(tuple(part.get_shape()), DTYPES[part.get_dtype()]) for name, part in slices.items()}
    whole = {name: TensorSpec(tuple(tensor.shape), DTYPES["F32"]) for name, tensor in model.state_dict().items()}
    return stored, json.loads((folder / "config.json").read_text()), whole


@pytest.mark.parametrize("class_name", TINY)
def test_tied_models_saved_by_transformers_show_their_ties(class_name: str, tmp_path: Path) -> None:
    stored, config, whole = saved(class_name, True, tmp_path)
    assert not set(TIES[class_name]) & set(stored)
    assert tied_names(stored, config) == TIES[class_name]
    assert tied_names(stored, config, elsewhere=whole) == TIES[class_name]
    assert stored_twice(stored, config) == {}
    without = {
        key: value for key, value in config.items() if key != "tie_word_embeddings"
    }  # as transformers 4 wrote it
    assert tied_names(stored, without, elsewhere=whole) == TIES[class_name]


@pytest.mark.parametrize("class_name", TINY)
def test_untied_models_saved_by_transformers_show_no_tie_of_the_head(class_name: str, tmp_path: Path) -> None:
    stored, config, whole = saved(class_name, False, tmp_path)
    heads = {name for name in TIES[class_name] if "embed_tokens" not in name}
    assert heads <= set(stored)
    parts = {alias: name for alias, name in TIES[class_name].items() if alias not in heads}
    assert tied_names(stored, config) == parts
    assert tied_names(stored, config, elsewhere=whole) == parts


def test_a_head_of_its_own_that_the_configuration_calls_tied_is_listed_and_kept(tmp_path: Path) -> None:
    # Flan-T5: transformers 5 writes tie_word_embeddings: true for every T5, and loads the head as it is stored.
    stored, config, _ = saved("T5ForConditionalGeneration", False, tmp_path)
    assert config["tie_word_embeddings"] is True
    assert stored_twice(stored, config) == {"lm_head.weight": "shared.weight"}
    assert "lm_head.weight" not in tied_names(stored, config)
    assert tied_names(stored, config, shared=[("lm_head.weight", "shared.weight")])["lm_head.weight"] == "shared.weight"


def test_the_ties_of_many_families_are_found_when_another_source_stores_the_names(families) -> None:
    words = ("embed_tokens", "head", "decoder", "proj_out", "vocab_projector")
    count = 0
    for class_name, family in families.items():
        ties = {alias: name for alias, name in family.tied.items() if any(word in alias for word in words)}
        assert tied_names(family.stored, family.config, elsewhere=family.header) == ties, class_name
        count += len(ties)
    assert count > 20


def test_what_is_found_without_another_source_is_true_in_every_family(families) -> None:
    for class_name, family in families.items():
        found = tied_names(family.stored, family.config)
        assert found.items() <= family.tied.items(), class_name


def test_names_that_are_all_stored_are_tensors_of_their_own_in_every_family(families) -> None:
    for class_name, family in families.items():
        assert tied_names(family.header, family.config, elsewhere=family.header) == {}, class_name


def test_a_missing_head_is_tied_unless_the_configuration_says_no() -> None:
    stored = header("model.embed_tokens.weight", "model.norm.weight")
    tie = {"lm_head.weight": "model.embed_tokens.weight"}
    assert tied_names(stored, {"tie_word_embeddings": True}, elsewhere=["lm_head.weight"]) == tie
    assert tied_names(stored, {}, elsewhere=["lm_head.weight"]) == tie
    assert tied_names(stored, {"tie_word_embeddings": False}, elsewhere=["lm_head.weight"]) == {}


def test_nobody_invents_a_head_for_a_model_without_one() -> None:
    stored = header("embed_tokens.weight", "norm.weight")
    assert tied_names(stored, {"tie_word_embeddings": True, "architectures": ["LlamaModel"]}) == {}
    assert tied_names(stored, {}) == {}
    assert tied_names({}, {}) == {}
    assert tied_names(header("x.weight"), {}, elsewhere=["transformer.wte.weight", "lm_head.weight"]) == {}


def test_the_configuration_of_the_text_model_counts_too() -> None:
    stored = header("model.language_model.embed_tokens.weight")
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"tie_word_embeddings": True}}
    assert tied_names(stored, config) == {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    assert tied_names(stored, config | {"text_config": {"tie_word_embeddings": False}}) == {}
    assert tied_names(stored, config | {"text_config": "nonsense"}) == {}
    assert tied_names(stored, config | {"architectures": "nonsense"}) == {}


def test_a_file_that_kept_the_head_only_resolves_the_embedding() -> None:
    stored = header("lm_head.weight")
    assert tied_names(stored, {}, elsewhere=["model.embed_tokens.weight"]) == {
        "model.embed_tokens.weight": "lm_head.weight"
    }
    assert tied_names(stored, {"tie_word_embeddings": False}, elsewhere=["model.embed_tokens.weight"]) == {}


def test_a_file_that_kept_one_part_only_resolves_the_others() -> None:
    stored = header("decoder.embed_tokens.weight", "encoder.block.0.wi.weight")
    wanted = ["shared.weight", "encoder.embed_tokens.weight", "lm_head.weight"]
    assert tied_names(stored, {}, elsewhere=wanted) == dict.fromkeys(wanted, "decoder.embed_tokens.weight")


def test_parts_share_the_embedding_even_where_the_head_does_not() -> None:
    stored = header("shared.weight", "lm_head.weight", "encoder.block.0.wi.weight", "decoder.block.0.wi.weight")
    expected = {"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"}
    assert tied_names(stored, {"tie_word_embeddings": False}) == expected
    encoder_only = header("shared.weight", "encoder.block.0.wi.weight")
    assert tied_names(encoder_only, {}) == {"encoder.embed_tokens.weight": "shared.weight"}


def test_the_head_goes_with_the_embedding_of_its_own_part() -> None:
    stored = header("text_decoder.bert.embeddings.word_embeddings.weight", "vision.embeddings.weight")
    alias = "text_decoder.cls.predictions.decoder.weight"
    assert tied_names(stored, {}, elsewhere=[alias]) == {alias: "text_decoder.bert.embeddings.word_embeddings.weight"}


def test_storage_shared_in_memory_is_a_tie_whatever_the_names() -> None:
    stored = header("b.weight", "a.weight", "model.embed_tokens.weight", "lm_head.weight")
    shared = [["lm_head.weight", "model.embed_tokens.weight"], ["a.weight", "b.weight"]]
    assert tied_names(stored, {}, shared) == {"lm_head.weight": "model.embed_tokens.weight", "a.weight": "b.weight"}
    assert tied_names(stored, {"tie_word_embeddings": False}, shared) == tied_names(stored, {}, shared)


def test_groups_of_storage_that_overlap_are_one() -> None:
    stored = header("a.weight", "b.weight", "c.weight", "d.weight")
    shared = [["c.weight", "b.weight"], ["d.weight"], ["b.weight", "a.weight", "not stored"], []]
    assert tied_names(stored, {}, shared) == {"b.weight": "a.weight", "c.weight": "a.weight"}


def test_one_storage_seen_in_two_shapes_is_no_tie() -> None:
    stored = {"a.weight": TABLE, "b.weight": OTHER}
    assert tied_names(stored, {}, [["a.weight", "b.weight"]]) == {}


def test_stored_twice_needs_the_configuration_and_equal_shapes() -> None:
    stored = header("transformer.wte.weight", "lm_head.weight")
    pair = {"lm_head.weight": "transformer.wte.weight"}
    assert stored_twice(stored, {"tie_word_embeddings": True}) == pair
    assert stored_twice(stored, {"text_config": {"tie_word_embeddings": True}}) == pair
    assert stored_twice(stored, {}) == {}
    assert stored_twice(stored, {"tie_word_embeddings": False}) == {}
    assert stored_twice({**stored, "lm_head.weight": OTHER}, {"tie_word_embeddings": True}) == {}
    bert = header("cls.predictions.bias", "cls.predictions.decoder.bias")
    assert stored_twice(bert, {"tie_word_embeddings": True}) == {"cls.predictions.decoder.bias": "cls.predictions.bias"}


COMPONENTS = st.sampled_from(
    ["model", "encoder", "decoder", "shared", "embed_tokens", "wte", "lm_head", "predictions", "cls", "0", "bias", "x"]
)
NAMES = (
    st.lists(COMPONENTS, min_size=1, max_size=4)
    .map(".".join)
    .flatmap(lambda path: st.sampled_from([f"{path}.weight", f"{path}.bias"]))
)


@given(
    st.sets(NAMES),
    st.sets(NAMES),
    st.lists(st.lists(NAMES, max_size=3), max_size=3),
    st.sampled_from([True, False, None]),
)
def test_canonical_names_are_stored_and_no_aliases(stored, elsewhere, shared, declared) -> None:
    known = header(*sorted(stored))
    config = {} if declared is None else {"tie_word_embeddings": declared, "architectures": ["XForCausalLM"]}
    aliases = tied_names(known, config, shared, sorted(elsewhere))
    for alias, name in aliases.items():
        assert name in known
        assert name not in aliases
        assert alias not in known or any(alias in group for group in shared)
