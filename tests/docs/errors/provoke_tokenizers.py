"""Errors of tokenizers: what a recipe says of them, what models lack, what cannot be read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

import cuvee
from cuvee.tokenizers import reading
from docs.errors.scenarios import Place, provokes

WORDS = {"<unk>": 0, "<s>": 1, "hello": 2, "world": 3}
NO_JSON = "{place} has no tokenizer.json but {files}, "


def recipe(block: Any, **keys: Any) -> cuvee.Recipe:
    """Make a recipe that is right but for its tokenizer."""
    content = {"cuvee": 1, "method": "linear", "models": {"a": "a", "b": "b"}, "tokenizer": block}
    return cuvee.Recipe.from_mapping({**content, **keys})


def token(said: Any) -> cuvee.Recipe:
    """Make a recipe that says something of one token."""
    return recipe({"tokens": {"<x>": said}})


def save(place: Place, name: str, words: Mapping[str, int] = WORDS, rows: int | None = None, **changed: Any) -> Path:
    """Save a model with an embedding and a tokenizer of these words."""
    folder = place.folder / name
    folder.mkdir()
    rows = len(words) if rows is None else rows
    save_file({"model.embed_tokens.weight": torch.ones(rows, 2)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"vocab_size": rows}))
    model = {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}
    content = {"version": "1.0", "added_tokens": [], "model": model, **changed}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def planned(place: Place, block: Any, **keys: Any) -> None:
    """Plan a merge of models a and b, which are saved unless they are there."""
    for name in "ab":
        if not (place.folder / name).exists():
            save(place, name, {**WORDS, f"only {name}": 4})
    cuvee.plan(recipe(block, **keys))


def without_json(place: Place, name: str) -> None:
    """Plan a merge of a model whose tokenizer has one file of another library."""
    folder = save(place, "a")
    (folder / "tokenizer.json").unlink()
    (folder / name).write_bytes(b"none")
    planned(place, {})


@provokes("'source' must be union, base or the label of a model, not {found}.")
def source_that_is_a_list(_: Place) -> None:
    recipe({"source": ["a", "b"]})


@provokes("the tokenizer's source is '{label}', which the recipe does not have.…")
def source_that_is_no_label(_: Place) -> None:
    recipe({"source": "c"})


@provokes("'source: {word}' could mean the model of that label; give the model another one.")
def source_that_means_two_things(_: Place) -> None:
    recipe({"source": "union"}, models={"union": "a", "b": "b"})


@provokes("'source: {word}' could mean the model of that label; give the model another one.")
def row_of_zeros_that_means_two_things(_: Place) -> None:
    recipe({"tokens": {"<x>": {"source": "zero"}}}, models={"zero": "a", "b": "b"})


@provokes("the source of token '{token}' is '{label}', which the recipe does not have.…")
def token_of_no_model(_: Place) -> None:
    token({"source": "base"})


@provokes("pad_to_multiple_of is {value}; it must be a whole number from 1 to 1,048,576.")
def padding_to_nothing(_: Place) -> None:
    recipe({"pad_to_multiple_of": 0})


@provokes("a token is some text; '' is none.")
def token_without_text(_: Place) -> None:
    recipe({"tokens": {"": {}}})


@provokes("'force' is {value}; it must be true or false.")
def force_in_words(_: Place) -> None:
    token({"source": "a", "force": "yes please"})


@provokes("'source' must be the label of a model, zero, or {forms}, not {found}.")
def source_of_a_token_that_is_a_number(_: Place) -> None:
    token({"source": 5})


@provokes("a token's source needs 'model': the label of one.")
def row_of_no_model(_: Place) -> None:
    token({"source": {"id": 5}})


@provokes("a token's source has either 'token', a text, or 'id', a number.")
def row_by_text_and_number(_: Place) -> None:
    token({"source": {"model": "a", "id": 5, "token": "hello"}})


@provokes("'token' is {value}; it must be text (put numbers in quotes).")
def token_that_is_a_number(_: Place) -> None:
    token({"source": {"model": "a", "token": 7}})


@provokes("'id' is {value}; it must be a whole number from 0.")
def row_that_is_text(_: Place) -> None:
    token({"source": {"model": "a", "id": "hello"}})


@provokes("an adapter has no tokenizer of its own; leave out 'tokenizer'.")
def tokenizer_of_an_adapter(_: Place) -> None:
    recipe({}, output={"adapter": True})


@provokes("chat_template must be text, not {found}.")
def template_that_is_a_list(_: Place) -> None:
    recipe({"chat_template": ["chatml"]})


@provokes("chat_template is {value}, neither a name nor a Jinja template {rule}. …")
def template_of_no_name(_: Place) -> None:
    recipe({"chat_template": "chat-ml"})


@provokes("chat_template is not a Jinja template: line {line}: {problem}.")
def template_without_an_end(_: Place) -> None:
    recipe({"chat_template": "{% for message in messages %}{{ message }}"})


@provokes(
    "model '{label}' ({model}) is a pipeline, whose components have tokenizers of their own; a tokenizer can be made "
    "for a component: name its folder."
)
def pipeline_with_a_tokenizer(place: Place) -> None:
    for name in "ab":
        folder = place.folder / name / "vae"
        folder.mkdir(parents=True)
        save_file({"w": torch.ones(1)}, folder / "diffusion_pytorch_model.safetensors")
        index = {"_class_name": "P", "vae": ["diffusers", "AutoencoderKL"]}
        (folder.parent / "model_index.json").write_text(json.dumps(index))
    planned(place, {})


@provokes("model '{label}' ({model}) has no tokenizer beside its weights{others}. Put its tokenizer.json there.")
def base_without_a_tokenizer(place: Place) -> None:
    (save(place, "a") / "tokenizer.json").unlink()
    planned(place, {})


@provokes(
    "model '{label}' ({model}) has no tensor that is indexed by a vocabulary {such}, so none can be given to it. …"
)
def model_without_tokens(place: Place) -> None:
    save_file({"conv.weight": torch.ones(2, 2)}, save(place, "a") / "model.safetensors")
    planned(place, {})


@provokes("token '{token}' takes row {number} of '{label}', which has {rows}.")
def row_that_is_not_there(place: Place) -> None:
    planned(place, {"tokens": {"<x>": {"source": {"model": "b", "id": 99}}}})


@provokes("'{label}' has no token '{text}', whose row '{token}' is to get.…")
def token_that_is_not_there(place: Place) -> None:
    planned(place, {"tokens": {"<x>": {"source": {"model": "b", "token": "helo"}}}})


@provokes(
    "{tensor}: the recipe takes rows of tokens from '{label}', which has no such tensor, or one of another width "
    "than that of '{other}' {width}."
)
def row_of_another_width(place: Place) -> None:
    save_file({"model.embed_tokens.weight": torch.ones(4, 3)}, save(place, "a") / "model.safetensors")
    planned(place, {"tokens": {"hello": {"source": "a", "force": True}}})


@provokes(
    "no token can be added to the tokenizer of {model}: its numbers have a gap before {number} {token}, and whoever "
    "loads it would number the tokens otherwise. …"
)
def tokenizer_with_a_gap(place: Place) -> None:
    save(place, "a", {**WORDS, "far": 7}, rows=8)
    planned(place, {})


@provokes("the tokenizer of {model} needs its token for what is unknown ({token}), for which the model has no row. …")
def tokenizer_of_a_larger_model(place: Place) -> None:
    save(place, "a", {"hello": 0, "world": 1, "<unk>": 2}, rows=2)
    planned(place, {})


@provokes(
    NO_JSON + "which are read through transformers; install it {command}, or save the tokenizer with save_pretrained."
)
def tokenizer_of_sentencepiece_without_transformers(place: Place) -> None:
    place.patch.setitem(__import__("sys").modules, "transformers", None)
    without_json(place, "tokenizer.model")


@provokes(NO_JSON + "and transformers needs another library to read them {command}: {reason}.")
def tokenizer_of_sentencepiece_without_that(place: Place) -> None:
    def lacks(*_: object, **__: object) -> None:
        raise ImportError("requires the protobuf library")

    place.patch.setattr(transformers.AutoTokenizer, "from_pretrained", lacks)
    without_json(place, "tokenizer.model")


@provokes(NO_JSON + "which transformers cannot read {advice}: {reason}. …")
def tokenizer_of_an_unknown_kind(place: Place) -> None:
    without_json(place, "tekken.json")


@provokes("{place}: tokenizer.json has no vocabulary that can be read: {what}.")
def tokenizer_without_a_vocabulary(place: Place) -> None:
    save(place, "a", model={"type": "Other"})
    planned(place, {})


@provokes("{place}: the added token {token} has the number {number}.")
def added_token_without_a_number(place: Place) -> None:
    save(place, "a", added_tokens=[{"content": "<x>", "id": "five"}])
    planned(place, {})


@provokes("{file} has {bytes} bytes; a tokenizer's file of at most {most} is read.")
def tokenizer_that_is_too_large(place: Place) -> None:
    place.patch.setattr(reading, "MAX_JSON_BYTES", 10)
    planned(place, {})


@provokes("{file} cannot be read: {reason}.")
def tokenizer_that_is_gone(place: Place) -> None:
    def gone(_: Path) -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    save(place, "a")
    save(place, "b")
    place.patch.setattr(Path, "read_bytes", gone)
    planned(place, {})
