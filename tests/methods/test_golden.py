"""The methods against what their authors' published code computed. `tests/golden/*/README.md` says how it was run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from cuvee import merge_state_dicts, merge_tensors
from cuvee.plan.rows import CELL
from cuvee.spec import DTYPES
from cuvee.tensors import random as draws
from cuvee.tensors.convert import from_bytes
from cuvee.tensors.kernels import program
from cuvee.tensors.operands import Block
from cuvee.tensors.passes import Position, advance
from cuvee.tensors.selection import Trimmed, largest

GOLDEN = Path(__file__).parent.parent / "golden"
Masks = dict[tuple[int, int], torch.Tensor]
TIES = sorted((GOLDEN / "ties").glob("ties_*_n*.safetensors"))
MERGES = {"dis-mean": "mean", "dis-sum": "sum", "dis-max": "max"}


def part(data: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in data.items() if name.startswith(prefix)}


def models_of(data: dict[str, torch.Tensor], count: int) -> list[dict[str, torch.Tensor]]:
    return [part(data, f"model{i}/") for i in range(count)]


def check_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], *, exact: bool) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        # -0.0 equals 0.0 here, as the data's README asks. Sums of seven and eight models may differ by one unit in the
        # last place (1.2e-7): we add in the recipe's order, the reference in an order that depends on the column.
        tolerance = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1.2e-7, "atol": 1e-6}
        torch.testing.assert_close(actual[name], tensor, **tolerance)


@pytest.mark.parametrize("path", TIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("percent", [20, 50, 100])
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_ties_matches_the_authors_code(path: Path, merge: str, percent: int, scale: float) -> None:
    data = load_file(path)
    count = int(path.stem.rpartition("n")[2])
    merged = merge_state_dicts(
        "ties",
        models_of(data, count),
        part(data, "base/"),
        density=percent / 100,
        scale=scale,
        rule="reference",
        merge=MERGES[merge],
    )
    check_equal(merged, part(data, f"k{percent}/{merge}/lambda{scale}/"), exact="ties_ties" in path.stem)


@pytest.mark.parametrize("path", TIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("percent", [20, 50, 100])
def test_ties_without_election_matches_the_authors_code(path: Path, percent: int) -> None:
    data = load_file(path)
    flat = list(data["flat/task_vectors"])
    merged = merge_tensors(
        "ties", flat, torch.zeros_like(flat[0]), density=percent / 100, rule="reference", elect=False
    )
    expected = data[f"k{percent}/none_dis-mean/merged_task_vector"]
    torch.testing.assert_close(merged, expected, rtol=0, atol=0 if "ties_ties" in path.stem else 1e-6)


@pytest.mark.parametrize("path", TIES, ids=lambda path: path.stem)
def test_task_arithmetic_and_the_mean_match_the_ties_authors_code(path: Path) -> None:
    data = load_file(path)
    models = models_of(data, int(path.stem.rpartition("n")[2]))
    check_equal(merge_state_dicts("linear", models), part(data, "mean/"), exact=False)
    for scale in (1.0, 0.4):
        merged = merge_state_dicts("task_arithmetic", models, part(data, "base/"), scale=scale)
        check_equal(merged, part(data, f"task_arithmetic/lambda{scale}/"), exact=False)


def edge_cases() -> list[tuple[str, str]]:
    data = load_file(GOLDEN / "ties" / "ties_edge_cases.safetensors")
    return sorted({(name.split("/")[0], name.split("/")[1]) for name in data if name.split("/")[1].startswith("k")})


@pytest.mark.parametrize(("case", "percent"), edge_cases())
def test_ties_edge_cases_match_the_authors_code(case: str, percent: str) -> None:
    data = load_file(GOLDEN / "ties" / "ties_edge_cases.safetensors")
    vectors = list(data[f"{case}/task_vectors"])
    zero = torch.zeros_like(vectors[0])
    density = float(percent[1:]) / 100
    checked = 0
    for merge, word in MERGES.items():
        if (expected := data.get(f"{case}/{percent}/{merge}")) is not None:
            merged = merge_tensors("ties", vectors, zero, density=density, rule="reference", merge=word)
            torch.testing.assert_close(merged, expected, rtol=0, atol=0)
            checked += 1
    if (trimmed := data.get(f"{case}/{percent}/trimmed")) is not None:
        for vector, expected in zip(vectors, trimmed, strict=True):
            # TIES on one model is its trim
            alone = merge_tensors("ties", [vector], zero, density=density, rule="reference")
            torch.testing.assert_close(alone, expected, rtol=0, atol=0)
            checked += 1
    assert checked


def test_the_golden_data_has_the_case_where_a_drawn_vote_matters() -> None:
    """Both rules differ there; without it the exact tests above could not tell them apart."""
    with safe_open(GOLDEN / "ties" / "ties_ties_n5.safetensors", "pt") as file:
        assert json.loads(file.metadata()["settings"])["k100_unresolved_zero_coords"] == 4
    data = load_file(GOLDEN / "ties" / "ties_ties_n5.safetensors")
    paper = merge_state_dicts("ties", models_of(data, 5), part(data, "base/"), density=1.0)
    reference = part(data, "k100/dis-mean/lambda1.0/")
    assert sum(int((paper[name] != tensor).sum()) for name, tensor in reference.items()) == 4


@pytest.fixture
def dare() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "dare" / "dare_mergelm.safetensors")


def stream(model: str, tensor: str) -> tuple[int, int]:
    """The numbers that a model's draws for a tensor go by."""
    key = draws.Key.of(0, model, [tensor])
    return key.key, key.streams[0]


@pytest.fixture
def stored_masks(dare: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Masks:
    """Let the drop follow stored masks, by key, instead of the generator, which compiled kernels have built in."""
    monkeypatch.setattr(program, "kernel", lambda: None)
    masks: Masks = {}
    monkeypatch.setattr(draws, "survives_in", lambda key, stream, start, count, _: masks[key, stream][start:][:count])
    return masks


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("rescale", [0, 1])
def test_random_drop_matches_the_dare_authors_code(
    dare: dict[str, torch.Tensor], stored_masks: Masks, rate: float, rescale: int
) -> None:
    values = dare["unit/input"]
    stored_masks[stream("m0", "tensor")] = dare[f"unit/random/p{rate}/rescale{rescale}/dropped_mask"].flatten() == 0
    dropped = merge_tensors("dare_linear", [values], torch.zeros_like(values), density=1 - rate, rescale=bool(rescale))
    torch.testing.assert_close(dropped, dare[f"unit/random/p{rate}/rescale{rescale}/output"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_magnitude_pruning_matches_the_dare_authors_code(dare: dict[str, torch.Tensor], rate: float) -> None:
    values = dare["unit/input"]
    block = Block(values.flatten().numpy().view("uint8"), DTYPES["F32"], 1, from_bytes)
    stays = values.numel() - int(rate * values.numel())
    position = Position(size=values.numel())
    (cut,) = advance(largest, [], True, [block], [stays], position)
    pruned = Trimmed(block, cut).tensor.reshape(values.shape)
    assert values.numel() <= CELL
    torch.testing.assert_close(pruned, dare[f"unit/magnitude/p{rate}/rescale0/output"], rtol=0, atol=0)


def kept_after_dropping(rate: float) -> float:
    """Return the density of our reference rule that keeps as many entries as the DARE authors' TIES.

    They round the number dropped down, the TIES authors the number kept; both then keep one entry more.
    """
    size = 43  # parameters of the golden model
    return (size - int(size * rate) + 0.5) / size


CASES = [(m, p, r, n) for m in ("average_merging", "task_arithmetic", "ties_merging") for p in (0.2, 0.5, 0.9)
         for r in (0, 1) for n in (2, 3)]  # fmt: skip


@pytest.mark.parametrize(("method", "rate", "rescale", "count"), CASES)
def test_merges_after_dare_match_its_authors_code(
    dare: dict[str, torch.Tensor],
    stored_masks: Masks,
    method: str,
    rate: float,
    rescale: int,
    count: int,
) -> None:
    root = f"merge/{method}/p{rate}/rescale{rescale}/n{count}"
    if not (expected := part(dare, f"{root}/merged/")):
        pytest.fail(f"no golden data under {root}")
    for i in range(count):
        for name, mask in part(dare, f"{root}/dropped_mask/model{i}/").items():
            stored_masks[stream(f"m{i}", name)] = mask.flatten() == 0
    settings: dict[str, object] = {
        "average_merging": {"weight": 1 / count},
        "task_arithmetic": {"scale": 0.6},
        "ties_merging": {"scale": 0.6, "trim_density": kept_after_dropping(0.5), "rule": "reference"},
    }[method]
    merged = merge_state_dicts(
        "dare_ties" if method == "ties_merging" else "dare_linear",
        models_of(dare, count),
        part(dare, "base/"),
        density=1 - rate,
        rescale=bool(rescale),
        **settings,
    )
    check_equal(merged, expected, exact=False)


@pytest.mark.parametrize("count", [2, 3])
def test_merges_without_dare_match_the_dare_authors_code(dare: dict[str, torch.Tensor], count: int) -> None:
    models, base = models_of(dare, count), part(dare, "base/")
    check_equal(merge_state_dicts("linear", models), part(dare, f"plain/average/n{count}/"), exact=False)
    for scale in (1.0, 0.4):
        merged = merge_state_dicts("task_arithmetic", models, base, scale=scale)
        check_equal(merged, part(dare, f"plain/task_arithmetic/lambda{scale}/n{count}/"), exact=False)
    for rate in (0.5, 0.8):
        merged = merge_state_dicts("ties", models, base, density=kept_after_dropping(rate), rule="reference")
        check_equal(merged, part(dare, f"plain/ties/droprate{rate}/lambda1.0/n{count}/"), exact=False)
