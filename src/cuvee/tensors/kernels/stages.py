"""What is done to an operand's chunk after it is read: cuts by magnitude, random drops. Compiled."""

import numpy as np

from cuvee.tensors.kernels.elements import MAGNITUDE, compiled, difference, f32, fetch_ahead, i32, i64, u32, widen
from cuvee.tensors.kernels.frame import (
    CHUNK,
    COLUMNS,
    DROP,
    F32,
    KEEP,
    KEY,
    RESCALE,
    STAGE,
    TABLE,
    THRESHOLD,
)

__all__ = ["EVERY", "begin_row", "keep_band", "load"]

LINE = 64  # bytes that memory is fetched by
WORDS = CHUNK // 8  # counters drawn for a chunk: each gives four words of 32 bits, eight halves
ROUNDS = 7
MULTIPLY_0, MULTIPLY_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
SECOND = np.uint32(1 << 31)  # in a counter's second word: the draw that decides where the first is on the edge
LOW_HALF = np.uint32(0xFFFF)
ZERO = np.int32(0)
EVERY = np.int32(-1), MAGNITUDE  # the band that every magnitude lies in
NOTHING = np.float32(0)


@compiled
def load(model, code, base, stages, first, last, seen, segment, place, row, begin, count, out, spare):
    """Make a chunk of an operand at `out`: read, subtract the base, go through its stages.

    What only clears entries of some magnitudes is left to whoever uses the chunk next: it costs nothing on the way.

    Args:
        model: address of the model's raw elements.
        code: their type.
        base: address of the base's chunk, float32; 0 without.
        stages: address of the stages.
        first: the operand's first stage.
        last: the stage after its last.
        seen: address of the stages' counts of entries on a cut.
        segment: which segment the chunk lies in.
        place: index of the chunk's first element in its stream of draws.
        row: which row the chunk lies in.
        begin: the chunk's first element.
        count: elements in it.
        out: address of a chunk.
        spare: address of two chunks.

    Returns:
        Whether what was read is finite; and the magnitudes that stay: above `low`, and not above `high`.
    """
    width = 4 if code == F32 else 2
    for line in range(width * (begin + count), width * (begin + count + CHUNK), LINE):
        fetch_ahead(model + line)  # processors do so themselves, but begin anew with every chunk
    if base:
        finite = difference(model, code, begin, count, base, out)
    else:
        finite = widen(model, code, begin, count, out)
    low, high = EVERY
    for s in range(first, last):
        stage = stages + 8 * STAGE * s
        if i64(stage)[0] == DROP:
            keep_band(out, count, low, high)
            low, high = EVERY
            _drop(out, count, stage, i64(stage)[TABLE] + 8 * segment, place, spare)
        else:
            low, high = _cut(out, count, stage, row, seen + 8 * s, low, high)
    return finite, low, high


@compiled
def begin_row(stages, count, seen, row):
    """Begin to count entries on the cuts of a row."""
    for s in range(count):
        stage = i64(stages + 8 * STAGE * s)
        if stage[0] != DROP:
            i64(seen)[s] = i64(stage[TABLE])[2 * stage[COLUMNS] + row]
    return 0


@compiled
def _cut(values, count, stage, row, seen, low, high):
    """Keep, or clear, the entries above a cut and the first few on it; return the band that is still to be kept."""
    kind, cuts, rows = i64(stage)[0], i64(i64(stage)[TABLE]), i64(stage)[COLUMNS]
    bits, spare, before = np.int32(cuts[row]), cuts[rows + row], i64(seen)[0]
    if before < spare:
        if bits <= low or bits > high:  # else the band holds all entries on the cut
            keep_band(values, count, low, high)
            low, high = EVERY
        on = _count_on(values, count, bits)
        i64(seen)[0] = before + on
        if before + on <= spare:
            bits = np.int32(bits - np.int32(1))
        else:
            keep_band(values, count, low, high)
            _split_on(values, count, bits, spare - before, kind)
            return EVERY
    if kind == KEEP:
        return max(low, bits), high
    return low, min(high, bits)


@compiled
def keep_band(values, count, low, high):
    """Clear the entries whose magnitude is not above `low`, or above `high`."""
    raw = i32(values)
    if low != EVERY[0] or high != EVERY[1]:
        for i in range(count):
            magnitude = np.int32(raw[i] & MAGNITUDE)
            raw[i] = raw[i] if magnitude > low and magnitude <= high else ZERO
    return 0


@compiled
def _count_on(values, count, bits):
    """Count the entries on a cut."""
    raw, on = i32(values), 0
    for i in range(count):
        on += np.int32(raw[i] & MAGNITUDE) == bits
    return on


@compiled
def _split_on(values, count, bits, spare, kind):
    """Keep, or clear, what is larger, and the first `spare` that are equal."""
    raw, place = i32(values), 0
    for i in range(count):
        magnitude = np.int32(raw[i] & MAGNITUDE)
        place += magnitude == bits
        above = magnitude > bits or (magnitude == bits and place <= spare)
        if above != (kind == KEEP):
            raw[i] = ZERO
    return 0


@compiled
def _drop(values, count, stage, name, start, spare):
    """Rescale the entries whose draw lies below the threshold, and clear the others."""
    wide, first = f32(values), start % CHUNK
    rescale, threshold = f32(stage + 8 * RESCALE)[0], i64(stage)[THRESHOLD]
    if threshold >> 32:
        for i in range(count):
            wide[i] *= rescale
        return 0
    edge, rest = np.uint32(threshold >> 16), threshold & 0xFFFF
    words, draws = spare + 4 * CHUNK, spare
    _draw(stage, name, start // CHUNK, words)
    if first == 0 and count == CHUNK and not (rest and _on_edge(words, edge)):
        for w in range(4):
            _keep_drawn(values + 8 * w * WORDS, words + 4 * w * WORDS, edge, rescale)
        return 0
    _spread(words, draws)
    if rest:
        _settle_edge(draws, stage, name, start - first, np.int32(edge), rest)
    drawn = i32(draws)
    for i in range(count):
        wide[i] = np.float32(wide[i] * rescale) if drawn[first + i] < np.int32(edge) else NOTHING
    return 0


@compiled
def _keep_drawn(values, words, edge, rescale):
    """Keep and rescale, or clear, the elements that the halves of a row of words belong to."""
    wide, drawn = f32(values), u32(words)
    for c in range(WORDS):
        wide[c] = np.float32(wide[c] * rescale) if np.uint32(drawn[c] & LOW_HALF) < edge else NOTHING
    for c in range(WORDS):
        other = np.float32(wide[WORDS + c] * rescale)
        wide[WORDS + c] = other if np.uint32(drawn[c] >> np.uint32(16)) < edge else NOTHING
    return 0


@compiled
def _on_edge(words, edge):
    """Count the halves that equal the upper bits of the threshold."""
    drawn, hits = u32(words), 0
    for c in range(4 * WORDS):
        low, high = np.uint32(drawn[c] & LOW_HALF) == edge, np.uint32(drawn[c] >> np.uint32(16)) == edge
        hits += np.int32(low) + np.int32(high)
    return hits


@compiled
def _draw(stage, name_address, chunk, out):
    """Draw the words of a chunk: half h of counter c belongs to element h * 128 + c."""
    words, name, key = u32(out), u32(name_address), u32(stage + 8 * KEY)
    for c in range(WORDS):
        counter = np.uint64(chunk * WORDS + c)
        words[c] = np.uint32(counter & LOW)
        words[WORDS + c] = np.uint32(counter >> HALF)
        words[2 * WORDS + c] = name[0]
        words[3 * WORDS + c] = name[1]
    key0, key1 = key[0], key[1]
    for _ in range(ROUNDS):
        for c in range(WORDS):
            one, two = np.uint64(words[c]) * MULTIPLY_0, np.uint64(words[2 * WORDS + c]) * MULTIPLY_1
            words[c] = np.uint32(np.uint32(two >> HALF) ^ words[WORDS + c] ^ key0)
            words[WORDS + c] = np.uint32(two & LOW)
            words[2 * WORDS + c] = np.uint32(np.uint32(one >> HALF) ^ words[3 * WORDS + c] ^ key1)
            words[3 * WORDS + c] = np.uint32(one & LOW)
        key0, key1 = np.uint32(key0 + WEYL_0), np.uint32(key1 + WEYL_1)
    return 0


@compiled
def _spread(words, out):
    """Put the halves of a chunk's words in the order of its elements."""
    drawn, draws = u32(words), i32(out)
    for w in range(4):
        for c in range(WORDS):
            draws[2 * w * WORDS + c] = np.int32(drawn[w * WORDS + c] & LOW_HALF)
        for c in range(WORDS):
            draws[(2 * w + 1) * WORDS + c] = np.int32(drawn[w * WORDS + c] >> np.uint32(16))
    return 0


@compiled
def _settle_edge(out, stage, name, start, edge, rest):
    """Decide the few elements whose first 16 bits equal the threshold's by 16 bits of a draw of their own."""
    draws, hits = i32(out), 0
    for i in range(CHUNK):
        hits += draws[i] == edge
    if hits:
        for i in range(CHUNK):
            if draws[i] == edge and _second(stage, name, start + i) < rest:
                draws[i] = np.int32(-1)
    return 0


@compiled
def _second(stage, name_address, index):
    """Draw another 16 bits for one element."""
    name, key = u32(name_address), u32(stage + 8 * KEY)
    w0, w1 = np.uint32(np.uint64(index) & LOW), np.uint32(np.uint32(np.uint64(index) >> HALF) | SECOND)
    w2, w3, key0, key1 = name[0], name[1], key[0], key[1]
    for _ in range(ROUNDS):
        one, two = np.uint64(w0) * MULTIPLY_0, np.uint64(w2) * MULTIPLY_1
        w0, w1 = np.uint32(np.uint32(two >> HALF) ^ w1 ^ key0), np.uint32(two & LOW)
        w2, w3 = np.uint32(np.uint32(one >> HALF) ^ w3 ^ key1), np.uint32(one & LOW)
        key0, key1 = np.uint32(key0 + WEYL_0), np.uint32(key1 + WEYL_1)
    return np.int64(w0 & np.uint32(0xFFFF))
