"""The tokenizer beside a merge: it loads with transformers and gives the numbers that the rows have."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import cuvee
from cuvee.errors import CuveeError, MissingLibraryError
from cuvee.tokenizers import conversion
from vocabularies.made import CLASSES, ENGLISH, GERMAN, KINDS, byte_level, save_model, tokenizer, words_only

TEXT = "the quick dog"
OWN = {"Unigram": ["<pad>"], "WordPiece": ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"]}
"""Special tokens that a class of transformers adds to what it loads."""


def merged(tmp_path: Path, block: dict[str, Any] | None, *models: Path, base: Path | None = None) -> Path:
    recipe = {"cuvee": 1, "method": "linear", "models": {model.name: str(model) for model in models}}
    recipe |= {"base": str(base)} if base else {}
    cuvee.merge(recipe | ({} if block is None else {"tokenizer": block}), tmp_path / "out", overwrite=True)
    return tmp_path / "out"


def stated(folder: Path) -> dict[str, int]:
    """Token to number, as ``tokenizer.json`` says."""
    content = json.loads((folder / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    ordinary = {piece[0]: i for i, piece in enumerate(words)} if isinstance(words, list) else words
    return ordinary | {each["content"]: each["id"] for each in content["added_tokens"]}


def saved(folder: Path, kind: str, words: list[str], cls: str | None, *special: str) -> Path:
    """Save a model with a tokenizer of some kind, loaded by a class of its own or by the general one."""
    fast = tokenizer(KINDS[kind](words), special=[*OWN.get(kind, []), *special], added=["pl us"])
    save_model(folder, fast, len(fast), seed=len(words))
    if cls is not None:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings |= {"tokenizer_class": cls, "extra_ids": 0}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("general", [True, False], ids=["general class", "own class"])
@pytest.mark.parametrize("kind", KINDS)
def test_union_loads_and_numbers_tokens_as_the_rows_are(tmp_path: Path, kind: str, general: bool) -> None:
    cls = None if general else CLASSES[kind].__name__
    one = saved(tmp_path / "one", kind, ENGLISH, cls, "<|a|>")
    two = saved(tmp_path / "two", kind, GERMAN, cls, "<|b|>")
    out = merged(tmp_path, {}, one, two)
    loaded, numbers = AutoTokenizer.from_pretrained(out), stated(out)
    assert loaded.get_vocab() == numbers
    assert sorted(numbers.values()) == list(range(len(numbers)))
    assert set(numbers) == {*stated(one), *stated(two)}
    rows = load_file(out / "model.safetensors")["model.embed_tokens.weight"]
    assert len(rows) == len(numbers) == json.loads((out / "config.json").read_text())["vocab_size"]
    ids = loaded("<|b|>pl us", add_special_tokens=False)["input_ids"]
    assert ids == [numbers["<|b|>"], numbers["pl us"]]
    expected = load_file(two / "model.safetensors")["model.embed_tokens.weight"][stated(two)["<|b|>"]]
    torch.testing.assert_close(rows[ids[0]], expected)


@pytest.mark.parametrize("source", ["base", "one", "two"])
def test_tokenizer_of_one_model_is_copied_byte_by_byte(tmp_path: Path, source: str) -> None:
    folders = {name: saved(tmp_path / name, "BPE", words, None) for name, words in (("one", ENGLISH), ("two", GERMAN))}
    (folders["two"] / "merges.txt").write_text("kept")
    out = merged(tmp_path, {"source": source}, *folders.values())
    owner = folders["two" if source == "two" else "one"]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (owner / name).read_bytes()
    assert (out / "merges.txt").exists() == (source == "two")
    ids = [AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"] for folder in (out, owner)]
    assert ids[0] == ids[1]


def test_whole_model_loads_and_generates(tmp_path: Path) -> None:
    folders = []
    for name, words, special in (("one", ENGLISH, "<|a|>"), ("two", GERMAN, "<|b|>")):
        fast = tokenizer(byte_level(words), special=[special])
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = LlamaConfig(vocab_size=len(fast), **sizes, pad_token_id=None, bos_token_id=1, eos_token_id=2)
        folders.append(tmp_path / name)
        LlamaForCausalLM(config).save_pretrained(folders[-1])
        fast.save_pretrained(folders[-1])
    out = merged(tmp_path, {"pad_to_multiple_of": 32}, *folders)
    model, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(info.values())
    loaded = AutoTokenizer.from_pretrained(out)
    assert model.get_input_embeddings().num_embeddings == -(-len(loaded) // 32) * 32
    inputs = loaded("<|b|> hello", return_tensors="pt")
    assert model.generate(inputs["input_ids"], max_new_tokens=2, do_sample=False).shape[1] >= 3


def test_flags_of_added_tokens_travel(tmp_path: Path) -> None:
    one = tokenizer(words_only(["a"]))
    two = tokenizer(words_only(["a"]), added=[AddedToken("<x>", lstrip=True, rstrip=True, normalized=False)])
    for name, fast in (("one", one), ("two", two)):
        save_model(tmp_path / name, fast, len(fast))
    out = merged(tmp_path, {}, tmp_path / "one", tmp_path / "two")
    added = {str(each): each for each in AutoTokenizer.from_pretrained(out).added_tokens_decoder.values()}
    assert (added["<x>"].lstrip, added["<x>"].rstrip, added["<x>"].normalized) == (True, True, False)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_without_a_row_leave_the_tokenizer(tmp_path: Path, kind: str) -> None:
    """As where a padding token was added and the model not resized; here ordinary tokens are lost, too."""
    plain = tokenizer(KINDS[kind](ENGLISH))
    rows = len(plain) - 2
    fast = tokenizer(KINDS[kind](ENGLISH), special=["<pad>"])
    fast.pad_token = "<pad>"
    save_model(tmp_path / "short", fast, rows, pad_token_id=len(plain))
    other = tokenizer(words_only(["zqx"]), special=["<|b|>"])
    save_model(tmp_path / "other", other, len(other))
    out = merged(tmp_path, {}, tmp_path / "short", tmp_path / "other")
    loaded, numbers = AutoTokenizer.from_pretrained(out), stated(out)
    assert loaded.get_vocab() == numbers
    assert sorted(numbers.values()) == list(range(rows + 2))
    assert {token for token, number in numbers.items() if number >= rows} == {"zqx", "<|b|>"}
    assert loaded.pad_token is None
    assert json.loads((out / "config.json").read_text())["pad_token_id"] is None
    before = AutoTokenizer.from_pretrained(tmp_path / "short")(TEXT, add_special_tokens=False)["input_ids"]
    if max(before) < rows:
        assert loaded(TEXT, add_special_tokens=False)["input_ids"] == before


def test_numbers_in_configurations_follow_their_tokens(tmp_path: Path) -> None:
    one = tokenizer(words_only(["a", "b"]), special=["<|end|>", "<|gone|>"])
    two = tokenizer(words_only(["<|end|>", "a"]))
    end, gone = one.convert_tokens_to_ids(["<|end|>", "<|gone|>"])
    parts = {"text_config": {"vocab_size": len(one), "eos_token_id": end}, "image_token_index": end}
    save_model(tmp_path / "one", one, len(one), eos_token_id=[2, end], pad_token_id=gone, **parts)
    save_model(tmp_path / "two", two, len(two), pad_token_id=2)
    generation = {"eos_token_id": [end, gone], "max_new_tokens": 7, "suppress_tokens": [end], "bos_token_id": 1}
    (tmp_path / "one" / "generation_config.json").write_text(json.dumps(generation))
    out = merged(tmp_path, {"source": "two"}, tmp_path / "one", tmp_path / "two")
    moved = two.convert_tokens_to_ids("<|end|>")
    config = json.loads((out / "config.json").read_text())
    assert (config["vocab_size"], config["text_config"]["vocab_size"]) == (len(two), len(two))
    assert config["eos_token_id"] == [2, moved]
    assert config["text_config"]["eos_token_id"] == config["image_token_index"] == moved
    assert config["pad_token_id"] == 2  # the token is gone; the other model's stands for it
    made = json.loads((out / "generation_config.json").read_text())
    assert made == {"eos_token_id": [moved], "max_new_tokens": 7, "suppress_tokens": [moved], "bos_token_id": 1}


def test_files_that_state_added_tokens_again_agree(tmp_path: Path) -> None:
    """As transformers 4 wrote them."""
    fast = tokenizer(words_only(["a"]), special=["<x>"])
    save_model(tmp_path / "one", fast, len(fast))
    folder = tmp_path / "one"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    settings["added_tokens_decoder"] = {str(each["id"]): each for each in added}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "added_tokens.json").write_text(json.dumps({"<x>": 4}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "</s>"}))
    other = tokenizer(words_only(["b"]))
    save_model(tmp_path / "two", other, len(other))
    out = merged(tmp_path, {}, folder, tmp_path / "two")
    decoder = json.loads((out / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert decoder["5"]["content"] == "b"
    assert json.loads((out / "added_tokens.json").read_text())["b"] == 5
    assert AutoTokenizer.from_pretrained(out).get_vocab() == stated(out)


def test_model_without_a_tokenizer_shares_the_donors(tmp_path: Path) -> None:
    fast = tokenizer(words_only(["a", "b"]))
    one = save_model(tmp_path / "one", fast, len(fast))
    two = save_model(tmp_path / "two", None, len(fast), seed=1)
    recipe = {"cuvee": 1, "method": "linear", "models": [str(tmp_path / "one"), str(tmp_path / "two")]}
    report = cuvee.merge(recipe | {"tokenizer": {}}, tmp_path / "out")
    assert "'m1' has no tokenizer of its own and is taken to share that of 'm0'." in report.notes
    name = "model.embed_tokens.weight"
    found = load_file(tmp_path / "out" / "model.safetensors")[name]
    torch.testing.assert_close(found, (one[name] + two[name]) / 2)


def test_tokenizer_without_tokenizer_json_is_read_through_transformers(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    made = KINDS["WordPiece"](ENGLISH)
    words = sorted(made.get_vocab(), key=made.get_vocab().get)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    save_model(folder, None, len(words) + 5, model_type="bert", architectures=["BertForMaskedLM"])
    (folder / "vocab.txt").write_text("\n".join([*specials, *words]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    other = tokenizer(words_only(["something"]))
    save_model(tmp_path / "two", other, len(other))
    out = merged(tmp_path, {}, folder, tmp_path / "two")
    loaded = AutoTokenizer.from_pretrained(out)
    before = AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    assert loaded(TEXT)["input_ids"] == before
    assert loaded.convert_tokens_to_ids("something") == len(words) + 5


def test_what_transformers_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingLibraryError, match=r"no tokenizer.json but tokenizer.model.*pip install"):
        conversion.converted({"tokenizer.model": b""}, "model 'a' (old)")


def test_one_file_has_no_tokenizer_beside_it_and_says_so(tmp_path: Path) -> None:
    fast = tokenizer(words_only(["a"]))
    save_model(tmp_path / "one", fast, len(fast))
    recipe = {"cuvee": 1, "method": "linear", "models": [str(tmp_path / "one")], "tokenizer": {}}
    report = cuvee.merge(recipe, tmp_path / "out.safetensors")
    assert any("The tokenizer is not written" in note for note in report.notes)


HOSTILE: list[dict[str, Any]] = [
    {"model": 5},
    {"model": {"vocab": [["a", 0], [["b"], 1]]}},
    {"model": {"vocab": [["a", 0], []]}},
    {"model": {"vocab": {"a": -1}}},
    {"model": {"vocab": {"a": 1 << 60}}},
    {"model": {"vocab": {"a": True}}},
    {"model": {"vocab": {"a": 0, "b": 9}, "merges": ["ab", 5, ["a"], None], "continuing_subword_prefix": 3}},
    {"model": {"vocab": {"a": 0, "b": 9}, "unk_token": ["b"], "unk_id": "c"}},
    {"added_tokens": 7},
    {"added_tokens": ["a"]},
    {"added_tokens": [{"content": ["a"], "id": 1}]},
    {"added_tokens": [{"content": "a", "id": 1 << 40}]},
    {"added_tokens": [{"content": "a", "id": 1, "special": {}}]},
]


@pytest.mark.parametrize("source", ["union", "m0", "m1"])
@pytest.mark.parametrize("changed", HOSTILE, ids=str)
def test_hostile_tokenizers_are_refused_or_read(tmp_path: Path, changed: dict[str, Any], source: str) -> None:
    other = tokenizer(words_only(["zqx"]))
    save_model(tmp_path / "other", other, len(other))
    save_model(tmp_path / "bad", None, 4)
    content = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}, **changed}
    (tmp_path / "bad" / "tokenizer.json").write_text(json.dumps(content))
    settings = {
        "chat_template": [{"name": ["default"], "template": 5}, 7],
        "added_tokens_decoder": {"²": {}, "9" * 5000: {"content": "x"}} if "model" not in changed else [],
        "extra_special_tokens": "abc",
        "bos_token": {"content": ["a"]},
    }
    (tmp_path / "bad" / "tokenizer_config.json").write_text(json.dumps(settings))
    models = [str(tmp_path / "bad"), str(tmp_path / "other")]
    recipe = {
        "cuvee": 1,
        "method": "linear",
        "models": models,
        "tokenizer": {"source": source, "chat_template": "auto"},
    }
    with contextlib.suppress(CuveeError):
        cuvee.plan(recipe)
