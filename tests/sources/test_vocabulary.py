"""A source with other rows: against a loop over rows, whatever is read and however."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from cuvee.errors import SourceError
from cuvee.layered import ground_of, memory_of
from cuvee.sources import table
from cuvee.sources.memory import Memory
from cuvee.sources.table import MEAN, MEAN_OF_ALL, ZERO, Held, Rows, Table
from cuvee.sources.vocabulary import Vocabulary
from cuvee.spec import BY_TORCH_NAME, Source, TensorSpec

NAME, OTHER = "embed_tokens.weight", "norm.weight"


def dtype_of(torch_dtype: torch.dtype) -> Any:
    return BY_TORCH_NAME[str(torch_dtype).removeprefix("torch.")]


def rows_of(giver: Sequence[int], row: Sequence[int], places: Sequence[Sequence[int]]) -> Rows:
    return Rows(giver=np.array(giver, np.int16), row=np.array(row, np.int32), places=np.array(places, np.int32))


def vocabulary(tensors: Sequence[torch.Tensor], rows: Rows, dtype: torch.dtype) -> Vocabulary:
    """Stand on the first of some tables."""
    sources = [Memory({NAME: tensor, OTHER: torch.arange(3.0)}, f"model {g}") for g, tensor in enumerate(tensors)]
    spec = TensorSpec((len(rows.giver), *tensors[0].shape[1:]), dtype_of(dtype))
    made = Table(spec=spec, givers=[Held(source=source, name=NAME) for source in sources], rows=rows)
    return Vocabulary(sources[0], {NAME: made}, {"vocab_size": len(rows.giver)}, {}, "these")


def brute_force(tensors: Sequence[torch.Tensor], rows: Rows, dtype: torch.dtype) -> torch.Tensor:
    """Make the table one row at a time."""
    made = torch.zeros((len(rows.giver), *tensors[0].shape[1:]), dtype=dtype)
    for r, (g, row) in enumerate(zip(rows.giver.tolist(), rows.row.tolist(), strict=True)):
        if g >= 0:
            made[r] = tensors[g][row].to(dtype)
        elif g == MEAN:
            having = [tensors[m][row] for m, row in enumerate(rows.places[:, r].tolist()) if row >= 0]
            made[r] = torch.stack([each.double() for each in having]).mean(0).float().to(dtype)
    real = torch.from_numpy(rows.giver != MEAN_OF_ALL)
    made[~real] = made[real].double().mean(0).float().to(dtype)
    return made


def read(source: Source, offset: int = 0, nbytes: int | None = None) -> bytes:
    buffer = bytearray(source.header[NAME].nbytes - offset if nbytes is None else nbytes)
    source.read_into(memoryview(buffer), NAME, offset)
    return bytes(buffer)


def as_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def some_rows(rng: np.random.Generator, count: int, sizes: Sequence[int]) -> Rows:
    """Draw rows of every kind, some of them in runs."""
    giver = rng.choice([*range(len(sizes)), ZERO, MEAN, MEAN_OF_ALL], count)
    giver[0] = 0  # at least one row is real
    row = np.array([rng.integers(sizes[g]) if g >= 0 else 0 for g in giver])
    run = min(count // 2, min(sizes))
    giver[count // 4 : count // 4 + run], row[count // 4 : count // 4 + run] = 1, np.arange(run)
    places = np.stack([np.where(rng.random(count) < 0.7, rng.integers(size, size=count), -1) for size in sizes])
    places[0, (giver == MEAN) & (places < 0).all(axis=0)] = 0
    return rows_of(giver.tolist(), row.tolist(), places.tolist())


@pytest.mark.parametrize("block", [8, 1 << 20], ids=["small blocks", "one block"])
@pytest.mark.parametrize(
    "dtypes",
    [[torch.float32] * 3, [torch.bfloat16] * 3, [torch.float16] * 3, [torch.bfloat16, torch.float32, torch.float16]],
    ids=str,
)
@pytest.mark.parametrize("width", [(), (1,), (5,)], ids=str)
def test_rows_are_those_of_a_loop(
    monkeypatch: pytest.MonkeyPatch, block: int, dtypes: Sequence[torch.dtype], width: tuple[int, ...]
) -> None:
    monkeypatch.setattr(table, "BLOCK", block)
    monkeypatch.setattr(table, "GAP", 16 if block < 100 else table.GAP)
    rng = np.random.default_rng(len(width))
    sizes = [40, 30, 50]
    tensors = [torch.randn((size, *width)).to(dtype) for size, dtype in zip(sizes, dtypes, strict=True)]
    dtype = dtypes[0] if len(set(dtypes)) == 1 else torch.float32
    rows = some_rows(rng, 90, sizes)
    source, expected = vocabulary(tensors, rows, dtype), brute_force(tensors, rows, dtype)
    whole = as_bytes(expected)
    assert read(source) == whole
    for _ in range(20):
        begin, end = sorted(rng.integers(0, len(whole) + 1, 2).tolist())
        assert read(source, begin, end - begin) == whole[begin:end]


def test_scattered_rows_that_lie_close_are_read_in_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.randn(1000, 8)
    order = np.random.default_rng(0).permutation(1000)
    rows = rows_of([0] * 1000, order.tolist(), [order.tolist()])
    source, calls = vocabulary([tensor], rows, torch.float32), []
    plain = Memory.read_into
    monkeypatch.setattr(Memory, "read_into", lambda *given: (calls.append(given[2:]), plain(*given))[1])
    assert read(source) == as_bytes(tensor[order])
    assert len(calls) <= 2


def test_a_run_is_read_straight_into_the_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.randn(100, 4)
    source = vocabulary([tensor], rows_of([0] * 60, range(20, 80), [range(20, 80)]), torch.float32)
    seen = []
    monkeypatch.setattr(Memory, "read_into", lambda _, buffer, name, offset: seen.append((buffer.nbytes, offset)))
    read(source, 8, 500)
    assert seen == [(500, 20 * 16 + 8)]


def test_what_it_says_of_itself() -> None:
    tensors = [torch.randn(4, 2), torch.randn(6, 2)]
    source = vocabulary(tensors, rows_of([0, 1, ZERO], [3, 5, 0], [[3, -1, -1], [-1, 5, -1]]), torch.float32)
    assert source.header[NAME].shape == (3, 2)
    assert source.header[OTHER].shape == (3,)
    assert source.config == {"vocab_size": 3}
    assert source.reference == source.ground.reference == "model 0"
    assert (source.cost(NAME), source.cost(OTHER)) == (2 * 8, 12)
    assert ground_of(source) is source.ground
    assert ground_of(source.ground) is source.ground
    assert set(source.changed) == {NAME}
    assert (source.identity, source.location) == ("", "")
    assert source.locate(NAME) == "model 0"
    assert source.memory > 0


def test_memory_is_counted_once_where_it_is_shared() -> None:
    """Rows and givers of several sources once, and blocks for one of them: a thread makes one tensor at a time."""
    sources = [Memory({NAME: torch.randn(4, 2)}, f"model {g}") for g in range(3)]
    for source in sources:
        source.memory = 1000
    rows = rows_of([0, 1, MEAN], [3, 3, 0], [[3, -1, 1], [-1, 3, 1]])
    givers = [Held(source=source, name=NAME) for source in sources[:2]]
    made = Table(spec=TensorSpec((3, 2), dtype_of(torch.float32)), givers=givers, rows=rows)
    pair = [Vocabulary(source, {NAME: made}, {}, {}, "these") for source in sources[:2]]
    held = 3 * 2 + 3 * 4 + 2 * 3 * 4
    assert memory_of([*pair, sources[2]]) == (held, pair[0].takes + 3000)
    assert pair[0].memory == held + pair[0].takes + 2000


def test_rows_that_are_the_mean_of_all_cost_a_reading_beforehand() -> None:
    rows = rows_of([0, 0, MEAN_OF_ALL], [0, 1, 0], [[0, 1, -1]])
    source = vocabulary([torch.randn(2, 2)], rows, torch.float32)
    assert (source.cost(NAME), source.preparation, source.bytes_prepared) == (2 * 8, 2 * 8, 0)
    for _ in range(2):
        read(source)
        assert source.bytes_prepared == 2 * 8
    unpadded = vocabulary([torch.randn(2, 2)], rows_of([0, 0], [1, 0], [[0, 1]]), torch.float32)
    assert unpadded.preparation == 0


def test_a_giver_without_the_table_gives_nothing() -> None:
    source = Memory({NAME: 3 * torch.arange(8.0).view(4, 2)}, "model")
    rows = rows_of([1, 1, MEAN, MEAN_OF_ALL], [0, 3, 0, 0], [[-1] * 4, [0, 3, 1, -1]])
    spec = TensorSpec((4, 2), dtype_of(torch.float32))
    made = Table(spec=spec, givers=[None, Held(source=source, name=NAME)], rows=rows)
    found = Vocabulary(source, {NAME: made}, {}, {}, "these")
    assert np.frombuffer(read(found), np.float32).tolist() == [0, 3, 18, 21, 6, 9, 8, 11]
    assert (found.cost(NAME), found.preparation) == (3 * 8, 3 * 8)


def test_other_tensors_are_read_through() -> None:
    source = vocabulary([torch.randn(4, 2)], rows_of([0], [1], [[1]]), torch.float32)
    buffer = bytearray(12)
    source.read_into(memoryview(buffer), OTHER)
    assert np.frombuffer(buffer, np.float32).tolist() == [0, 1, 2]


@pytest.mark.parametrize("wrong", [("nothing", 0, 1), (NAME, 0, 17), (NAME, -1, 2), (OTHER, 8, 8)], ids=str)
def test_what_is_not_there_is_refused(wrong: tuple[str, int, int]) -> None:
    source = vocabulary([torch.randn(4, 2)], rows_of([0, 0], [1, 2], [[1, 2]]), torch.float32)
    name, offset, nbytes = wrong
    with pytest.raises(SourceError, match="no tensor" if name == "nothing" else "bytes"):
        source.read_into(memoryview(bytearray(nbytes)), name, offset)


class Elsewhere(Memory):
    """A source that has to be fetched, and that says so."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__(tensors, "elsewhere")
        self.fetched: list[str] = []
        self.checked = 0
        self.identity = "elsewhere"

    def fetch(self, names: Sequence[str]) -> None:
        self.fetched += names

    def check_unchanged(self) -> None:
        self.checked += 1


def test_givers_are_fetched_and_checked_where_their_rows_are_taken() -> None:
    sources = [Elsewhere({NAME: torch.randn(4, 2), OTHER: torch.ones(1)}) for _ in range(3)]
    rows = rows_of([0, 1], [0, 3], [[0, -1], [-1, 3], [-1, -1]])
    givers = [Held(source=source, name=NAME) for source in sources]
    made = Table(spec=TensorSpec((2, 2), dtype_of(torch.float32)), givers=givers, rows=rows)
    source = Vocabulary(sources[0], {NAME: made}, {}, {}, "these")
    source.fetch([OTHER])
    assert [each.fetched for each in sources] == [[OTHER], [], []]
    source.fetch([NAME])
    assert [each.fetched for each in sources] == [[OTHER, NAME], [NAME], []]
    source.check_unchanged()
    assert sources[1].checked == 1
    assert source.identity.splitlines()[-1] == "vocabulary these"
