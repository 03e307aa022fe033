"""The recipe's tokenizer block: what it says, where it is wrong, and that it says so at once."""

import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import cuvee
from cuvee.errors import RecipeError
from cuvee.tokenizers.choice import Choice, Given
from vocabularies.made import save_model, tokenizer, words_only

BLOCKS: dict[str, tuple[Any, Choice | None]] = {
    "nothing": (None, None),
    "empty": ({}, Choice()),
    "union": ({"source": "union"}, Choice()),
    "label": ({"source": "b"}, Choice(source="b")),
    "padded": ({"pad_to_multiple_of": 64}, Choice(multiple=64)),
    "template": ({"chat_template": "chatml"}, Choice(source=None, chat_template="chatml")),
    "both": ({"source": "base", "chat_template": "auto"}, Choice(source="base", chat_template="auto")),
    "tokens": (
        {
            "tokens": {
                "plain": None,
                "label": {"source": "a"},
                "zero": {"source": "zero", "force": True},
                "text": {"source": {"model": "base", "token": "<s>"}},
                "number": {"source": {"model": "b", "id": 7}, "force": True},
            }
        },
        Choice(
            tokens=(
                Given(token="plain"),
                Given(token="label", model="a"),
                Given(token="zero", zero=True, force=True),
                Given(token="text", model="base", text="<s>"),
                Given(token="number", model="b", number=7, force=True),
            )
        ),
    ),
}


def recipe(block: Any) -> cuvee.Recipe:
    content = {"cuvee": 1, "method": "linear", "models": {"a": "a", "b": "b"}, "base": "base", "tokenizer": block}
    return cuvee.Recipe.from_mapping(content)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_says_what_it_says(name: str) -> None:
    block, choice = BLOCKS[name]
    made = recipe(block)
    assert made.tokenizer == choice
    assert cuvee.Recipe.from_mapping(made.to_mapping()) == made
    assert cuvee.Recipe.from_mapping(yaml.safe_load(made.to_yaml())) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert made.canonical().get("tokenizer") == made.to_mapping().get("tokenizer")


def test_choices_differ_in_the_canonical_form() -> None:
    said = [str(recipe(block).canonical()) for block, _ in BLOCKS.values()]
    assert len(set(said)) == len(said) - 1  # empty is the union


@pytest.mark.parametrize(
    ("label", "block", "where"),
    [
        ("union", {"source": "union"}, ("tokenizer", "source")),
        ("zero", {"tokens": {"x": {"source": "zero"}}}, ("tokenizer", "tokens", "x", "source")),
    ],
)
def test_a_word_that_could_be_a_label_is_refused(label: str, block: Any, where: tuple[str, ...]) -> None:
    content = {"cuvee": 1, "method": "linear", "models": {label: "a", "b": "b"}, "tokenizer": block}
    with pytest.raises(RecipeError, match="could mean the model of that label") as caught:
        cuvee.Recipe.from_mapping(content)
    assert caught.value.where == where


def test_a_model_called_zero_gives_rows_where_that_is_clear() -> None:
    block = {"source": "zero", "tokens": {"x": {"source": {"model": "zero", "token": "y"}}}}
    content = {"cuvee": 1, "method": "linear", "models": {"union": "a", "zero": "b"}, "tokenizer": block}
    made = cuvee.Recipe.from_mapping(content).tokenizer
    assert made == Choice(source="zero", tokens=(Given(token="x", model="zero", text="y"),))


WRONG = {
    "source: c": (6, "'c', which the recipe does not have"),
    "sorce: a": (6, "Did you mean 'source'?"),
    "chat_template: chatlm": (6, "Did you mean 'chatml'?"),
    "tokens: {'<x>': {source: {model: tow, id: 1}}}": (6, "Did you mean 'two'?"),
    "tokens:\n    '<x>': {source: {model: one, id: 4}}": (7, "has 4 (0 to 3)"),
    "tokens:\n    '<x>':\n      source: {model: one, token: helo}": (8, "Did you mean 'hello'?"),
    "tokens:\n    '<x>':\n      source: two": (8, "'two' has no token '<x>'"),
}


@pytest.mark.parametrize("block", WRONG)
def test_what_is_wrong_is_named_with_its_line_before_a_weight_is_read(
    tmp_path: Path, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        fast = tokenizer(words_only(["hello"]))
        save_model(tmp_path / name, fast, len(fast))
    path = tmp_path / "recipe.yaml"
    path.write_text(f"cuvee: 1\nmethod: linear\nmodels: {{one: one, two: two}}\n# tokens\ntokenizer:\n  {block}\n")
    line, words = WRONG[block]
    with pytest.raises(RecipeError) as caught:
        cuvee.merge(path, tmp_path / "out")
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_unknown_token_of_a_large_vocabulary_is_refused_within_a_second(tmp_path: Path) -> None:
    fast = tokenizer(words_only([f"word{i}" for i in range(150_000)]))
    save_model(tmp_path / "one", fast, len(fast), width=1, tied=True)
    block = {"tokens": {"<x>": {"source": {"model": "m0", "token": "wrd77777"}}}}
    began = time.process_time()
    with pytest.raises(RecipeError, match="Did you mean 'word77777'"):
        cuvee.plan({"cuvee": 1, "method": "linear", "models": [str(tmp_path / "one")], "tokenizer": block})
    assert time.process_time() - began < 3  # 0.5 s
