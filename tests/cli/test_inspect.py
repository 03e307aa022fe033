"""What `cuvee inspect` says of a checkpoint: everything this floor knows of names."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cuvee.cli.inspect import describe, inspect
from cuvee.errors import SourceError
from cuvee.sources.memory import Memory

TENSORS = {
    "model.embed_tokens.weight": torch.zeros(10, 4, dtype=torch.bfloat16),
    "model.layers.0.self_attn.q_proj.weight": torch.zeros(4, 4, dtype=torch.bfloat16),
    "model.layers.1.self_attn.q_proj.weight": torch.zeros(4, 4, dtype=torch.bfloat16),
    "model.norm.weight": torch.zeros(4),
    "model.bn.running_mean": torch.zeros(4),
    "model.position_ids": torch.zeros(3, dtype=torch.int64),
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    names = list(TENSORS)
    files = {"model-00001-of-00002.safetensors": names[:2], "model-00002-of-00002.safetensors": names[2:]}
    for file, members in files.items():
        save_file({name: TENSORS[name] for name in members}, tmp_path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, members in files.items() for name in members}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {"tie_word_embeddings": True, "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_inspect_as_json_describes_every_tensor_and_all_groups(checkpoint: str, capsys) -> None:
    inspect(checkpoint, as_json=True, tensors=False)
    described = json.loads(capsys.readouterr().out)
    assert described["reference"] == checkpoint
    assert described["parameters"] == 40 + 16 + 16 + 4
    assert described["elements"] == 40 + 16 + 16 + 4 + 4 + 3
    assert described["bytes"] == 2 * 72 + 4 * 8 + 8 * 3
    assert described["roles"] == {
        "embedding": {"tensors": 1, "elements": 40, "bytes": 80},
        "matrix": {"tensors": 2, "elements": 32, "bytes": 64},
        "norm": {"tensors": 1, "elements": 4, "bytes": 16},
        "statistic": {"tensors": 1, "elements": 4, "bytes": 16},
        "buffer": {"tensors": 1, "elements": 3, "bytes": 24},
    }
    assert {name: group["tensors"] for name, group in described["dtypes"].items()} == {"BF16": 3, "F32": 2, "I64": 1}
    assert {name: group["tensors"] for name, group in described["files"].items()} == {
        "model-00001-of-00002.safetensors": 2,
        "model-00002-of-00002.safetensors": 4,
    }
    assert described["layers"] == {"model.layers": 2}
    assert described["tied"] == {"lm_head.weight": "model.embed_tokens.weight"}
    assert described["stored_twice"] == {}
    assert described["obstacle"] is None
    tensors = {tensor["name"]: tensor for tensor in described["tensors"]}
    assert set(tensors) == set(TENSORS)
    assert tensors["model.layers.1.self_attn.q_proj.weight"] == {
        "name": "model.layers.1.self_attn.q_proj.weight",
        "shape": [4, 4],
        "dtype": "BF16",
        "role": "matrix",
        "layer": "model.layers.1",
        "depth": 1.0,
        "elements": 16,
        "bytes": 32,
        "file": str(Path(checkpoint) / "model-00002-of-00002.safetensors"),
    }


def test_inspect_prints_a_summary_and_tables_of_roles_and_files(checkpoint: str, capsys) -> None:
    inspect(checkpoint, as_json=False, tensors=False)
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines()]
    assert "6 tensors, 76 parameters, 200 B in 2 files." in text
    assert "Layers: model.layers (2)" in text
    assert "Tied: lm_head.weight = model.embed_tokens.weight" in text
    assert "Cannot be merged" not in text
    assert ["matrix", "BF16", "2", "32", "64", "B"] in rows
    assert ["model-00001-of-00002.safetensors", "2", "112", "B"] in rows
    assert "q_proj" not in text


def test_inspect_lists_tensors_on_one_line_each_if_asked(checkpoint: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    inspect(checkpoint, as_json=False, tensors=True)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name in TENSORS:
        assert [row for row in rows if row[:1] == [name] and row[-1] == "B"], name
    assert ["model.layers.0.self_attn.q_proj.weight", "matrix", "BF16", "4", "×", "4", "32", "B"] in rows


def test_tied_tensors_in_memory_count_once_as_parameters() -> None:
    table = torch.zeros(10, 4)
    described = describe(Memory({"wte.weight": table, "lm_head.weight": table, "scale": torch.tensor(1.0)}))
    assert described["tied"] == {"lm_head.weight": "wte.weight"}
    assert (described["parameters"], described["elements"]) == (41, 81)


def test_inspect_shows_why_a_checkpoint_cannot_be_merged(tmp_path: Path, capsys) -> None:
    save_file({"layers.0.qweight": torch.zeros(2, 2, dtype=torch.int32)}, tmp_path / "model.safetensors")
    inspect(str(tmp_path / "model.safetensors"), as_json=False, tensors=False)
    text = capsys.readouterr().out
    assert "Cannot be merged: " in text
    assert "layers.0.qweight: the weights are packed or scaled (GPTQ or AWQ)" in text
    assert "in 1 file." in text


def test_inspect_lists_what_is_called_tied_but_stored_twice(tmp_path: Path, capsys) -> None:
    tensors = {"shared.weight": torch.zeros(10, 4), "lm_head.weight": torch.ones(10, 4)}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": true}')
    inspect(str(tmp_path), as_json=False, tensors=False)
    text = capsys.readouterr().out
    assert "Stored twice: lm_head.weight, shared.weight" in text
    assert "Tied" not in text


def test_inspect_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        inspect(str(tmp_path / "nothing"), as_json=True, tensors=False)


def test_inspect_imports_no_torch(checkpoint: str) -> None:
    code = (
        "import sys; from cuvee.cli.inspect import inspect; inspect(sys.argv[1], as_json=False, tensors=True);"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, checkpoint], check=True, capture_output=True)
