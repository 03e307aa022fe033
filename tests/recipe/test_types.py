"""A user's type checker takes what the documents show, in strict mode: the package says that it is typed."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

SCRIPT = """\
from pathlib import Path

import torch

import cuvee

as_list = cuvee.Recipe(method="linear", models=["a", Path("b")])
as_mapping = cuvee.Recipe(method="linear", models={"x": "a"}, tensors=[cuvee.Rule(match="*", copy="x")])
several = cuvee.Recipe(method="linear", models=["a"], tensors=(cuvee.Rule(match=["a", "b"], skip=True),))
output = cuvee.Output(dtype=torch.bfloat16, shard_size="2GB")
recipe = cuvee.Recipe(method="linear", models=[{"w": torch.ones(1)}, cuvee.open_source("a")], output=output)
cuvee.merge_variants({"out": as_list})
cuvee.merge_variants({"out": as_list, "other": "recipe.yaml", "third": {"cuvee": 1}})
cuvee.merge_variants({Path("out"): as_list})
cuvee.merge_variants({f"scale-{scale}": recipe.but(scale=scale) for scale in (0.3, 0.4)})
either: dict[str | Path, cuvee.Recipe] = {"out": recipe, Path("other"): recipe}
cuvee.merge_variants(either)
reveal_type(as_list.models["m0"])
reveal_type(as_mapping.tensors[0].match)
reveal_type(output.dtype)
reveal_type(output.shard_size)
"""
REVEALED = [
    "str | PathLike[str] | Mapping[str, Any] | Source | Merge",
    "tuple[str, ...]",
    "str | None",
    "int",
]
WRONG = """\
import cuvee

cuvee.Recipe(method="linear", models=5)
cuvee.Rule(match=None)
cuvee.Output(shard_size=None)
cuvee.merge_variants({5: "recipe.yaml"})
"""


def code_of(page: Path) -> str:
    """Return a page's blocks of Python as one script."""
    examples = doctest.DocTestParser().get_examples
    blocks = [found[1] for found in PYTHON.finditer(page.read_text())]
    return "".join("".join(e.source for e in examples(text)) if ">>>" in text else text for text in blocks)


@pytest.mark.slow  # mypy reads torch
def test_documented_code_passes_a_strict_type_checker(tmp_path: Path) -> None:
    scripts = {"script": SCRIPT, "wrong": WRONG}
    scripts |= {page.stem.lower(): code_of(page) for page in (ROOT / "README.md", ROOT / "docs" / "python.md")}
    for name, code in scripts.items():
        (tmp_path / f"{name}.py").write_text(code)
    options = ["--strict", "--no-color-output", "--no-error-summary", f"--cache-dir={tmp_path / 'cache'}"]
    options += ["--config-file=", *sorted(str(tmp_path / f"{name}.py") for name in scripts)]
    # A process of its own: mypy raises the limit of recursion, which other tests rely on.
    run = subprocess.run([sys.executable, "-m", "mypy", *options], capture_output=True, text=True, check=False)
    said, lines = run.stdout, run.stdout.splitlines()
    assert run.stderr == ""
    revealed = [re.sub(r"\w+\.(?=\w)", "", found) for found in re.findall(r'Revealed type is "(.*)"', said)]
    assert [text.replace("builtins.", "") for text in revealed] == REVEALED
    errors = [line for line in lines if ": error: " in line]
    assert [int(line.split("wrong.py:")[1].split(":")[0]) for line in errors if "wrong.py" in line] == [3, 4, 5, 6]
    assert [line for line in errors if "wrong.py" not in line] == []
