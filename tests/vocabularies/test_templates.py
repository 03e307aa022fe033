"""Chat templates: the named ones say what the formats say; the most frequent one wins; where it is put."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import cuvee
from cuvee.tokenizers.templates import most_frequent
from vocabularies.made import save_model, tokenizer, words_only

ONE, TWO = "{{ messages[0]['content'] }} is one", "{{ messages[0]['content'] }} is two"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Bye."},
]
SAID = {
    "alpaca": "Be brief.\n\n### Instruction:\nHello?\n\n### Response:\nHi.</s>\n\n"
    "### Instruction:\nBye.\n\n### Response:\n",
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
    "<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nBye.<|im_end|>\n<|im_start|>assistant\n",
    "exaone": "[|system|]Be brief.[|endofturn|]\n[|user|]Hello?\n[|assistant|]Hi.[|endofturn|]\n[|user|]Bye.\n"
    "[|assistant|]",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nHello?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nBye.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<s>[INST] Be brief.\n\nHello? [/INST] Hi.</s>[INST] Bye. [/INST]",
}


def merged(tmp_path: Path, block: dict[str, Any], templates: list[str | None]) -> tuple[Any, Path]:
    """Merge models with these templates; return what transformers loads."""
    models = {}
    for i, template in enumerate(templates):
        fast = tokenizer(words_only(["a"]), template=template)
        save_model(tmp_path / f"m{i}", fast, len(fast), seed=i)
        models[f"m{i}"] = str(tmp_path / f"m{i}")
    recipe = {"cuvee": 1, "method": "linear", "models": models, "tokenizer": block}
    report = cuvee.merge(recipe, tmp_path / "out")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    loaded.notes = report.notes
    return loaded, tmp_path / "out"


@pytest.mark.parametrize("name", SAID)
def test_named_template_writes_its_format(tmp_path: Path, name: str) -> None:
    loaded, _ = merged(tmp_path, {"chat_template": name}, [ONE])
    assert loaded.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True) == SAID[name]


def test_alpaca_begins_with_what_the_task_is(tmp_path: Path) -> None:
    loaded, _ = merged(tmp_path, {"chat_template": "alpaca"}, [None])
    text = loaded.apply_chat_template(TALK[1:2], tokenize=False)
    assert text.startswith("Below is an instruction that describes a task.")


def test_most_frequent_template_wins_and_of_several_the_first() -> None:
    assert most_frequent([ONE, TWO, f"\n{TWO} "]) == TWO
    assert most_frequent([None, TWO, ONE, ""]) == TWO
    assert most_frequent([None, " "]) is None


@pytest.mark.parametrize("block", [{"chat_template": "auto"}, {"chat_template": "auto", "source": "union"}], ids=str)
def test_auto_counts_the_models(tmp_path: Path, block: dict[str, Any]) -> None:
    loaded, _ = merged(tmp_path, block, [ONE, TWO, TWO])
    assert loaded.chat_template == TWO
    assert any("chat template is that of 'm1' and 'm2'" in note for note in loaded.notes)


def test_auto_without_any_template_leaves_none_and_says_so(tmp_path: Path) -> None:
    loaded, out = merged(tmp_path, {"chat_template": "auto"}, [None, None])
    assert loaded.chat_template is None
    assert "No model has a chat template, so the merge has none." in loaded.notes
    assert not (out / "chat_template.jinja").exists()


def test_template_alone_changes_nothing_else(tmp_path: Path) -> None:
    _, out = merged(tmp_path, {"chat_template": ONE + "!"}, [ONE, ONE])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (tmp_path / "m0" / name).read_bytes(), name
    assert (out / "chat_template.jinja").read_text() == ONE + "!"


def test_older_places_of_a_template_are_cleared(tmp_path: Path) -> None:
    fast = tokenizer(words_only(["a"]))
    save_model(tmp_path / "m", fast, len(fast))
    settings = json.loads((tmp_path / "m" / "tokenizer_config.json").read_text())
    named = [{"name": "tools", "template": TWO}, {"name": "default", "template": ONE}]
    (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": named}))
    (tmp_path / "m" / "chat_template.json").write_text(json.dumps({"chat_template": TWO}))
    recipe = {"cuvee": 1, "method": "linear", "models": [str(tmp_path / "m")]}
    cuvee.merge(recipe | {"tokenizer": {"chat_template": "auto"}}, tmp_path / "same")
    assert (tmp_path / "same" / "chat_template.json").exists()  # the default of named ones is what it had
    cuvee.merge(recipe | {"tokenizer": {"chat_template": "chatml"}}, tmp_path / "out")
    assert not (tmp_path / "out" / "chat_template.json").exists()
    assert "chat_template" not in json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert "im_start" in AutoTokenizer.from_pretrained(tmp_path / "out").chat_template


def test_marks_of_answers_and_loops_that_end_are_jinja(tmp_path: Path) -> None:
    text = "{% for m in messages %}{% generation %}{{ m }}{% endgeneration %}{% break %}{% endfor %}"
    cuvee.Recipe(method="linear", models=["a"], tokenizer={"chat_template": text})
