"""How YAML is read: numbers as people write them, lines kept, hostile files refused at once."""

import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

from cuvee.errors import RecipeError
from cuvee.recipe.yaml_text import dump, read


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "file.yaml"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1e+5", 100000.0),
        ("-2.5e-3", -0.0025),
        (".5", 0.5),
        ("5.", 5.0),
        ("+.5e1", 5.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("0", 0),
        ("-0", 0),
        ("-7", -7),
        ("007", "007"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("1.2.3", "1.2.3"),
        ("٣", "٣"),
        ("2020-01-01", "2020-01-01"),
        (".", "."),
        ("..", ".."),
        ("~", None),
        ("null", None),
        ("true", True),
        ("'1'", "1"),
        ("!!str 1", "1"),
    ],
)
def test_scalars_are_read_as_people_write_them(tmp_path: Path, text: str, value: object) -> None:
    content, _ = read(written(tmp_path, f"key: {text}"))
    assert content == {"key": value}
    assert type(content["key"]) is type(value)


def test_every_value_has_its_line(tmp_path: Path) -> None:
    text = "a: 1\nb:\n  c: [2,\n    3]\n  d:\n  - e\n  - {f: 4}\n"
    assert read(written(tmp_path, text))[1].lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 3,
        ("b", "c", 1): 4,
        ("b", "d"): 5,
        ("b", "d", 0): 6,
        ("b", "d", 1): 7,
        ("b", "d", 1, "f"): 7,
    }


def test_aliases_stand_for_their_values(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a: &x {b: 1}\nc: *x\nd: [*x, *x]"))[0] == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": [{"b": 1}, {"b": 1}],
    }


def bomb(levels: int = 9, width: int = 10) -> str:
    """A billion values in a few hundred bytes."""
    first = f"a0: &a0 [{', '.join(['x'] * width)}]\n"
    return first + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, levels))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(), "aliases (*name) stand for more than 1000 values"),
        (bomb().replace("[", "{k: [").replace("]", "]}"), "aliases (*name) stand for more than 1000 values"),
        ("a: &x [*x]", "it is nested too deeply, or refers to itself"),
        ("a: &x {b: *x}", "it is nested too deeply, or refers to itself"),
        ("[" * 100_000, "it is nested too deeply, or refers to itself"),
        ("{a: " * 100_000, "it is nested too deeply, or refers to itself"),
        ("[" * 60 + "]" * 60, "it is nested too deeply, or refers to itself"),
        ("- " * 5_000, "it is nested too deeply, or refers to itself"),
    ],
    ids=["bomb", "bomb of mappings", "list of itself", "mapping of itself", "lists", "mappings", "60 lists", "dashes"],
)
def test_hostile_yaml_is_refused_at_once(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)
    began = time.process_time()
    with pytest.raises(RecipeError) as caught:
        read(path)
    assert time.process_time() - began < 10
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_bomb_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path, bomb())
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError, match="aliases"):
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10e6


def test_thousand_repeated_values_are_enough_for_anyone(tmp_path: Path) -> None:
    assert read(written(tmp_path, "- &x 1\n" + "- *x\n" * 1000))[0] == [1] * 1001
    with pytest.raises(RecipeError, match=":1: aliases"):
        read(written(tmp_path, "- &x 1\n" + "- *x\n" * 1001))


ODD_TEXT = [
    "1e5",
    "1e-3",
    ".5",
    "010",
    "1:30",
    "0x10",
    "null",
    "~",
    "true",
    "yes",
    "",
    " ",
    "a: b",
    "- a",
    "#",
    "<<",
    "=",
]
ODD_TEXT += ["a\x85b", "\u2028", "\ufeff", "\0", "\n", "a\n\n b ", "\t", "2020-01-01", "😀", "é"]
ODD_VALUES = [1e-5, 1e16, -0.0, 5e-324, 1.7976931348623157e308, 10**30, True, None, [], {}, [{}], {"1": {"2": [3]}}]


@pytest.mark.parametrize("value", [*ODD_TEXT, *ODD_VALUES])
def test_what_is_dumped_is_read_back(tmp_path: Path, value: Any) -> None:
    path = written(tmp_path, dump({"key": value}))
    content: Any = read(path)[0]
    assert content == {"key": value}
    assert type(content["key"]) is type(value)


@pytest.mark.parametrize("value", ["text", "a\x85b", "1:30", 0.001, 5, True, None, ["a", 1]])
def test_what_is_dumped_is_ordinary_yaml(value: Any) -> None:
    assert yaml.safe_load(dump({"key": value})) == {"key": value}
