"""A merge with a method of one's own goes on only where the file that holds it is the same."""

from collections.abc import Callable
from pathlib import Path

import pytest

import cuvee
from cuvee.errors import CuveeWarning
from cuvee.methods.declare import METHODS
from faults.conftest import FINE, Recipe, Stop, Write, hidden, weights

OWN = """
from cuvee.methods.declare import Weights, method
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.operands import Operand


@method()
def of_my_own(weights: Weights) -> Operand:
    \"\"\"Add up.\"\"\"
    return weighted_sum(weights, [FACTOR] * len(weights))
"""
MADE = """
from cuvee.methods.declare import Weights, method
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.operands import Operand


def make(factor):
    def of_my_own(weights: Weights) -> Operand:
        \"\"\"Add up.\"\"\"
        return weighted_sum(weights, [factor] * len(weights))

    method()(of_my_own)


make(FACTOR)
"""


@pytest.fixture
def declare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float, str], None]:
    """Return a function that declares a method of one's own, as the import of its file does."""
    monkeypatch.setattr(METHODS, "_declared", dict(METHODS.all()))

    def declared(factor: float, text: str = OWN) -> None:
        METHODS._declared.pop("of_my_own", None)
        file = folder / "mine.py"
        file.write_text(text.replace("FACTOR", str(factor)))
        exec(compile(file.read_text(), file, "exec"), {"__name__": "mine"})

    return declared


def begin_with_own(folder: Path, recipe: Write) -> Recipe:
    wanted = {key: value for key, value in recipe("of_my_own").items() if key != "base"}
    with pytest.raises(KeyboardInterrupt):
        cuvee.merge(wanted, folder / "out", limits=cuvee.Limits(**FINE), progress=Stop(900_000))
    return wanted


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_a_merge_with_a_method_of_ones_own_goes_on_if_its_file_has_not_changed(
    factor: float, folder: Path, recipe: Write, declare: Callable[..., None]
) -> None:
    declare(0.25)
    wanted = begin_with_own(folder, recipe)
    assert hidden(folder) == [".out.unfinished"]
    declare(factor)
    with pytest.warns(CuveeWarning, match="Removed") if factor != 0.25 else pytest.MonkeyPatch.context():
        rest = cuvee.merge(wanted, folder / "out")
    whole = cuvee.merge(wanted, folder / "whole")
    assert weights(folder / "out") == weights(folder / "whole")
    assert (rest.bytes_written < whole.bytes_written) == (factor == 0.25)


def test_a_merge_with_a_method_that_no_file_tells_of_does_not_go_on(
    folder: Path, recipe: Write, declare: Callable[..., None]
) -> None:
    declare(0.25, MADE)
    begin_with_own(folder, recipe)
    assert hidden(folder) == []
    declare(0.25)
    (folder / "mine.py").unlink()
    begin_with_own(folder, recipe)
    assert hidden(folder) == []
