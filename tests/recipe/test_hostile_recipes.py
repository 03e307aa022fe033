"""Recipes and cards whose text was tampered with: a recipe or a RecipeError, a licence or none, and both at once."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.errors import RecipeError
from cuvee.recipe.licence import licence_of
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.yaml_text import MAX_BYTES, parse
from cuvee.spec import Source
from strategies import recipes

WORDS = [
    "&a ", "*a", "<<: *a\n", "<<: ", "!!python/object/apply:os.system [true]", "!!binary aGk=", "!!set {a}",
    "!!omap []", "!!timestamp 2020-01-01", "!!float x", "!!int 0x1", "!!null x", "!!str ", "!mine ",
    "!<tag:yaml.org,2002:int> 5", "%YAML 9.9\n---\n", "%TAG ! tag:x,2000:\n---\n",
    "---\n", "...\n", "? ", "? [a]\n: b\n", ": ", "- ", "|\n  x\n",
    ">-\n x\n", "{a: ", "[", "]", "}", "'", '"', '"\\ud800"', '"\\x00"', '"\\U0010ffff"', "1e999", "-0", ".nan",
    "-.inf", "9" * 400, "\t", "\0", "\ufeff", "\u202e", "\x85", "\u2028", "\ud7ff", "# ", "\n", "~", "null", "true",
    "yes", "0o7", "1_0", "../../etc/passwd", "/etc", "C:\\", "s3://", "a+b", "~root/x", "x" * 5000, "over_depth",
    "[*a, *a]", "\r", "\r\n", "*" + "x" * 5000, "!" + "x" * 5000 + " y", "x" * 5000 + ": y",
]  # fmt: skip
CARD = "---\nlicense: other\nlicense_name: mine\ntags:\n- merge\n---\n# A model\n"


def recipe_or_refusal(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    try:
        recipe = Recipe.load(path)
    except RecipeError as error:
        assert str(path) in str(error)  # noqa: PT017  either is right; anything else fails the test
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017
    else:
        recipe.save(path)
        assert Recipe.load(path) == recipe
        for rule in recipe.tensors:
            rule.matches("model.layers.0.weight")


@given(recipe=recipes(), data=st.data())
def test_recipe_with_words_put_into_its_text_is_a_recipe_or_refused(
    recipe: Recipe, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = recipe.to_yaml()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        end = place + data.draw(st.sampled_from([0, 0, 1, 5, 50]))
        text = text[:place] + data.draw(st.sampled_from(WORDS)) + text[end:]
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"]))
    recipe_or_refusal(tmp_path_factory.getbasetemp() / "hostile.yaml", text.encode(encoding, "replace"))


@pytest.mark.parametrize("word", WORDS, ids=range(len(WORDS)))
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "{}cuvee: 1\n",
        "cuvee: {}\n",
        "cuvee: 1\nmodels: {}\n",
        "cuvee: 1\nmethod: linear\nmodels: [{}, b]\n",
        "- {}",
    ],
)
def test_words_are_refused_or_read_wherever_they_stand(tmp_path: Path, word: str, form: str) -> None:
    recipe_or_refusal(tmp_path / "hostile.yaml", form.format(word).encode("utf-8", "replace"))


def licence(folder: Path, raw: bytes) -> str | None:
    (folder / "README.md").write_bytes(raw)
    return licence_of(cast(Source, SimpleNamespace(sidecars={"README.md": folder / "README.md"})))


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ('"MIT\\n# Heading"', "mit ? heading"),
        ('"a: b\\e[2J[x](http://y) `c` <b> *d*"', "a? b??2j?x?(http?//y) ?c? ?b? ?d?"),
        ("x" * 300, "x" * 99 + "…"),
        ('"- ? mit"', "mit"),
        ('"::"', None),
        ("[GPL-3.0+, mit]", "gpl-3.0+ and mit"),
    ],
)
def test_licence_is_one_short_line_that_does_nothing(tmp_path: Path, stated: str, said: str | None) -> None:
    assert licence(tmp_path, f"---\nlicense: {stated}\n---\n".encode()) == said


@given(data=st.data())
def test_card_never_stops_anything(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = CARD
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + data.draw(st.sampled_from(WORDS)) + text[place + data.draw(st.integers(0, 9)) :]
    raw = text.encode(data.draw(st.sampled_from(["utf-8", "utf-16", "latin-1"])), "replace")
    found = licence(tmp_path_factory.getbasetemp(), raw)
    assert found is None or isinstance(found, str)


@pytest.mark.parametrize(
    "value",
    [
        "&a [*a]",
        "[[[[mit]]]]",
        "{a: b}",
        "[{a: b}, 1]",
        "!!binary aGk=",
        "1e999",
        "2020-01-01",
        "'\\ud800'",
        "[" * 60000,
    ],
)
def test_card_may_state_anything_for_a_licence(tmp_path: Path, value: str) -> None:
    found = licence(tmp_path, f"---\nlicense: {value}\n---\n".encode())
    assert found is None or isinstance(found, str)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path), lambda path: None])
def test_card_that_is_no_file_states_nothing(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "README.md")
    card = cast(Source, SimpleNamespace(sidecars={"README.md": tmp_path / "README.md"}))
    assert licence_of(card) is None


LARGE = {
    "words in a list": lambda nbytes: "a: [" + "a," * (nbytes // 2 - 9) + "]",
    "empty lists": lambda nbytes: "a: [" + "[]," * (nbytes // 3 - 9) + "]",
    "keys": lambda nbytes: "".join(f"k{i}: 1\n" for i in range(nbytes // 12)),
    "anchors": lambda nbytes: "".join(f"- &a{i} x\n" for i in range(nbytes // 13)),
    "questions": lambda nbytes: "? " * (nbytes // 2),
    "documents": lambda nbytes: "--- a\n" * (nbytes // 6),
    "directives": lambda nbytes: "%A b\n" * (nbytes // 5) + "--- a",
    "quotes": lambda nbytes: '"' + "\\n" * (nbytes // 2 - 1) + '"',
    "an open quote": lambda nbytes: "'" + "\n" * (nbytes - 2),
    "folded lines": lambda nbytes: "a: >\n" + "  a\n\n" * (nbytes // 6),
    "spaces": lambda nbytes: " " * nbytes,
    "colons": lambda nbytes: ": " * (nbytes // 2),
}


@pytest.mark.parametrize("kind", LARGE)
def test_time_grows_with_the_text_and_no_faster(kind: str) -> None:
    """Four times the text may take little more than four times as long; a second is for a busy machine."""
    taken = []
    for nbytes in (20_000, 80_000):
        began = time.process_time()
        try:
            parse(LARGE[kind](nbytes), Path("large.yaml"))
        except RecipeError as error:
            assert str(error)  # noqa: PT017
        taken.append(time.process_time() - began)
    assert taken[1] < 8 * taken[0] + 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGE)
def test_largest_recipe_is_read_or_refused_in_bounded_time(tmp_path: Path, kind: str) -> None:
    began = time.process_time()
    recipe_or_refusal(tmp_path / "large.yaml", LARGE[kind](MAX_BYTES).encode()[:MAX_BYTES])
    assert time.process_time() - began < 90
