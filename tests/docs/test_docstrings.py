"""The examples in docstrings run, and show what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import cuvee

PACKAGE = Path(cuvee.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_show_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(example, out=report.append)
    assert "".join(report) == ""
    assert runner.tries or "# doctest: +SKIP" in Path(str(module.__file__)).read_text()


def test_the_public_functions_have_examples() -> None:
    missing = [
        name
        for name in ("Recipe", "merge", "merge_state_dicts", "merge_tensors", "open_source")
        if ">>> " not in str(getattr(cuvee, name).__doc__)
    ]
    assert missing == []
