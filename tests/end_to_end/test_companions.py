"""What travels with the weights: configuration, tokenizer, custom code on request, model card, index, metadata."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import tokenizers
import torch
import yaml
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

import cuvee
from cuvee.methods.declare import Method
from end_to_end.recipes import each_method, recipe_for
from models import TOKENS, VOCABULARY, build, load, save

CODE = "raise AssertionError('custom code was run')\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Save a base with all that a checkpoint can come with, and two experts with nothing but weights."""
    root = tmp_path_factory.mktemp("companions")
    made = [build("llama", tied=True, expert=i) for i in range(3)]
    made[0].generation_config = GenerationConfig(max_new_tokens=7, do_sample=False, eos_token_id=2)
    saved = [save(model, root / f"secret-{i}") for i, model in enumerate(made)]
    tokenizer().save_pretrained(saved[0])
    (saved[0] / "modeling_custom.py").write_text(CODE)
    (saved[0] / "optimizer.pt").write_bytes(b"not part of a model")
    return saved


def tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of whole words."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"word{i}": i for i in range(3, VOCABULARY)}}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=made, **special)
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return fast


def recipe(folders: list[Path], **output: Any) -> dict[str, Any]:
    base, *experts = map(str, folders)
    content = {"cuvee": 1, "method": "ties", "models": dict(zip("ab", experts, strict=True)), "base": base}
    return content | ({"output": output} if output else {})


def metadata(file: Path) -> dict[str, str]:
    with safetensors.safe_open(file, "pt") as opened:
        return opened.metadata()


def test_tokenizer_travels_and_reads_text(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe(folders), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= names
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "word5 word17 word40"
    assert loaded(text)["input_ids"] == tokenizer()(text)["input_ids"] == [5, 17, 40]
    messages = [{"role": "user", "content": text}]
    assert loaded.apply_chat_template(messages, tokenize=False) == text


def test_generation_config_travels_and_is_used(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe(folders), tmp_path / "out")
    merged = load("llama", tmp_path / "out")
    assert merged.generation_config.max_new_tokens == 7
    assert merged.generate(TOKENS, min_new_tokens=7).shape == (2, TOKENS.shape[1] + 7)


def test_files_are_copied_byte_by_byte_where_nothing_changes(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe(folders), tmp_path / "out")
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folders[0] / name).read_bytes(), name


def test_config_comes_from_the_base_or_else_the_first_model(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge({**recipe(folders), "method": "linear", "base": None}, tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer.json").exists()  # the experts have none
    assert (tmp_path / "out" / "config.json").read_bytes() == (folders[1] / "config.json").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype_in_the_config_is_that_of_the_output(folders: list[Path], dtype: str, tmp_path: Path) -> None:
    cuvee.merge(recipe(folders, dtype=dtype), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    merged = load("llama", tmp_path / "out")
    assert merged.dtype == getattr(torch, dtype)
    assert {tensor.dtype for tensor in merged.state_dict().values()} == {merged.dtype}


@pytest.mark.parametrize("asked", [False, True])
def test_custom_code_travels_only_on_request(folders: list[Path], asked: bool, tmp_path: Path) -> None:
    cuvee.merge(recipe(folders, custom_code=asked), tmp_path / "out")
    code = tmp_path / "out" / "modeling_custom.py"
    assert code.exists() == asked
    if asked:
        assert code.read_text() == CODE
    load("llama", tmp_path / "out")


def test_files_that_are_no_part_of_a_model_stay_behind(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe(folders), tmp_path / "out")
    weights = {"config.json", "generation_config.json", "model.safetensors", "README.md", "cuvee.json"}
    text = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == weights | text


@each_method
def test_model_card_has_the_recipe_and_the_citations(method: Method, folders: list[Path], tmp_path: Path) -> None:
    base, *experts = map(str, folders)
    asked = recipe_for(method, experts, base)
    cuvee.merge(asked, tmp_path / "out")
    front, body = (tmp_path / "out" / "README.md").read_text().removeprefix("---\n").split("\n---\n", 1)
    assert "merge" in yaml.safe_load(front)["tags"]
    written = body.split("```yaml\n")[1].split("```")[0]
    assert cuvee.Recipe.from_mapping(yaml.safe_load(written)) == cuvee.Recipe.from_mapping(asked)
    assert method.paper is None or (method.paper.title in body and method.paper.url in body)


def test_model_card_cites_the_methods_of_rules_too_and_each_paper_once(folders: list[Path], tmp_path: Path) -> None:
    rules = [{"match": "*.mlp.*", "method": "dare_ties"}, {"match": "*.self_attn.*", "method": "dare_linear"}]
    cuvee.merge({**recipe(folders), "tensors": rules}, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.count("https://arxiv.org/abs/2311.03099") == 1  # DARE, behind both rules
    assert card.count("https://arxiv.org/abs/2306.01708") == 1  # TIES, for everything else


def test_model_card_says_what_the_run_warned_of(folders: list[Path], tmp_path: Path) -> None:
    report = cuvee.merge({**recipe(folders), "method": "linear"}, tmp_path / "out")
    assert any("does not use the base" in note for note in report.notes)
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(note in card for note in report.notes)


def test_index_says_where_every_tensor_is(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe(folders, shard_size=4000), tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    found: dict[str, str] = {}
    total = 0
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 3
    for file in files:
        with safetensors.safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  not a mapping
        nbytes = sum(tensor.nbytes for tensor in tensors.values())
        assert nbytes <= 4000 or len(tensors) == 1
        found |= dict.fromkeys(tensors, file.name)
        total += nbytes
    assert index["weight_map"] == found
    assert index["metadata"]["total_size"] == total
    assert [file.name for file in files] == [
        f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))
    ]


def test_sharded_output_loads_as_the_single_file_does(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge(recipe(folders), tmp_path / "one")
    cuvee.merge(recipe(folders, shard_size=4000), tmp_path / "many")
    one, many = (load("llama", tmp_path / name).state_dict() for name in ("one", "many"))
    assert one.keys() == many.keys()
    assert all(one[name].equal(many[name]) for name in one)


def test_metadata_of_every_file_has_the_recipe_and_no_path(folders: list[Path], tmp_path: Path) -> None:
    asked = {**recipe(folders, shard_size=4000), "parameters": {"density": 0.5}}
    cuvee.merge(asked, tmp_path / "out")
    for file in (tmp_path / "out").glob("*.safetensors"):
        written = metadata(file)
        assert written["format"] == "pt"
        canonical = json.loads(written["cuvee"])
        assert (canonical["method"], canonical["parameters"]) == ("ties", {"density": 0.5})
        assert (canonical["models"], canonical["base"]) == ({"a": "a", "b": "b"}, "base")
        assert "secret" not in "".join(written.values())
        assert str(tmp_path) not in "".join(written.values())


def test_weights_have_the_same_bytes_wherever_the_models_lie(folders: list[Path], tmp_path: Path) -> None:
    moved = [(tmp_path / f"elsewhere-{i}") for i in range(3)]
    for link, folder in zip(moved, folders, strict=True):
        link.symlink_to(folder)
    cuvee.merge(recipe(folders), tmp_path / "one")
    cuvee.merge(recipe(moved), tmp_path / "other")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other")]
    assert files[0] == files[1]
