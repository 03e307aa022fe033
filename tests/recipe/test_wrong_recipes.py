"""Wrong recipes are refused, with a sentence that names file, line, what is wrong and what would be right.

And whatever stands in the file, the answer is a recipe or such a sentence.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cuvee
from cuvee.errors import RecipeError
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.rule import Output, Rule
from strategies import recipes

TOP = "cuvee: 1\nmethod: linear\nmodels: [a, b]\n"
NINES = "9" * 400

# What follows the three lines of TOP, the line that must be named, and words that must be said.
AFTER_TOP = [
    ("metod: ties", 4, "a recipe has no key 'metod'. Did you mean 'method'?"),
    ("models: [c]", 4, "the key 'models' is given twice"),
    ("5: x", 1, "5 cannot be a key; keys are text"),
    ("null: x", 1, "None cannot be a key"),
    ("[a]: x", 1, "a list cannot be a key"),
    ("seed: x", 4, "'seed' is 'x'; it must be a whole number"),
    ("seed: 1.5", 4, "'seed' is 1.5; it must be a whole number"),
    ("seed: 010", 4, "'seed' is '010'"),
    ("seed: 1:30", 4, "'seed' is '1:30'"),
    ("seed: true", 4, "it must be a whole number"),
    ("seed:", 4, "'seed' is None"),
    ("seed: !!int x", 4, "'x' cannot be read as int"),
    (f"seed: {'9' * 5000}", 4, "cannot be read as int"),
    ("seed: 2020-01-01", 4, "'seed' is '2020-01-01'"),
    ("base: 5", 4, "model 'base': 5 is not a path to a model (nor, in Python, a state dict or a source). Put a name"),
    ("base: 1e5", 4, "Put a name made of digits in quotes."),
    ("base: ''", 4, "'' is not a path to a model"),
    ("base: false", 4, "False is not a path to a model"),
    ("base: {}", 4, "{} is not a path to a model (nor, in Python, a state dict or a source). It is empty."),
    ("base: [a]", 4, "['a'] is not a path to a model"),
    ("base:\n  model: a", 4, "Write the path by itself; settings go under 'parameters'."),
    # keys that people bring from elsewhere, or put one level too high
    ("base_model: c", 4, "a recipe has no key 'base_model'. Did you mean 'base'?"),
    ("merge_method: ties", 4, "a recipe has no key 'merge_method'. Did you mean 'method'?"),
    ("dtype: bfloat16", 4, "a recipe has no key 'dtype'. Say output: {dtype: ...}."),
    ("shard_size: 5GB", 4, "Say output: {shard_size: ...}."),
    ("custom_code: true", 4, "Say output: {custom_code: ...}."),
    ("weight: [1, 2]", 4, "a recipe has no key 'weight'. Say parameters: {weight: ...}."),
    ("density: 0.3", 4, "a recipe has no key 'density'. Its keys are:"),
    # parameters
    ("parameters: 5", 4, "'parameters' must be a mapping (key: value), not a number"),
    ("parameters: [weight]", 4, "'parameters' must be a mapping (key: value), not a list"),
    ("parameters:\n  wieght: 1", 5, "method 'linear' has no parameter 'wieght'. Did you mean 'weight'?"),
    ("parameters: {weight: 1, weight: 2}", 4, "the key 'weight' is given twice"),
    ("parameters:\n  normalize: 1", 5, "'normalize' is 1; it must be true or false"),
    ("parameters: {normalize: [true, true]}", 4, "'normalize' is a list; it must be true or false."),
    ("parameters: {normalize: {m0: true}}", 4, "it has no value for each model"),
    ("parameters: {normalize: {over_depth: [1]}}", 4, "'normalize' is 1; it must be true or false"),
    ("parameters:\n  weight: heavy", 5, "'weight' is 'heavy'; it must be a number"),
    ("parameters:\n  weight: true", 5, "'weight' is true; it must be a number"),
    ("parameters:\n  weight: null", 5, "'weight' is None; it must be a number"),
    ("parameters:\n  weight: 1000000.5", 5, "'weight' is 1000000.5; it must lie between -1e+06 and 1e+06"),
    ("parameters:\n  weight: -1000001", 5, "it must lie between -1e"),
    ("parameters:\n  weight: .nan", 5, "it must be a finite number"),
    ("parameters:\n  weight: -.inf", 5, "it must be a finite number"),
    ("parameters:\n  weight: 1e400", 5, "it must be a finite number"),
    (f"parameters:\n  weight: {NINES}", 5, "...9999999999999999999; it must be a finite number"),
    ("parameters:\n  weight:\n  - 1\n  - 2\n  - 3", 5, "'weight' has 3 values for 2 models (m0, m1)"),
    ("parameters:\n  weight:\n  - 1\n  - x", 7, "'weight' is 'x'; it must be a number"),
    ("parameters:\n  weight: [1, [2]]", 5, "'weight' is a list; it must be a number"),
    ("parameters:\n  weight: []", 5, "'weight' has 0 values for 2 models"),
    ("parameters:\n  weight:\n    m0: 1\n    m2: 2", 7, "names the model 'm2', which the recipe does not have."),
    ("parameters:\n  weight:\n    m0: 1\n    m2: 2", 7, "Its models are: m0, m1."),
    ("parameters:\n  weight: {m0: 1}", 5, "'weight' has no value for the model 'm1'"),
    ("parameters:\n  weight: {m0: 1, m1: 9900000}", 5, "it must lie between -1e"),
    ("parameters:\n  weight: {over_depth: 1}", 5, "'over_depth' is 1; expected [first, ..., last]"),
    ("parameters:\n  weight: {over_depth: abc}", 5, "'over_depth' is 'abc'; expected [first, ..., last]"),
    ("parameters:\n  weight: {over_depth: []}", 5, "expected [first, ..., last], one value at least"),
    ("parameters:\n  weight: {over_depth: [1, 2000000]}", 5, "it must lie between -1e"),
    ("parameters:\n  weight: {over_depth: [1, x]}", 5, "'weight' is 'x'"),
    ("parameters:\n  weight: {over_depth: [1, .nan]}", 5, "it must be a finite number"),
    ("parameters:\n  weight: {over_depth: [1, {over_depth: [1]}]}", 5, "it must be a number"),
    ("parameters:\n  weight: {over_depth: [1], m0: 1}", 5, "'weight' has the key 'm0' beside 'over_depth'"),
    ("parameters: {over_depth: [1, 2]}", 4, "method 'linear' has no parameter 'over_depth'"),
    # rules
    ("tensors: {match: a}", 4, "'tensors' must be a list, not a mapping (key: value)"),
    ("tensors: [a]", 4, "a rule must be a mapping (key: value), not text"),
    ("tensors:\n- mach: a", 5, "a rule has no key 'mach'. Did you mean 'match'?"),
    ("tensors:\n- {}", 5, "a rule needs 'match'"),
    ("tensors:\n- match: 5", 5, "a rule needs 'match'"),
    ("tensors:\n- match: {a: b}", 5, "a rule needs 'match'"),
    ("tensors:\n- match: []", 5, "a rule needs 'match'"),
    ("tensors:\n- match: [a, 5]", 5, "a rule needs 'match'"),
    ("tensors:\n- match: ''", 5, "a rule needs 'match'"),
    ("tensors:\n- match: a\n  skip: 1", 6, "'skip' is 1; it must be true or false"),
    ("tensors:\n- match: a\n  copy: m0\n  skip: true", 5, "a rule says one of: copy, skip, or another method"),
    ("tensors:\n- match: a\n  copy: m0\n  method: linear", 5, "a rule says one of"),
    ("tensors:\n- match: a\n  skip: true\n  parameters: {weight: 1}", 5, "a rule says one of"),
    ("tensors:\n- match: a\n  copy: mo0", 6, "copies from 'mo0', which the recipe does not have. Did you mean 'm0'?"),
    ("tensors:\n- match: a\n  copy: base", 6, "copies from 'base', which the recipe does not have"),
    ("tensors:\n- match: a\n  copy: [m0]", 6, "'copy' is ['m0']; it must be a name"),
    ("tensors:\n- match: a\n  method: liner", 6, "method 'liner' is not known. Did you mean 'linear'?"),
    ("tensors:\n- match: a\n  method: [linear]", 6, "'method' is ['linear']; it must be a name"),
    ("tensors:\n- match: a\n- match: b\n  parameters:\n    wieght: 1", 8, "Did you mean 'weight'?"),
    ("tensors:\n- match: a\n  method: slerp\n  parameters: {weight: 1}", 7, "method 'slerp' has no parameter 'weight'"),
    ("tensors:\n- match: a\n  parameters: 5", 6, "'parameters' must be a mapping (key: value), not a number"),
    ("tensors:\n- match: a\n  parts: 0", 6, "'parts' is 0; it must be a whole number from 1"),
    ("tensors:\n- match: a\n  parts: two", 6, "'parts' is 'two'"),
    ("tensors:\n- match: a\n  method: copy", 5, "method 'copy' takes 1 model; the recipe has 2"),
    # output
    ("output: bfloat16", 4, "output must be a mapping (key: value), not text"),
    ("output:\n  dtipe: bfloat16", 5, "output has no key 'dtipe'. Did you mean 'dtype'?"),
    ("output:\n  dtype: bfloat61", 5, "output dtype 'bfloat61' is not known. Did you mean 'bfloat16'?"),
    ("output:\n  dtype: bf16", 5, "output dtype 'bf16' is not known. Did you mean 'bfloat16'?"),
    ("output:\n  dtype: int8", 5, "output dtype 'int8' is not known."),
    ("output:\n  dtype: [bfloat16]", 5, "output dtype ['bfloat16'] is not known."),
    ("output:\n  dtype: 16", 5, "output dtype 16 is not known."),
    ("output:\n  shard_size: 0", 5, "shard_size is 0; it must be a positive number of bytes"),
    ("output:\n  shard_size: -5GB", 5, "shard_size is '-5GB'; write it as 5GB, 500MB or a number of bytes"),
    ("output:\n  shard_size: 5 parsecs", 5, "write it as 5GB, 500MB or a number of bytes"),
    ("output:\n  shard_size: 0.1B", 5, "it must be a positive number of bytes"),
    ("output:\n  shard_size: 1.5", 5, "it must be a positive number of bytes"),
    ("output:\n  shard_size: .inf", 5, "it must be a positive number of bytes"),
    ("output:\n  shard_size: true", 5, "it must be a positive number of bytes"),
    (f"output:\n  shard_size: {NINES}GB", 5, "write it as 5GB"),
    ("output:\n  custom_code: 1", 5, "custom_code is 1; it must be true or false"),
]

# Whole files, with line (or None) and words.
WHOLE = [
    ("", None, "a recipe must be a mapping (key: value), not nothing"),
    ("# a comment\n", None, "a recipe must be a mapping (key: value), not nothing"),
    ("linear", 1, "a recipe must be a mapping (key: value), not text"),
    ("- a\n- b", 1, "a recipe must be a mapping (key: value), not a list"),
    ("method: linear\nmodels: [a]", 1, "a recipe begins with 'cuvee: 1', the version of its format; it has none"),
    ("method: linear\ncuvee: 2\nmodels: [a]", 2, "a recipe begins with 'cuvee: 1'"),
    ("cuvee: 2\nmethod: linear\nmodels: [a]", 1, "it says 2"),
    ("cuvee: '1'\nmethod: linear\nmodels: [a]", 1, "it says '1'"),
    ("cuvee: true\nmethod: linear\nmodels: [a]", 1, "it says True"),
    ("cuvee: [1]\nmethod: linear\nmodels: [a]", 1, "it says [1]"),
    ("cuvee: 1\nmodels: [a]", 1, "the recipe has no 'method'"),
    ("cuvee: 1\nmethod: linear", 1, "the recipe has no 'models'"),
    ("cuvee: 1\nmethod: tise\nmodels: [a]", 2, "method 'tise' is not known. Did you mean 'ties'?"),
    ("cuvee: 1\nmethod: 5\nmodels: [a]", 2, "'method' is 5; it must be the name of a method"),
    ("cuvee: 1\nmethod: [ties]\nmodels: [a]", 2, "it must be the name of a method"),
    ("cuvee: 1\nmethod:\nmodels: [a]", 2, "it must be the name of a method"),
    ("cuvee: 1\nmethod: linear\nmodels: []", 3, "'models' is empty; name at least one model"),
    ("cuvee: 1\nmethod: linear\nmodels: {}", 3, "'models' is empty; name at least one model"),
    ("cuvee: 1\nmethod: linear\nmodels:", 3, "'models' must be a list of paths, or label: path for each model"),
    ("cuvee: 1\nmethod: linear\nmodels: a", 3, "'models' must be a list of paths, or label: path for each model"),
    ("cuvee: 1\nmethod: linear\nmodels:\n- a\n- 12e4", 5, "Put a name made of digits in quotes."),
    ("cuvee: 1\nmethod: linear\nmodels:\n- a\n-", 5, "None is not a path to a model"),
    ("cuvee: 1\nmethod: linear\nmodels:\n- model: a\n  parameters: {weight: 1}", 4, "Write the path by itself"),
    ("cuvee: 1\nmethod: linear\nmodels:\n  a: x\n  a: y", 5, "the key 'a' is given twice"),
    ("cuvee: 1\nmethod: linear\nmodels:\n  a: x\n  my model: y", 5, "'my model' is not a label for a model"),
    ("cuvee: 1\nmethod: linear\nmodels:\n  base: x", 4, "'base' is not a label for a model"),
    ("cuvee: 1\nmethod: linear\nmodels:\n  over_depth: x", 4, "'over_depth' is not a label for a model"),
    ("cuvee: 1\nmethod: linear\nmodels:\n  '': x", 4, "'' is not a label for a model"),
    ("cuvee: 1\nmethod: slerp\nmodels: [a]", 3, "method 'slerp' takes 2 models; the recipe has 1"),
    ("cuvee: 1\nmethod: slerp\nmodels: [a, b, c]", 3, "method 'slerp' takes 2 models; the recipe has 3"),
    ("cuvee: 1\nmethod: copy\nmodels: [a, b]", 3, "method 'copy' takes 1 model; the recipe has 2"),
    (
        "cuvee: 1\nmethod: slerp\nmodels: [a, b]\nparameters:\n  norm: larp",
        5,
        "'norm' is 'larp'; it can be: raw, lerp, first. Did you mean 'lerp'?",
    ),
    ("cuvee: 1\nmethod: slerp\nmodels: [a, b]\nparameters:\n  norm: [raw]", 5, "'norm' is a list; it can be: raw"),
    (
        "cuvee: 1\nmethod: slerp\nmodels: [a, b]\nparameters:\n  t: [0, 0.5, 1]",
        5,
        "'t' is a list; it must be a number. Values over depth are written {over_depth: [...]}.",
    ),
    (
        "cuvee: 1\nmethod: linear\nmodels: [a, b]\nparameters:\n  weight: [1, [0, 1]]",
        5,
        "Values over depth are written {over_depth: [...]}.",
    ),
    (
        "models:\n- model: a\nmerge_method: ties\nbase_model: b\ndtype: bfloat16",
        3,
        "this is a mergekit configuration, not a recipe. `cuvee merge`, `cuvee plan` and `cuvee convert` (cuvee.merge, "
        "cuvee.plan) take it as it is.",
    ),
    ("cuvee: 1\nmethod: [ties]\nmodels: [a]\ndensity: 1", 4, "a recipe has no key 'density'. Its keys are:"),
    ("cuvee: 1\nmethod: slerp\nmodels: [a, b]\nparameters:\n  t: {m0: 1}", 5, "it has no value for each model"),
    (
        "cuvee: 1\nmethod: slerp\nmodels: [a, b]\nparameters:\n  vectors: {over_depth: [task]}",
        5,
        "holds for the whole merge and cannot vary",
    ),
    ("cuvee: 1\n---\nmethod: linear", None, "must be a mapping (key: value), not several documents, divided by ---."),
    ("cuvee: 1\nmethod: linear: x", None, "not a recipe: line 2: mapping values are not allowed here"),
    ("cuvee: 1\n\tmethod: linear", None, "not a recipe: line 2:"),
    (
        "cuvee: 1\nmodels:\n\t- a",
        None,
        "not a recipe: line 3: there is a tab where a value or a key should begin. Indent with",
    ),
    ("cuvee: 1\nmethod: *m", None, "not a recipe: line 2: found undefined alias 'm'"),
    ("cuvee: !!python/name:os.system x", 1, "'x' cannot be read as python/name:os.system"),
    ("<<: {cuvee: 1}", 1, "the recipe has no 'method'"),
    ("cuvee: 1\n<<: linear", 1, "'<<' takes over a mapping, or a list of mappings (*name)."),
    ("cuvee: !!python/object/apply:os.system [true]", 1, "the tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
    ("cuvee: 1\nmodels: !!set {a, b}", 2, "the tag 'tag:yaml.org,2002:set' cannot stand in a recipe"),
    ("cuvee: 1\nmodels: !mine [a, b]", 2, "the tag '!mine' cannot stand in a recipe"),
    ("cuvee: 1\nbase: !!binary aGVsbG8=", 2, "a value of type bytes cannot stand in a recipe"),
]


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    return str(caught.value)


def assert_refused(path: Path, content: str | bytes, line: int | None, words: str) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refusal(path)
    place = f"{path}:{line}: " if line else f"{path}: "
    assert message.startswith(place), message
    assert words in message, message
    assert message.endswith((".", "?")), message
    assert "\n" not in message, message
    assert len(message) < 400 + len(str(path)), message


@pytest.mark.parametrize(
    ("content", "line", "words"), AFTER_TOP, ids=[f"{i}-{row[0][:40]!r}" for i, row in enumerate(AFTER_TOP)]
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, content: str, line: int, words: str) -> None:
    assert_refused(tmp_path / "recipe.yaml", TOP + content, line, words)


@pytest.mark.parametrize(
    ("content", "line", "words"), WHOLE, ids=[f"{i}-{row[0][:40]!r}" for i, row in enumerate(WHOLE)]
)
def test_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str, line: int | None, words: str) -> None:
    assert_refused(tmp_path / "recipe.yaml", content, line, words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfec\0u\0v\0", "byte 0 is not UTF-8 text. Name a YAML file, and save it as UTF-8"),
        ("method: café".encode("latin-1"), "byte 11 is not UTF-8 text"),
        (b"cuvee: 1\0", "special characters are not allowed"),
        (b"x" * 2_000_001, "it is larger than 2,000,000 bytes. Name the recipe's YAML file"),
    ],
)
def test_file_that_is_not_text_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert_refused(tmp_path / "recipe.yaml", content, None, words)


def test_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing.yaml") == (
        f"{tmp_path / 'nothing.yaml'}: the recipe cannot be read: No such file or directory."
    )
    assert refusal(tmp_path) == f"{tmp_path}: the recipe cannot be read: Is a directory."


def test_byte_order_mark_is_no_part_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xef\xbb\xbf" + TOP.encode())
    assert Recipe.load(tmp_path / "recipe.yaml").labels == ("m0", "m1")


def test_error_keeps_its_place_for_programs() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_mapping(
            {"cuvee": 1, "method": "linear", "models": ["a"], "tensors": [{"match": "x", "parameters": {"w": 1}}]}
        )
    assert caught.value.where == ("tensors", 0, "parameters", "w")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Recipe(method="linear", models="a"), "must be a list of paths"),
        (lambda: Recipe(method="linear", models=[]), "'models' is empty"),
        (lambda: Recipe(method="linear", models={5: "a"}), "5 is not a label"),
        (lambda: Recipe(method="linear", models=["a"], parameters={"wieght": 1}), "Did you mean 'weight'"),
        (lambda: Recipe(method="linear", models=["a"], seed=None), "'seed' is None"),
        (lambda: Recipe(method="linear", models=["a"], tensors=[Rule(match="x", copy="m")]), "copies from 'm'"),
        (lambda: Rule(match=None), "a rule needs 'match'"),
        (lambda: Rule(match="x", skip=True, copy="m0"), "a rule says one of"),
        (lambda: Output(dtype="fp16"), "output dtype 'fp16' is not known"),
        (lambda: Output(shard_size=True), "must be a positive number of bytes"),
        (lambda: Recipe.from_mapping(None), "must be a mapping"),
        (lambda: Recipe.from_mapping({1: 2}), "a recipe has no key '1'"),
    ],
)
def test_recipes_from_python_are_checked_alike(make: Any, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()
    assert words in str(caught.value)


EXPECTED = "is not a path to a model (nor, in Python, a state dict or a source)."


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (3, f"3 {EXPECTED} Put a name made of digits in quotes."),
        (True, f"True {EXPECTED}"),
        (None, f"None {EXPECTED}"),
        ("", f"'' {EXPECTED}"),
        (b"models/math", f"a bytes {EXPECTED}"),
        ({}, f"{{}} {EXPECTED} It is empty."),
        (np.zeros(3), f"a ndarray {EXPECTED} Name it in a state dict, or merge single tensors"),
        (torch.zeros(3), f"a Tensor {EXPECTED} Name it in a state dict"),
        (torch.nn.Linear(2, 2), f"a Linear {EXPECTED} Call its .state_dict()."),
        ({"step": 1, "net": {"w": torch.ones(1)}}, f"{EXPECTED} Give the state dict itself, which it has under"),
        ({"model": "a"}, f"{{'model': 'a'}} {EXPECTED} Write the path by itself; settings go under 'parameters'."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_model_is_refused_by_its_label_when_the_recipe_is_made(reference: Any, said: str) -> None:
    for models, label, where in (
        ({"good": "a", "bad": reference}, "bad", ("models", "bad")),
        (["a", reference], "m1", ("models", 1)),
    ):
        with pytest.raises(RecipeError) as caught:
            Recipe(method="linear", models=models)
        assert str(caught.value).startswith(f"model '{label}': ")
        assert said in str(caught.value)
        assert caught.value.where == where
    if reference is not None:
        with pytest.raises(RecipeError, match="model 'base': ") as caught:
            Recipe(method="linear", models=["a"], base=reference)
        assert caught.value.where == ("base",)


def test_mergekit_configuration_given_as_plain_values_is_recognised() -> None:
    with pytest.raises(RecipeError, match="this is a mergekit configuration"):
        Recipe.from_mapping({"merge_method": "linear", "slices": []})


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Keys and indices that lead to everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(place for key, inner in items for place in places(inner, (*where, key)))]


@given(recipe=recipes(), data=st.data())
def test_recipe_with_anything_put_anywhere_is_a_recipe_or_refused(recipe: Recipe, data: st.DataObject) -> None:
    content = copy.deepcopy(recipe.to_mapping())
    *path, last = data.draw(st.sampled_from(places(content)[1:]))
    holder: Any = content
    for key in path:
        holder = holder[key]
    holder[last] = data.draw(plain)
    try:
        changed = Recipe.from_mapping(content)
    except RecipeError as error:
        assert str(error).endswith((".", "?"))  # noqa: PT017  either is right; anything else fails the test
    else:
        assert Recipe.from_mapping(changed.to_mapping()) == changed


@given(raw=st.one_of(st.binary(max_size=60), st.text("cuve:1 \n-[]{}'\"*&!#|>%@`,?~\t", max_size=40).map(str.encode)))
def test_any_file_is_a_recipe_or_refused(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)
    assert str(path) in refusal(path)


def test_several_recipes_where_one_is_expected_name_what_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "several.yaml"
    first, second = "a: {method: linear, models: [x, y]}", "b: {method: linear, models: [x, z]}"
    path.write_text(f"cuvee: 1\nrecipes:\n  {first}\n  {second}\n")
    with pytest.raises(RecipeError, match=r"several.yaml:2: these are several recipes, .*cuvee.merge and cuvee.plan"):
        Recipe.load(path)


@pytest.mark.parametrize("wrong", [None, 5, ["recipe.yaml"]])
@pytest.mark.parametrize("call", [cuvee.plan, Recipe.of, lambda recipe: cuvee.merge(recipe, "out")])
def test_what_is_no_recipe_is_refused(call: Callable[[Any], object], wrong: Any) -> None:
    with pytest.raises(RecipeError, match="a recipe must be a mapping"):
        call(wrong)
