"""The output's tokens and their rows: against plain dictionaries and loops."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import cuvee
from cuvee.errors import PlanError
from cuvee.tokenizers.choice import Choice, Given
from cuvee.tokenizers.reading import FLAGS, Tokenizer
from cuvee.tokenizers.vocabulary import Known, make_vocabulary
from vocabularies.made import save_model, tokenizer, words_only

EMBEDDING, HEAD, BIAS = "model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"
SPECIAL = {**FLAGS, "normalized": False, "special": True}


def known(ordinary: Sequence[str], added: Sequence[str] = (), rows: int | None = None, **flags: Any) -> Known:
    """Say what a model's tokenizer has: ordinary tokens, then added ones, numbered in that order."""
    numbers = {token: i for i, token in enumerate(dict.fromkeys([*ordinary, *added]))}
    made = Tokenizer(
        place="a model",
        files={},
        content={},
        settings={},
        specials={},
        ordinary={token: numbers[token] for token in ordinary},
        added={token: numbers[token] for token in added},
        flags={token: flags.get(token, FLAGS) for token in added},
        template=None,
    )
    return Known(tokenizer=made, rows=len(numbers) if rows is None else rows)


def test_union_is_the_donors_then_ordinary_tokens_then_added_ones() -> None:
    models = {
        "base": known(["a", "b"], ["<s>"]),
        "m": known(["b", "z", "c"], ["<s>", "<x>"]),
        "n": known(["y", "c", "<x>"], ["<y>"]),
    }
    made = make_vocabulary(Choice(), models, "base")
    assert list(made.numbers) == ["a", "b", "<s>", "z", "c", "y", "<x>", "<y>"]
    assert list(made.numbers.values()) == list(range(8))
    assert set(made.flags) == {"z", "c", "y", "<x>", "<y>"}


def test_first_definition_of_an_added_token_holds_and_others_are_told() -> None:
    models = {"base": known(["a"]), "m": known(["b"], ["<x>"], **{"<x>": SPECIAL}), "n": known([], ["<x>"])}
    made = make_vocabulary(Choice(), models, "base")
    assert made.flags["<x>"] == SPECIAL
    assert any("'n' defines '<x>' otherwise" in note for note in made.notes)


def test_ordinary_token_of_the_donor_that_another_model_adds_keeps_its_number() -> None:
    made = make_vocabulary(Choice(), {"base": known(["a", "x"]), "m": known(["a"], ["x"], x=SPECIAL)}, "base")
    assert made.numbers == {"a": 0, "x": 1}
    assert made.flags == {"x": SPECIAL}


def test_tokens_without_a_row_are_left_out() -> None:
    models = {"base": known(["a", "b"], ["<s>", "<t>"], rows=3), "m": known(["a", "c", "d"], rows=2)}
    made = make_vocabulary(Choice(), models, "base")
    assert made.numbers == {"a": 0, "b": 1, "<s>": 2, "c": 3}
    assert made.lost == {"<t>"}
    assert any("1 token more than the model has rows (3), such as '<t>'" in note for note in made.notes)


def test_one_models_tokenizer_is_as_it_is() -> None:
    models = {"base": known(["a"]), "m": known(["a", "c"], ["<x>"], rows=2)}
    made = make_vocabulary(Choice(source="m"), models, "base")
    assert made.numbers == models["m"].tokenizer.numbers
    assert not made.flags


def test_tokens_of_the_recipe_come_last_with_the_flags_of_the_model_that_gives_the_row() -> None:
    models = {"base": known(["a"]), "m": known(["a"], ["<x>"]), "n": known(["a"], ["<x>"], **{"<x>": SPECIAL})}
    choice = Choice(source="base", tokens=(Given(token="<x>", model="n"), Given(token="new", zero=True)))
    made = make_vocabulary(choice, models, "base")
    assert made.numbers == {"a": 0, "<x>": 1, "new": 2}
    assert made.flags == {"<x>": SPECIAL, "new": FLAGS}


def test_no_token_is_appended_behind_a_gap() -> None:
    gap = known(["a", "b"])
    gap.tokenizer.ordinary["b"] = 5  # type: ignore[index]
    gap = Known(tokenizer=gap.tokenizer, rows=6)
    with pytest.raises(PlanError, match="gap before 6"):
        make_vocabulary(Choice(), {"base": gap, "m": known(["c"])}, "base")


# Rows, against the rules in words, one token and one model at a time.

Rows = dict[str, torch.Tensor]
ZERO = "zero"


def brute_force(
    tokens: Sequence[str], models: Mapping[str, Rows], given: Mapping[str, Any], base: str | None, size: int
) -> dict[str, torch.Tensor]:
    """Make each model's table: own row, what is given, the only one, zeros, the base's, the mean."""
    tables = {}
    for label, own in models.items():
        rows = []
        for token in tokens:
            source, force = given.get(token, (None, False))
            having = [each[token] for each in models.values() if token in each]
            if token in own and not force:
                row = own[token]
            elif source is not None:
                row = source
            elif len(having) == 1:
                row = having[0]
            elif not having:
                row = torch.zeros_like(next(iter(own.values())))
            elif base is not None and token in models[base]:
                row = models[base][token]
            else:
                row = torch.stack(having).double().mean(0).float()
            rows.append(row)
        mean = torch.stack(rows).double().mean(0).float()
        tables[label] = torch.stack([*rows, *[mean] * (size - len(rows))])
    return tables


@pytest.fixture
def three(tmp_path: Path) -> tuple[dict[str, str], dict[str, dict[str, torch.Tensor]], dict[str, dict[str, int]]]:
    """Save three models of other words; one has rows beyond its tokenizer."""
    words = {"base": ["w0", "w1", "w2", "w3"], "m": ["w3", "w5", "w1"], "n": ["w5", "w6", "w0", "w7"]}
    added = {"base": ["<p>"], "m": ["<x>", "<y>"], "n": ["<y>"]}
    tensors, numbers = {}, {}
    for i, label in enumerate(words):
        fast = tokenizer(words_only(words[label]), special=added[label])
        tensors[label] = save_model(tmp_path / label, fast, len(fast) + (3 if label == "n" else 0), seed=i)
        numbers[label] = fast.get_vocab()
    return {label: str(tmp_path / label) for label in words}, tensors, numbers


@pytest.mark.parametrize("with_base", [True, False])
@pytest.mark.parametrize("source", ["union", "base", "m"])
@pytest.mark.parametrize("multiple", [1, 8])
def test_merge_is_that_of_aligned_tables(
    three: Any, tmp_path: Path, with_base: bool, source: str, multiple: int
) -> None:
    paths, tensors, numbers = three
    block = {
        "source": source,
        "pad_to_multiple_of": multiple,
        "tokens": {
            "w6": {"source": {"model": "n", "token": "w5"}, "force": True},
            "w2": {"source": "zero"},
            "<new>": {"source": {"model": "n", "id": 10}},
            "w7": {},
        },
    }
    if not with_base:
        paths = {"b": paths["base"], "m": paths["m"], "n": paths["n"]}
        tensors, numbers = ({"b": each["base"], "m": each["m"], "n": each["n"]} for each in (tensors, numbers))
    recipe = {"cuvee": 1, "method": "linear", "models": {k: v for k, v in paths.items() if k != "base"}}
    weights = torch.tensor([0.2, 0.5, 0.3] if not with_base else [0.6, 0.4])
    recipe |= {"parameters": {"weight": weights.tolist()}, "tokenizer": block}
    cuvee.merge(recipe | ({"base": paths["base"]} if with_base else {}), tmp_path / "out")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    made = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    ids = made["model"]["vocab"] | {each["content"]: each["id"] for each in made["added_tokens"]}
    tokens = sorted(ids, key=ids.get)
    assert [ids[token] for token in tokens] == list(range(len(tokens)))
    first = "base" if with_base else "b"
    start = {"union": first, "base": first, "m": "m"}[source]
    assert all(ids[token] == number for token, number in numbers[start].items())
    if source == "union":
        assert set(tokens) == {token for own in numbers.values() for token in own} | {"<new>"}
    size = -(-len(tokens) // multiple) * multiple
    for name in (EMBEDDING, HEAD, BIAS):
        rows = {m: {t: tensors[m][name][i] for t, i in numbers[m].items()} for m in numbers}
        zero = torch.zeros_like(tensors["n"][name][0])
        given = {
            "w6": (tensors["n"][name][numbers["n"]["w5"]], True),
            "w2": (zero, False),
            "<new>": (tensors["n"][name][10], False),
        }
        tables = brute_force(tokens, rows, given, "base" if with_base else None, size)
        expected = sum(w * tables[m] for w, m in zip(weights, recipe["models"], strict=True))
        torch.testing.assert_close(merged[name], expected, rtol=1e-6, atol=1e-6)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] == size == len(merged[EMBEDDING])


def large(folder: Path, name: str, words: Sequence[str], width: int = 8) -> str:
    """Save a model of many words, as BPE without merges."""
    place = folder / name
    place.mkdir()
    model = {"type": "BPE", "vocab": {word: i for i, word in enumerate(words)}, "merges": []}
    added = [{"id": len(words), "content": f"<{name}>", **SPECIAL}]
    (place / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": added, "model": model}))
    (place / "config.json").write_text(json.dumps({"vocab_size": len(words) + 1}))
    noise = torch.Generator().manual_seed(len(words))
    save_file({EMBEDDING: torch.randn((len(words) + 1, width), generator=noise)}, place / "model.safetensors")
    return str(place)


def test_union_of_150_000_tokens_takes_seconds(tmp_path: Path) -> None:
    words = [f"t{i}" for i in range(160_000)]
    other = words[10_000:]
    random.Random(0).shuffle(other)
    models = [large(tmp_path, "x", words[:150_000]), large(tmp_path, "y", other)]
    began = time.process_time()
    recipe = {"cuvee": 1, "method": "linear", "models": models, "tokenizer": {"pad_to_multiple_of": 64}}
    cuvee.merge(recipe, tmp_path / "out")
    assert time.process_time() - began < 15  # 1.5 s; whoever loops over rows takes minutes
    merged = load_file(tmp_path / "out" / "model.safetensors")[EMBEDDING]
    x, y = (load_file(Path(model) / "model.safetensors")[EMBEDDING] for model in models)
    places = {word: i for i, word in enumerate(other)}
    assert merged.shape == (160_064, 8)
    for number in (0, 9_999, 10_000, 77_777, 149_999):
        expected = (x[number] + y[places[words[number]]]) / 2 if words[number] in places else x[number]
        torch.testing.assert_close(merged[number], expected)
    torch.testing.assert_close(merged[150_000], x[150_000])  # <x>


def test_same_bytes_whatever_the_hash_seed(three: Any, tmp_path: Path) -> None:
    paths, _, _ = three
    recipe = {
        "cuvee": 1,
        "method": "task_arithmetic",
        "models": {"m": paths["m"], "n": paths["n"]},
        "base": paths["base"],
        "tokenizer": {"tokens": {"<a>": {"source": "zero"}, "<b>": {}}, "chat_template": "chatml"},
    }
    code = "import cuvee, json, sys; cuvee.merge(json.loads(sys.argv[1]), sys.argv[2])"
    for seed in "01":
        command = [sys.executable, "-c", code, json.dumps(recipe), str(tmp_path / seed)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)})
    names = sorted(path.name for path in (tmp_path / "0").iterdir())
    assert "chat_template.jinja" in names
    for name in set(names) - {"README.md", "cuvee.json"}:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes(), name


def test_models_of_two_types_take_rows_of_each_other_unrounded(tmp_path: Path) -> None:
    one, two = (tokenizer(words_only(words)) for words in (["a"], ["b"]))
    a = save_model(tmp_path / "a", one, 4, dtype=torch.bfloat16)[EMBEDDING]
    b = save_model(tmp_path / "b", two, 4, seed=1)[EMBEDDING]
    models = [str(tmp_path / "a"), str(tmp_path / "b")]
    report = cuvee.merge({"cuvee": 1, "method": "linear", "models": models, "tokenizer": {}}, tmp_path / "out")
    merged = load_file(tmp_path / "out" / "model.safetensors")[EMBEDDING]
    assert merged.dtype == torch.float32
    assert torch.equal(merged[4], b[3])
    assert torch.equal(merged[3], a[3].float())
    assert any("different types (BF16, F32)" in note for note in report.notes)
    assert np.isfinite(merged.numpy()).all()
