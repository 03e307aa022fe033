"""The one loop that all operations share: rows, chunks, operands. Compiled, as one function behind one address."""

from numba import cfunc, types

from cuvee.tensors.kernels import frame as f
from cuvee.tensors.kernels.elements import f32, f64, i64, inlined, narrow, widen
from cuvee.tensors.kernels.measures import (
    add_magnitudes,
    add_products,
    add_products_apart,
    count_digit,
    fold_lanes,
    histogram,
    magnitudes,
    select_digit,
    tally,
    vote,
)
from cuvee.tensors.kernels.merges import add, add_scaled, add_weighted, disjoint_merge, scale_and_add
from cuvee.tensors.kernels.stages import begin_row, keep_band, load

__all__ = ["run"]

CHUNK_BYTES = 4 * f.CHUNK
LANES_BYTES = 8 * f.LANES_PER_PAIR
STATE_BYTES = 8 * f.DIGIT_STATE


@inlined
def _load(operation, frame, row, turn, begin, size, place):
    """Make a chunk of every operand, and carry out the operations that look at one operand at a time."""
    count, base, wrong, chunks = frame[f.COUNT], 0, 0, frame[f.SCRATCH]
    spares = chunks + CHUNK_BYTES * count
    if frame[f.BASE]:
        base = spares
        if not widen(frame[f.BASE], frame[f.BASE_CODE], begin, size, base):
            wrong = f.NOT_FINITE_IN
    total, spare, first_stage = spares + CHUNK_BYTES, spares + 3 * CHUNK_BYTES, i64(frame[f.FIRST_STAGE])
    segment = begin // frame[f.SEGMENT]
    for k in range(count):
        values, model, code = chunks + CHUNK_BYTES * k, i64(frame[f.MODELS])[k], i64(frame[f.MODEL_CODES])[k]
        finite, low, high = load(
            model, code, base, frame[f.STAGES], first_stage[k], first_stage[k + 1], frame[f.SEEN], segment, place,
            row, begin, size, values, spare,
        )  # fmt: skip
        if not finite:
            wrong = f.NOT_FINITE_IN
        if operation == f.SUM or operation == f.VOTE:
            add_scaled(total, values, size, f32(frame[f.WEIGHTS])[k * frame[f.ROWS] + row], low, high, k == 0)
        elif operation == f.AGREE:
            scale_and_add(total, values, size, f32(frame[f.WEIGHTS])[k], low, high, k == 0)
        else:
            keep_band(values, size, low, high)
            if operation == f.COLUMN_SUM:
                column = begin - row * frame[f.WIDTH]
                add_weighted(total, values, size, frame[f.WEIGHTS] + 4 * (k * frame[f.WIDTH] + column), k == 0)
            elif operation != f.GRAM and operation != f.COLUMN_GRAM:
                _measure(operation, frame, values, spare, k, turn, begin, size)
    return wrong


@inlined
def _measure(operation, frame, values, spare, k, turn, begin, size):
    """Measure a chunk of one operand."""
    result, asked, lists, each = frame[f.RESULT], frame[f.ASKED], frame[f.LISTS], frame[f.EACH]
    if operation == f.TALLY:
        for own in range(k * lists, (k + 1) * lists):
            tally(values, size, asked + 8 * each * own, each, spare, result + 8 * (2 * each + 1) * own)
        return 0
    if operation == f.HISTOGRAM:
        return histogram(values, size, asked + 24 * k, spare, result + 8 * f.BINS * k)
    if operation == f.NORMS:
        return add_magnitudes(values, size, frame[f.LANES] + LANES_BYTES * k)
    if operation == f.VALUES:
        return magnitudes(values, size, result + 4 * (k * frame[f.ROWS] * frame[f.WIDTH] + begin))
    return count_digit(values, size, spare, turn, frame[f.LANES] + STATE_BYTES * k)


@inlined
def _combine(operation, frame, row, begin, size):
    """Make one chunk, or one number, of all operands' chunks."""
    count, chunks = frame[f.COUNT], frame[f.SCRATCH]
    total = chunks + CHUNK_BYTES * (count + 1)
    spare = total + CHUNK_BYTES
    if operation == f.VOTE:
        i64(frame[f.RESULT])[row] += vote(total, size)
        return 0
    if operation == f.GRAM:
        lanes = frame[f.LANES]
        for i in range(count):
            for j in range(i + 1):
                add_products(chunks + CHUNK_BYTES * i, chunks + CHUNK_BYTES * j, size, lanes)
                lanes += LANES_BYTES
        return 0
    if operation == f.COLUMN_GRAM:
        sums = frame[f.RESULT] + 8 * (begin - row * frame[f.WIDTH])
        for i in range(count):
            for j in range(i + 1):
                add_products_apart(chunks + CHUNK_BYTES * i, chunks + CHUNK_BYTES * j, size, sums)
                sums += 8 * frame[f.WIDTH]
        return 0
    if operation == f.AGREE:
        scale, undecided = f32(frame[f.SCALE])[0], i64(frame[f.UNDECIDED])[row]
        signs = spare + CHUNK_BYTES
        disjoint_merge(chunks, frame[f.WEIGHTS], count, total, spare, signs, size, frame[f.CHOICE], undecided, scale)
    return _store(frame, total, spare, begin, size)


@inlined
def _store(frame, total, spare, begin, size):
    """Add the base where one is to be added, and store a merged chunk."""
    wrong, added = 0, frame[f.ADDED]
    if added:
        if added == frame[f.BASE]:
            spare = frame[f.SCRATCH] + CHUNK_BYTES * frame[f.COUNT]  # where it was widened to be subtracted
        elif not widen(added, frame[f.ADDED_CODE], begin, size, spare):
            wrong = f.NOT_FINITE_IN
        add(total, spare, size)
    finite, fits = narrow(total, size, frame[f.OUT], frame[f.OUT_CODE], begin)
    return wrong | (0 if finite else f.NOT_FINITE_OUT) | (0 if fits else f.LOST)


@inlined
def _end_products(frame, row):
    """Fold a row's lanes into its matrix."""
    count, lanes = frame[f.COUNT], frame[f.LANES]
    gram = f64(frame[f.RESULT] + 8 * row * count * count)
    for i in range(count):
        for j in range(i + 1):
            product = fold_lanes(lanes)
            gram[i * count + j] = product
            gram[j * count + i] = product
            lanes += LANES_BYTES
    return 0


@inlined
def _end_norms(frame, row):
    """Fold every operand's lanes into the sum of a row's magnitudes."""
    for k in range(frame[f.COUNT]):
        f64(frame[f.RESULT])[k * frame[f.ROWS] + row] = fold_lanes(frame[f.LANES] + LANES_BYTES * k)
    return 0


@inlined
def _end_turn(frame, row, turn):
    """Find a row's next digit of every operand's cut; after the last one, the cut."""
    for k in range(frame[f.COUNT]):
        cut = frame[f.RESULT] + 24 * (k * frame[f.ROWS] + row)
        select_digit(frame[f.LANES] + STATE_BYTES * k, turn, i64(frame[f.ASKED])[k], cut)
    return 0


@inlined
def _run(operation, frame):
    """Go through rows and chunks."""
    width, segment, wrong = frame[f.WIDTH], frame[f.SEGMENT], 0
    for row in range(frame[f.ROWS]):
        for turn in range(f.DIGITS if operation == f.SELECT else 1):
            begin_row(frame[f.STAGES], frame[f.STAGE_COUNT], frame[f.SEEN], row)
            begin, end = row * width, (row + 1) * width
            while begin < end:
                place = frame[f.STREAM] + begin % segment
                size = min(end - begin, segment - begin % segment, f.CHUNK - place % f.CHUNK)
                wrong |= _load(operation, frame, row, turn, begin, size, place)
                if operation <= f.COLUMN_GRAM:
                    wrong |= _combine(operation, frame, row, begin, size)
                begin += size
            if operation == f.SELECT:
                _end_turn(frame, row, turn)
        if operation == f.GRAM:
            _end_products(frame, row)
        elif operation == f.NORMS:
            _end_norms(frame, row)
    return wrong


@cfunc(types.int64(types.int64, types.CPointer(types.int64)), error_model="numpy")
def run(operation, frame):
    """Carry out an operation on a frame; return what went wrong, 0 if nothing."""
    return _run(operation, frame)
