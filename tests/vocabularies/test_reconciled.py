"""Models with other numbers of rows, where the recipe says nothing; and vocabularies that other things stand on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import cuvee
from cuvee.errors import CuveeError, CuveeWarning
from cuvee.execute.verify import verify
from vocabularies.made import save_model, tokenizer, words_only

EMBEDDING, HEAD, BIAS = "model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"


@pytest.fixture
def models(tmp_path: Path) -> Any:
    """Save models of 12, 15 and 10 rows."""
    return {
        name: (str(tmp_path / name), save_model(tmp_path / name, None, rows, seed=rows))
        for name, rows in (("base", 12), ("large", 15), ("small", 10))
    }


def merged(tmp_path: Path, **keys: Any) -> tuple[dict[str, torch.Tensor], Any]:
    report = cuvee.merge({"cuvee": 1, "method": "task_arithmetic", **keys}, tmp_path / "out", overwrite=True)
    return load_file(tmp_path / "out" / "model.safetensors"), report


@pytest.mark.parametrize("name", [EMBEDDING, HEAD, BIAS])
def test_missing_rows_are_the_donors_and_others_are_left_out(models: Any, tmp_path: Path, name: str) -> None:
    paths = {label: path for label, (path, _) in models.items()}
    base, large, small = (models[label][1][name] for label in ("base", "large", "small"))
    found, report = merged(tmp_path, base=paths.pop("base"), models=paths, parameters={"weight": [0.5, 1.0]})
    expected = base + 0.5 * (large[:12] - base)
    expected[:10] += small - base[:10]
    torch.testing.assert_close(found[name], expected)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == 12
    assert any("'large' has 15 rows" in n and "the last 3 of 'large' are left out" in n for n in report.notes)
    assert any("'small' has 10 rows" in n and "the 2 that 'small' lacks are those of 'base'" in n for n in report.notes)
    assert all("tokenizer: {source: union}" in n for n in report.notes if "rows in its vocabulary" in n)


def test_note_is_in_the_plan(models: Any) -> None:
    recipe = {"cuvee": 1, "method": "linear", "models": [models["base"][0], models["large"][0]]}
    assert any("'m1' has 15 rows" in warning for warning in cuvee.plan(recipe).warnings)


def test_first_model_is_the_donor_where_there_is_no_base(models: Any, tmp_path: Path) -> None:
    small, large = models["small"], models["large"]
    found, _ = merged(tmp_path, method="linear", models=[large[0], small[0]])
    torch.testing.assert_close(found[EMBEDDING][:10], (large[1][EMBEDDING][:10] + small[1][EMBEDDING]) / 2)
    assert torch.equal(found[EMBEDDING][10:], large[1][EMBEDDING][10:])


def test_rules_that_copy_or_skip_find_tensors_as_they_are(models: Any, tmp_path: Path) -> None:
    rules = [{"match": EMBEDDING, "copy": "m0"}, {"match": "lm_head.*", "skip": True}]
    found, report = merged(tmp_path, models=[models["large"][0]], base=models["base"][0], tensors=rules)
    assert torch.equal(found[EMBEDDING], models["large"][1][EMBEDDING])
    assert not any("rows in its vocabulary" in note for note in report.notes)


def test_other_dimensions_must_match(models: Any, tmp_path: Path) -> None:
    save_model(tmp_path / "wide", None, 15, width=5)
    with pytest.raises(CuveeError, match="shapes differ"):
        merged(tmp_path, models=[str(tmp_path / "wide")], base=models["base"][0])


def test_state_dicts_are_reconciled_too() -> None:
    one, two = ({EMBEDDING: torch.randn(rows, 3)} for rows in (5, 7))
    with pytest.warns(CuveeWarning, match="'m1' has 7 rows"):
        found = cuvee.merge_state_dicts("linear", [one, two])
    torch.testing.assert_close(found[EMBEDDING], (one[EMBEDDING] + two[EMBEDDING][:5]) / 2)


def test_head_that_is_tied_in_one_model_takes_the_heads_rows(tmp_path: Path) -> None:
    """A row that the tied model lacks adds nothing to its task vector, in embedding and head alike."""
    base = save_model(tmp_path / "base", None, 12)
    tied = save_model(tmp_path / "tied", None, 10, seed=1, tied=True)
    keys = {
        "models": [str(tmp_path / "tied")],
        "base": str(tmp_path / "base"),
        "tensors": [{"match": BIAS, "copy": "base"}],
    }
    found, _ = merged(tmp_path, **keys)
    torch.testing.assert_close(found[HEAD][10:], base[HEAD][10:])
    torch.testing.assert_close(found[HEAD][:10], tied[EMBEDDING])


def test_tied_donor_of_an_untied_merge_is_untied(tmp_path: Path) -> None:
    one, two = tokenizer(words_only(["a"])), tokenizer(words_only(["a", "b"]))
    save_model(tmp_path / "one", one, len(one), tied=True)
    tensors = save_model(tmp_path / "two", two, len(two), seed=1)
    del tensors[BIAS]
    save_file(tensors, tmp_path / "two" / "model.safetensors")
    models = [str(tmp_path / "one"), str(tmp_path / "two")]
    found, _ = merged(tmp_path, method="linear", models=models, tokenizer={})
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    torch.testing.assert_close(found[HEAD][4], tensors[HEAD][4])
    torch.testing.assert_close(found[EMBEDDING][4], tensors[EMBEDDING][4])


def test_a_model_without_a_head_lends_a_padded_vocabulary_no_rows_of_it(tmp_path: Path) -> None:
    one, two = tokenizer(words_only(["a", "b"])), tokenizer(words_only(["a"]))
    whole = save_model(tmp_path / "one", one, len(one))
    headless = save_model(tmp_path / "two", two, len(two), seed=1)
    save_file({n: t for n, t in headless.items() if n not in (HEAD, BIAS)}, tmp_path / "two" / "model.safetensors")
    models = [str(tmp_path / "one"), str(tmp_path / "two")]
    found, _ = merged(
        tmp_path,
        method="linear",
        models=models,
        tokenizer={"pad_to_multiple_of": 8},
        input={"missing": "present"},
    )
    torch.testing.assert_close(found[HEAD][:5], whole[HEAD])
    torch.testing.assert_close(found[HEAD][5:], whole[HEAD].mean(0).expand(3, -1))
    torch.testing.assert_close(found[EMBEDDING][:4], (whole[EMBEDDING][:4] + headless[EMBEDDING]) / 2)


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    """Save three models of other words, and say that they are to be merged."""
    for i, words in enumerate((["a", "b"], ["b", "c"], ["d"])):
        fast = tokenizer(words_only(words))
        save_model(tmp_path / f"m{i}", fast, len(fast), seed=i)
    models = {f"m{i}": str(tmp_path / f"m{i}") for i in range(3)}
    return {"cuvee": 1, "method": "linear", "models": models, "tokenizer": {"pad_to_multiple_of": 8}}


def test_merge_is_verified_and_done_again(recipe: Any, tmp_path: Path) -> None:
    cuvee.merge(recipe, tmp_path / "out")
    findings = verify(tmp_path / "out", replay=True)
    assert {(each.part, each.state) for each in findings} == {
        (part, "same") for part in ("output", "m0", "m1", "m2", "replay")
    }
    tensors = load_file(tmp_path / "m1" / "model.safetensors")
    tensors[EMBEDDING][3] += 1
    save_file(tensors, tmp_path / "m1" / "model.safetensors")
    states = {each.part: each.state for each in verify(tmp_path / "out", replay=True)}
    assert states == {"output": "same", "m0": "same", "m1": "changed", "m2": "same", "replay": "changed"}


@pytest.mark.parametrize("block", [{"tokenizer": {"source": "base"}}, {}], ids=["fitted", "reconciled"])
def test_rows_that_a_model_lends_to_others_are_recorded_and_verified(block: Any, tmp_path: Path) -> None:
    for i, words in enumerate((["a", "b", "c"], ["a"], ["a"])):
        fast = tokenizer(words_only(words))
        save_model(tmp_path / f"m{i}", fast, len(fast), seed=i)
    models = {f"m{i}": str(tmp_path / f"m{i}") for i in (1, 2)}
    recipe = {"cuvee": 1, "method": "linear", "models": models, "base": str(tmp_path / "m0"), **block}
    cuvee.merge(recipe, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "cuvee.json").read_text())
    assert record["inputs"]["base"]["unused"] == ["model.layers.0.mlp.up_proj.weight"]
    assert {each.state for each in verify(tmp_path / "out")} == {"same"}
    tensors = load_file(tmp_path / "m0" / "model.safetensors")
    tensors[EMBEDDING][5] += 1
    save_file(tensors, tmp_path / "m0" / "model.safetensors")
    states = {each.part: each.state for each in verify(tmp_path / "out")}
    assert states == {"output": "same", "m1": "same", "m2": "same", "base": "changed"}


def test_merge_that_stands_for_a_model_has_the_vocabulary_that_it_was_given(recipe: Any, tmp_path: Path) -> None:
    inner = {**recipe, "models": {k: recipe["models"][k] for k in ("m0", "m1")}, "tokenizer": {}}
    cuvee.merge(inner, tmp_path / "inner")
    outer = {**recipe, "models": {"inner": str(tmp_path / "inner"), "m2": recipe["models"]["m2"]}}
    cuvee.merge(outer, tmp_path / "written")
    del inner["cuvee"]
    cuvee.merge({**outer, "models": {**outer["models"], "inner": inner}}, tmp_path / "nested")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        if name == "model.safetensors":
            one, two = (load_file(tmp_path / out / name) for out in ("written", "nested"))
            assert all(torch.equal(one[key], two[key]) for key in {*one, *two})
        else:
            assert (tmp_path / "written" / name).read_bytes() == (tmp_path / "nested" / name).read_bytes()
    assert all(each.state == "same" for each in verify(tmp_path / "nested", replay=True))


def test_variants_of_one_vocabulary_read_models_once(recipe: Any, tmp_path: Path) -> None:
    other = {**recipe, "parameters": {"weight": [1, 2, 3]}}
    alone = cuvee.merge(recipe, tmp_path / "alone")
    both = cuvee.merge_variants({str(tmp_path / "one"): recipe, str(tmp_path / "two"): other})
    assert both.bytes_read == alone.bytes_read
    one, two = (load_file(tmp_path / out / "model.safetensors") for out in ("alone", "one"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_mean_of_all_rows_is_read_once_whatever_passes_there_are(recipe: Any, tmp_path: Path) -> None:
    """A method of two readings reads the tables of three models twice, and once more for the mean."""
    padded = {**recipe, "method": "mlerp"}
    bare = {**padded, "tokenizer": {}}
    some = cuvee.Limits(workers=1, memory=1 << 40)
    counted = {}
    for name, each in (("padded", padded), ("bare", bare)):
        report = cuvee.merge(each, tmp_path / name, limits=some)
        assert report.expected is not None
        assert report.bytes_read == report.expected.bytes_read
        counted[name] = cuvee.plan(each).bytes_read
    rows = 7 + 7 + 8  # 'm2' takes one that two others have: their mean
    assert counted["padded"] - counted["bare"] == rows * (4 + 4 + 1) * 4  # embedding, head, bias


def test_card_and_plan_say_which_vocabulary_it_is(recipe: Any, tmp_path: Path) -> None:
    cuvee.merge(recipe, tmp_path / "out")
    told = (
        "The vocabulary is the union of those of 'm0', 'm1' and 'm2': 7 tokens, and 1 row of no token. 'm0' has 5 of "
        "them; its other rows: 1 of 'm1', 1 of 'm2'."
    )
    assert told in (tmp_path / "out" / "README.md").read_text()
    assert any(told in warning for warning in cuvee.plan(recipe).warnings)
    assert not any("another tokenizer" in warning for warning in cuvee.plan(recipe).warnings)


def test_blocks_of_any_size_give_the_same_bytes(recipe: Any, tmp_path: Path) -> None:
    for name, limits in (("one", cuvee.Limits(workers=1, block_bytes=64 << 10)), ("two", cuvee.Limits(workers=3))):
        cuvee.merge(recipe, tmp_path / name, limits=limits)
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (
        tmp_path / "two" / "model.safetensors"
    ).read_bytes()
