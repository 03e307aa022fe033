"""Operands as the kernels see them: raw elements, and the stages they go through.

A *program* is made of operands that are plain enough: models' blocks, less one base's or not, cut by magnitude or
thinned out at random. It answers questions with one call each and makes no tensor. Where it gives None, the torch form
has the word: kernels are missing, an operand is of another kind or type, or an element is not finite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from itertools import chain as chain_from
from threading import local
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.spec import DType
from cuvee.tensors.kernels import frame as f
from cuvee.tensors.kernels.machine_code import Kernel, kernel

__all__ = ["Chain", "Program", "Raw", "Stage", "address_of", "program_of"]

Array = NDArray[Any]


class Raw(Protocol):
    """Raw elements with their type."""

    data: NDArray[np.uint8]
    dtype: DType
    rows: int
    address: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Something done to an operand's elements.

    Attributes:
        kind: what: see `frame`.
        table: what it goes by, int64: of a cut (3, rows); of a drop the names of its streams, (segments,); of a clip or
            of factors the bits of each row's float32, (rows,).
        numbers: its other slots.
    """

    kind: int
    table: Array
    numbers: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """An operand in the kernels' terms.

    Attributes:
        model: the model's elements.
        base: what is subtracted from them, or None.
        stages: what is done then, in order.
        stream: index of the first element in its stream of draws; has a meaning only where a stage draws.
        segment: elements that one stream is for; None where one is for all.
    """

    model: Raw
    base: Raw | None = None
    stages: tuple[Stage, ...] = ()
    stream: int = 0
    segment: int | None = None

    @property
    def draws(self) -> bool:
        """Whether a stage draws."""
        return any(stage.kind == f.DROP for stage in self.stages)


class _Last(local):
    """What a thread worked on last: primitives often follow each other on the same operands."""

    operands: tuple[object, ...] = ()
    program: "Program | None" = None
    scratch: Array = np.empty(0, np.float32)
    scratch_address: int = 0


_last = _Last()


def program_of(operands: Sequence[object]) -> "Program | None":
    """Return the program for operands, or None if kernels cannot take them."""
    call = kernel()
    if call is None or not operands:
        return None
    last = _last.operands
    if len(last) != len(operands) or any(one is not other for one, other in zip(last, operands, strict=True)):
        _last.operands, _last.program = tuple(operands), _new_program(call, operands)
    return _last.program


def _new_program(call: Kernel, operands: Sequence[object]) -> "Program | None":
    """Make the program for operands, if kernels can take them."""
    chains: list[Chain] = [chain for operand in operands if (chain := getattr(operand, "chain", None)) is not None]
    if len(chains) < len(operands):
        return None
    base, rows, size = chains[0].base, chains[0].model.rows, _size(chains[0].model)
    # Kernels believe what they are told: what is not of one shape goes to torch, which says what is wrong.
    raws = [chain.model for chain in chains] + ([] if base is None else [base])
    if any(raw.rows != rows or not _readable(raw, size) for raw in raws):
        return None
    if any(chain.base is not base for chain in chains):
        return None
    if len({(chain.stream, chain.segment) for chain in chains if chain.draws}) > 1:
        return None
    return Program(call, chains) if all(_stages_fit(chain, size) for chain in chains) else None


def _stages_fit(chain: Chain, size: int) -> bool:
    """Say whether the tables of a chain's stages cover all of its elements."""
    segments, rows = 1 if chain.segment is None else -(-size // chain.segment), chain.model.rows
    shapes = {f.DROP: (segments,), f.CLIP: (rows,), f.MULTIPLY: (rows,)}
    return all(stage.table.shape == shapes.get(stage.kind, (3, rows)) for stage in chain.stages)


def _size(raw: Raw) -> int:
    """Return the number of elements."""
    return raw.data.nbytes * 8 // raw.dtype.bits


def _readable(raw: Raw, size: int) -> bool:
    """Say whether kernels read this type, and it has this many elements."""
    return raw.dtype.name in f.CODES and _size(raw) == size


def _shaped(array: object, dtype: type, *shapes: tuple[int, ...]) -> Array:
    """Return an array as kernels read it; refuse one of another shape, which they would read beyond."""
    found: Array = np.asarray(array, dtype, order="C")
    if found.shape not in shapes:
        raise ValueError(f"got an array of shape {found.shape}; expected {' or '.join(map(str, shapes))}")
    return found


def address_of(array: Array) -> int:
    """Return where an array's elements lie."""
    return int(array.__array_interface__["data"][0])


def _scratch(count: int) -> int:
    """Return the address of this thread's scratch memory for `count` operands; a later call may move it."""
    needed = (count + f.SPARE_CHUNKS) * f.CHUNK
    if _last.scratch.size < needed:
        _last.scratch = np.empty(needed, np.float32)
        _last.scratch_address = address_of(_last.scratch)
    return _last.scratch_address


class Program:
    """Operands ready to be worked on.

    Args:
        call: the compiled loop.
        chains: the operands, at least one; all of one shape, with one base or none.

    Attributes:
        count: number of operands, n.
        rows: rows of each.
        width: elements in a row, e.
    """

    def __init__(self, call: Kernel, chains: Sequence[Chain]) -> None:
        first = chains[0]
        self.count, self.rows = len(chains), first.model.rows
        self.width = _size(first.model) // max(self.rows, 1)
        self._call = call
        self._chains = chains  # what the frame points to lives as long as it does
        self._held: list[Array] = []
        stages = [stage for chain in chains for stage in chain.stages]
        slots = [0] * f.SLOTS
        slots[f.COUNT], slots[f.ROWS], slots[f.WIDTH] = self.count, self.rows, self.width
        slots[f.STAGE_COUNT] = len(stages)
        # Rows are cut into chunks each by itself, unless a stream goes on from one to the next.
        drawing = next((chain for chain in chains if chain.draws), None)
        slots[f.STREAM] = drawing.stream if drawing else 0
        segment = drawing.segment or self.rows * self.width if drawing else self.width
        slots[f.SEGMENT] = max(segment, 1)
        if first.base is not None:
            slots[f.BASE], slots[f.BASE_CODE] = first.base.address, f.CODES[first.base.dtype.name]
        # One array holds the frame and the small arrays that it points to: making arrays is what a call costs.
        parts = {
            f.MODELS: [chain.model.address for chain in chains],
            f.MODEL_CODES: [f.CODES[chain.model.dtype.name] for chain in chains],
            f.FIRST_STAGE: [0, *accumulate(len(chain.stages) for chain in chains)],
            f.STAGES: [slot for stage in stages for slot in self._lay(stage)],
            f.SEEN: [0] * len(stages),
        }
        places = dict(zip(parts, accumulate(map(len, parts.values()), initial=f.SLOTS), strict=False))
        self._frame = np.array([*slots, *chain_from.from_iterable(parts.values())], np.int64)
        self._begin = address_of(self._frame)
        for slot, place in places.items():
            self._frame[slot] = self._begin + 8 * place

    def _lay(self, stage: Stage) -> list[int]:
        """Return all slots of a stage, and keep its table alive."""
        self._held.append(stage.table)
        slots = [stage.kind, address_of(stage.table), stage.table.shape[-1], *stage.numbers]
        return slots + [0] * (f.STAGE - len(slots))

    def _hold(self, slot: int, array: Array) -> None:
        """Point a slot at an array, and keep that alive."""
        self._held.append(array)
        self._frame[slot] = address_of(array)

    def _ask(self, operation: int, result: Array) -> Array | None:
        """Carry out an operation that fills `result`; give None if an element is not finite."""
        self._hold(f.RESULT, result)
        return None if self._run(operation) else result

    def _run(self, operation: int) -> int:
        """Carry out an operation; return what went wrong."""
        self._frame[f.SCRATCH] = _scratch(self.count)
        return self._call(operation, self._begin)

    def _weigh(self, weights: Array) -> None:
        """Take one factor per operand, or per operand and row."""
        wide = _shaped(weights, np.float64, (self.count,), (self.count, 1), (self.count, self.rows))
        every = np.broadcast_to(wide.reshape(self.count, -1), (self.count, self.rows))
        self._hold(f.WEIGHTS, np.ascontiguousarray(every, np.float32))

    def gram(self) -> Array | None:
        """Return (rows, n, n) float64 inner products."""
        self._hold(f.LANES, np.zeros(self.count * (self.count + 1) // 2 * f.LANES_PER_PAIR))
        return self._ask(f.GRAM, np.empty((self.rows, self.count, self.count)))

    def gram_of_columns(self) -> Array | None:
        """Return (e, n, n) float64 inner products."""
        pairs = np.tril_indices(self.count)
        sums = self._ask(f.COLUMN_GRAM, np.zeros((len(pairs[0]), self.width)))
        if sums is None:
            return None
        gram = np.empty((self.width, self.count, self.count))
        gram[:, pairs[0], pairs[1]] = sums.T
        gram[:, pairs[1], pairs[0]] = sums.T
        return gram

    def norms(self) -> Array | None:
        """Return, (n, rows) float64, the sums of magnitudes."""
        self._hold(f.LANES, np.zeros((self.count, f.LANES_PER_PAIR)))
        return self._ask(f.NORMS, np.empty((self.count, self.rows)))

    def vote(self, weights: Array) -> Array | None:
        """Return, (rows,) int64, how many weighted sums are positive less those that are negative."""
        self._weigh(weights)
        return self._ask(f.VOTE, np.zeros(self.rows, np.int64))

    def tally(self, candidates: Array) -> Array | None:
        """Count magnitudes on, between and above lists of candidates, (n, lists, m): (n, lists, 2m + 1) int64.

        See `ranks`. Each list ascends.
        """
        _, lists, each = candidates.shape
        self._frame[f.LISTS], self._frame[f.EACH] = lists, each
        self._hold(f.ASKED, _shaped(candidates, np.int64, (self.count, lists, max(each, 1))))
        return self._ask(f.TALLY, np.zeros((self.count, lists, 2 * each + 1), np.int64))

    def histogram(self, low: Array, high: Array, shift: Array) -> Array | None:
        """Count magnitudes from each operand's `low` to below `high` by their distance, shifted: (n, BINS) int64."""
        inside = (low >= -1) & (high > low) & (high <= 1 << 31) & (shift >= 0)
        if not inside.all() or ((high - low - 1) >> shift >= f.BINS).any():
            raise ValueError(f"no histogram of {f.BINS} bins holds {low} to {high} shifted by {shift}")
        self._hold(f.ASKED, _shaped(np.stack([low, high, shift], axis=1), np.int64, (self.count, 3)))
        return self._ask(f.HISTOGRAM, np.zeros((self.count, f.BINS), np.int64))

    def select(self, counts: Array) -> Array | None:
        """Return, (n, rows, 3) int64, the magnitude of each row's entry of given rank from 1 to the row's length.

        As bits; then how many entries of that magnitude are among the largest, and how many there are.
        """
        self._hold(f.ASKED, _shaped(counts, np.int64, (self.count,)))
        self._hold(f.LANES, np.zeros((self.count, f.DIGIT_STATE), np.int64))
        return self._ask(f.SELECT, np.empty((self.count, self.rows, 3), np.int64))

    def magnitudes(self) -> Array | None:
        """Return the magnitudes as bits, (n, rows, e) int32."""
        return self._ask(f.VALUES, np.empty((self.count, self.rows, self.width), np.int32))

    def store_sum(self, weights: Array, added: Raw | None, dtype: DType, out: NDArray[np.uint8]) -> bool:
        """Store the weighted sum; say if it was done, every element being finite and fitting in."""
        self._weigh(weights)
        return self._store(f.SUM, added, dtype, out)

    def store_sum_of_columns(self, weights: Array, added: Raw | None, dtype: DType, out: NDArray[np.uint8]) -> bool:
        """Store the sum weighted column by column, (n, e); say if it was done, as `store_sum` does."""
        self._hold(f.WEIGHTS, _shaped(weights, np.float32, (self.count, self.width)))
        return self._store(f.COLUMN_SUM, added, dtype, out)

    def store_agreed(
        self,
        weights: Array,
        how: int,
        undecided: int | Array | None,
        scale: float,
        added: Raw | None,
        dtype: DType,
        out: NDArray[np.uint8],
    ) -> bool:
        """Store the disjoint merge (`how`: see CHOICE in `frame`); say if it was done, as `store_sum` does."""
        self._hold(f.WEIGHTS, _shaped(weights, np.float32, (self.count,)))
        self._frame[f.CHOICE] = how
        signs = np.full(self.rows, f.EVERY_SIGN, np.int64)
        if undecided is not None:
            signs[:] = _shaped(undecided, np.int64, (), (1,), (self.rows,))
        self._hold(f.UNDECIDED, signs)
        self._hold(f.SCALE, np.array([scale], np.float32))
        return self._store(f.AGREE, added, dtype, out)

    def _store(self, operation: int, added: Raw | None, dtype: DType, out: NDArray[np.uint8]) -> bool:
        """Store what an operation makes, plus a block or not."""
        size = self.rows * self.width
        if dtype.name not in f.CODES or out.nbytes * 8 != size * dtype.bits or not out.flags.c_contiguous:
            return False
        if added is not None and not _readable(added, size):
            return False
        self._frame[f.ADDED] = 0
        if added is not None:
            self._frame[f.ADDED], self._frame[f.ADDED_CODE] = added.address, f.CODES[added.dtype.name]
        self._frame[f.OUT], self._frame[f.OUT_CODE] = address_of(out), f.CODES[dtype.name]
        return self._run(operation) == 0
