"""Adding a method is writing one function: it shows up everywhere without another line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch

import cuvee
from cuvee.errors import MergeError
from cuvee.methods import declare
from cuvee.methods.declare import Deltas, Paper, PerModel, Range, Weights, each, method
from cuvee.methods.page import page
from cuvee.plan.rows import CELL
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.passes import Passes, Position, finished, total
from cuvee.writers.save import save_state_dict
from methods import test_laws

PAPER = Paper(title="A title", authors="A. Author", venue="Venue", year=2026, url="https://example.org")

SOURCE = '''
"""Softmax of norms, https://example.org."""
from cuvee.methods.declare import Paper, PerModel, Weights, Weight, each, method
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.passes import total
import numpy as np


@method(
    paper=Paper(title="A title", authors="A. Author", venue="Venue", year=2026, url="https://example.org"),
    passes=lambda _: 1,
)
def loudest(weights: Weights, *, weight: PerModel[Weight] = each(1.0)):
    """Average the models by their norms.

    Args:
        weights: n models, (rows, e) each.
        weight: further factor on each model.

    Returns:
        Merged weights, (rows, e) float32.
    """
    gram = yield from total(gram_matrix, weights)
    shares = np.sqrt(np.diagonal(gram[0])) * np.asarray(weight)
    return weighted_sum(weights, shares / shares.sum() if shares.sum() else shares)
'''


@pytest.fixture
def loudest(forget: None) -> declare.Method:
    exec(compile(SOURCE, "loudest", "exec"), namespace := {"__name__": "loudest"})
    assert namespace["loudest"]
    return cuvee.methods()["loudest"]


def test_it_appears_in_the_registry_and_has_a_page(loudest: declare.Method) -> None:
    assert "Average the models by their norms." in page(loudest)
    assert "further factor on each model." in page(loudest)


def test_it_obeys_the_laws(loudest: declare.Method, tmp_path: Path) -> None:
    laws = [law for name, law in vars(test_laws).items() if name.startswith("test_")]
    run = 0
    for law in laws:
        arguments = set(law.__code__.co_varnames[: law.__code__.co_argcount])
        if arguments == {"method"} and law is not test_laws.test_the_declaration_is_complete:
            law(loudest)
            run += 1
    test_laws.test_passes_asked_do_not_exceed_those_declared(loudest, tmp_path)
    assert run >= 5


def test_it_streams_over_several_cells_and_shards(loudest: declare.Method, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    models = [{"w": torch.randn(CELL + 5, generator=generator), "v": torch.randn(9, generator=generator)} for _ in "ab"]
    for i, model in enumerate(models):
        save_state_dict(tmp_path / f"m{i}", model)
    recipe = cuvee.Recipe(method="loudest", models=[str(tmp_path / "m0"), str(tmp_path / "m1")])
    cuvee.merge(recipe, tmp_path / "out")
    merged = cuvee.open_source(tmp_path / "out")
    norms = [model["w"].double().norm() for model in models]
    expected = (norms[0] * models[0]["w"] + norms[1] * models[1]["w"]) / (norms[0] + norms[1])
    data = bytearray(merged.header["w"].nbytes)
    merged.read_into(memoryview(data), "w")
    torch.testing.assert_close(torch.frombuffer(data, dtype=torch.float32), expected.float(), rtol=1e-5, atol=1e-6)


def test_an_entry_point_of_another_package_makes_it_appear_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "loudest.py").write_text(SOURCE)
    info = tmp_path / "loudest-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loudest\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cuvee.methods]\nloudest = loudest\n")
    command = [sys.executable, "-m", "cuvee", "methods", "--json"]
    printed = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert "loudest" in [entry["name"] for entry in json.loads(printed.stdout)]


def test_a_method_of_matrix_locality_sees_whole_matrices(forget: None) -> None:
    seen = []

    @method(paper=PAPER, locality="matrix")
    def widest(weights: Weights, position: Position) -> torch.Tensor:
        """Take the first model.

        Args:
            weights: models.
            position: where the cell lies.
        """
        seen.append((tuple(weights[0].tensor.shape), position.shape, position.whole))
        return weights[0].tensor

    size = (CELL // 100 + 7, 300)
    values = torch.arange(size[0] * size[1], dtype=torch.float32).reshape(size)
    assert torch.equal(cuvee.merge_tensors("widest", [values]), values)
    assert torch.equal(cuvee.merge_tensors("widest", [values[0]]), values[0])
    assert seen == [(size, size, True), ((1, 300), (300,), True)]


def test_a_method_of_row_locality_sees_whole_rows(forget: None) -> None:
    seen = []

    @method(paper=PAPER, locality="rows")
    def rowwise(deltas: Deltas) -> torch.Tensor:
        """Take the first task vector.

        Args:
            deltas: task vectors.
        """
        seen.append(tuple(deltas[0].tensor.shape))
        return deltas[0].tensor

    rows = CELL // 1000 + 3
    cuvee.merge_tensors("rowwise", [torch.ones(rows, 1000)], torch.zeros(rows, 1000))
    assert seen == [(CELL // 1000, 1000), (rows - CELL // 1000, 1000)]


def test_a_wrong_result_and_an_exception_name_method_and_tensor(forget: None) -> None:
    @method(paper=PAPER)
    def short(weights: Weights) -> torch.Tensor:
        """Return too little.

        Args:
            weights: models.
        """
        return weights[0].tensor[:, :1]

    @method(paper=PAPER)
    def broken(weights: Weights) -> object:
        """Return nothing sensible.

        Args:
            weights: models.
        """
        return "text" if len(weights) > 1 else 1 / 0

    with pytest.raises(MergeError, match=r"tensor: method 'short' returned \(1, 1\); expected 3 elements"):
        cuvee.merge_tensors("short", [torch.ones(3)])
    with pytest.raises(MergeError, match="tensor: method 'broken' failed: ZeroDivisionError"):
        cuvee.merge_tensors("broken", [torch.ones(3)])
    with pytest.raises(MergeError, match="method 'broken' returned str"):
        cuvee.merge_tensors("broken", [torch.ones(3)] * 2)


@pytest.mark.parametrize("block_bytes", [1, 1 << 30])
@pytest.mark.parametrize("merges", [True, False])
def test_a_method_whose_questions_depend_on_elements_is_found_out(
    forget: None, tmp_path: Path, block_bytes: int, merges: bool
) -> None:
    @method(paper=PAPER, passes=lambda _: 2)
    def capricious(weights: Weights) -> "Passes[torch.Tensor]":
        """Ask floats of one cell, and whole numbers or nothing of the next.

        Args:
            weights: models.
        """
        if weights[0].tensor[0, 0] > 0:
            yield from total(gram_matrix, weights)
        elif not merges:
            yield from total(lambda: gram_matrix(weights).astype(int))
        return weighted_sum(weights, [1.0])

    values = torch.ones(2 * CELL)
    values[:CELL] = -1
    recipe = cuvee.Recipe(method="capricious", models=[{"w": values}])
    with pytest.raises(MergeError, match=r"different questions|merged some cells and asked"):
        cuvee.merge(recipe, tmp_path / "out", limits=cuvee.Limits(workers=1, block_bytes=block_bytes))
    assert not (tmp_path / "out").exists()


def test_a_method_that_asks_more_than_it_declares_is_found_out(forget: None) -> None:
    @method(paper=PAPER)
    def curious(weights: Weights) -> "Passes[torch.Tensor]":
        """Ask once, having declared nothing.

        Args:
            weights: models.
        """
        yield from finished(lambda _: None, gram_matrix, weights)
        return weighted_sum(weights, [1.0])

    assert cuvee.merge_tensors("curious", [torch.ones(3)]).tolist() == [1, 1, 1]  # a cell answers itself
    with pytest.raises(MergeError, match=r"'curious' asks for more passes than it declares \(0\)"):
        cuvee.merge_tensors("curious", [torch.ones(CELL + 1)])


def test_a_package_that_cannot_be_loaded_leaves_the_other_methods_alone(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cuvee.methods]\ngone = no_such_module\n")
    command = [sys.executable, "-m", "cuvee", "methods", "linear"]
    printed = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert printed.returncode == 0
    assert "'gone' of broken cannot be loaded" in printed.stderr
    assert "weighted average" in printed.stdout


def declare_with(function: object) -> None:
    method(paper=PAPER)(function)  # type: ignore[type-var]


def test_declarations_that_leave_something_out_are_refused(forget: None) -> None:
    def undocumented(weights: Weights) -> None: ...

    def no_operands(weights: int) -> None:
        """Text."""

    def odd_argument(weights: Weights, other: int) -> None:
        """Text."""

    def no_default(weights: Weights, *, scale: float) -> None:
        """Text.

        Args:
            scale: a factor.
        """

    def no_help(weights: Weights, *, scale: Annotated[float, Range(0, 1)] = 0.5) -> None:
        """Text."""

    def odd_type(weights: Weights, *, scale: PerModel[list[int]] = each([1])) -> None:
        """Text.

        Args:
            scale: a factor.
        """

    def ties(weights: Weights, *, word: Literal["a"] = "a") -> None:
        """Text.

        Args:
            word: a word.
        """

    for function, message in [
        (undocumented, "docstring"),
        (no_operands, "must be Weights, Deltas or Vectors"),
        (odd_argument, "'other' must be a Position"),
        (no_default, "'scale' needs"),
        (no_help, "'scale' needs"),
        (odd_type, "'scale' needs"),
        (ties, "name is taken"),
    ]:
        with pytest.raises(TypeError, match=message):
            declare_with(function)
