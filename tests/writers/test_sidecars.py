import json
from pathlib import Path
from typing import Any

import pytest

from cuvee.errors import OutputError
from cuvee.spec import DTYPES
from cuvee.writers.sidecars import sidecar_files


def files(tmp_path: Path, **contents: str) -> dict[str, Path]:
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    return {name: tmp_path / name for name in contents}


def updated(tmp_path: Path, config: dict[str, Any], dtype: str | None, **updates: object) -> Any:
    sources = files(tmp_path, **{"config.json": json.dumps(config)})
    made = sidecar_files(sources, dtype=DTYPES[dtype] if dtype else None, config_updates=updates)
    return json.loads(made["config.json"])


def test_files_are_copied_byte_by_byte(tmp_path: Path) -> None:
    sources = files(
        tmp_path, **{"config.json": '{ "a":1 }', "tokenizer.json": "not even JSON", "merges.txt": "a b\r\n"}
    )
    made = sidecar_files(sources, dtype=None)
    assert made == {name: path.read_bytes() for name, path in sources.items()}


def test_custom_code_travels_only_when_asked(tmp_path: Path) -> None:
    sources = files(tmp_path, **{"config.json": '{"auto_map": {}}', "modeling_mine.py": "pass"})
    assert set(sidecar_files(sources, dtype=None, custom_code=False)) == {"config.json"}
    assert set(sidecar_files(sources, dtype=None, custom_code=True)) == {"config.json", "modeling_mine.py"}


@pytest.mark.parametrize(
    ("dtype", "name"), [("BF16", "bfloat16"), ("F16", "float16"), ("F32", "float32"), ("F64", "float64")]
)
def test_configuration_names_the_output_dtype(dtype: str, name: str, tmp_path: Path) -> None:
    assert updated(tmp_path, {"dtype": "float8"}, dtype) == {"dtype": name}
    assert updated(tmp_path, {"torch_dtype": "x"}, dtype) == {"torch_dtype": name}
    assert updated(tmp_path, {"torch_dtype": "x", "dtype": "y"}, dtype) == {"torch_dtype": name, "dtype": name}
    assert updated(tmp_path, {"a": 1}, dtype) == {"a": 1, "dtype": name}


@pytest.mark.parametrize("dtype", [None, "F8_E4M3", "F8_E5M2"])
def test_configuration_keeps_its_dtype_if_the_model_is_not_built_in_the_output_dtype(
    dtype: str | None, tmp_path: Path
) -> None:
    assert updated(tmp_path, {"dtype": "bfloat16"}, dtype) == {"dtype": "bfloat16"}
    assert updated(tmp_path, {}, dtype) == {}


def test_parts_of_the_model_follow_where_they_name_a_dtype(tmp_path: Path) -> None:
    config = {
        "text_config": {"torch_dtype": "x"},
        "vision_config": {"a": 1},
        "quantization_config": {"dtype": "x"},
        "rope": {"dtype": "x"},
    }
    assert updated(tmp_path, config, "F16") == {**config, "text_config": {"torch_dtype": "float16"}, "dtype": "float16"}


def test_updates_are_set_and_the_order_of_keys_stays(tmp_path: Path) -> None:
    made = updated(tmp_path, {"z": 1, "num_hidden_layers": 2, "a": "é"}, None, num_hidden_layers=3, new=[1])
    assert list(made.items()) == [("z", 1), ("num_hidden_layers", 3), ("a", "é"), ("new", [1])]


def test_infinity_in_a_configuration_survives(tmp_path: Path) -> None:
    assert updated(tmp_path, {"time_step_limit": [0.0, float("inf")]}, "F32")["time_step_limit"] == [0.0, float("inf")]


def test_output_without_configuration_gets_none(tmp_path: Path) -> None:
    assert sidecar_files({}, dtype=DTYPES["F32"]) == {}


@pytest.mark.parametrize("text", ["{", "[]"])
def test_malformed_configuration_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"config.json is "):
        sidecar_files(files(tmp_path, **{"config.json": text}), dtype=None)


def test_missing_sidecar_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"vocab.txt cannot be copied: No such file"):
        sidecar_files({"vocab.txt": tmp_path / "vocab.txt"}, dtype=None)


def test_keys_are_changed_at_the_top_and_in_the_parts_that_are_named(tmp_path: Path) -> None:
    config = {
        "tie_word_embeddings": True,
        "text_config": {"tie_word_embeddings": True, "depth": 3},
        "vision_config": {"depth": 2, "tie_word_embeddings": True},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    updates = {"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": False, "new": [1]}}
    files = sidecar_files({"config.json": tmp_path / "config.json"}, dtype=None, config_updates=updates)
    assert json.loads(files["config.json"]) == {
        "tie_word_embeddings": False,
        "text_config": {"tie_word_embeddings": False, "depth": 3, "new": [1]},
        "vision_config": {"depth": 2, "tie_word_embeddings": True},
    }
