"""What is done to an operand's chunk after it is read: cuts by magnitude, random drops, clips, factors. Compiled."""

import numpy as np

from cuvee.tensors.kernels.elements import MAGNITUDE, compiled, difference, f32, fetch_ahead, i32, i64, u32, widen
from cuvee.tensors.kernels.frame import (
    CHUNK,
    CLEAR,
    CLIP,
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
WORDS = CHUNK // 32  # a bit of each of a chunk's elements: as many counters give four such planes
ROUNDS = 7
MULTIPLY_0, MULTIPLY_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
BATCH = 29  # in a counter's second word: which four planes it gives
NONE, ONE, ALL, TOP = np.uint32(0), np.uint32(1), np.uint32(0xFFFFFFFF), np.uint32(1 << 31)
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
        spare: address of another chunk.

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
        kind = i64(stage)[0]
        if kind <= CLEAR:
            low, high = _cut(out, count, stage, row, seen + 8 * s, low, high)
        else:
            keep_band(out, count, low, high)
            low, high = EVERY
            if kind == DROP:
                _drop(out, count, stage, i64(stage)[TABLE] + 8 * segment, place, spare)
            else:
                bound = f32(i64(stage)[TABLE] + 8 * row)[0]
                if kind == CLIP:
                    _clip(out, count, bound)
                else:
                    _scale(out, count, bound)
    return finite, low, high


@compiled
def begin_row(stages, count, seen, row):
    """Begin to count entries on the cuts of a row."""
    for s in range(count):
        stage = i64(stages + 8 * STAGE * s)
        if stage[0] <= CLEAR:
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
def _clip(values, count, limit):
    """Bring entries beyond a magnitude to it."""
    wide = f32(values)
    for i in range(count):
        wide[i] = min(max(wide[i], -limit), limit)
    return 0


@compiled
def _scale(values, count, factor):
    """Multiply a chunk by its row's factor."""
    wide = f32(values)
    for i in range(count):
        wide[i] *= factor
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
    _find_survivors(stage, name, start // CHUNK, threshold, spare)
    survivors = u32(spare)
    if count == CHUNK:
        for bit in range(32):
            _keep_survivors(values + 4 * WORDS * bit, spare, np.uint32(bit), rescale)
        return 0
    for i in range(count):
        word, bit = (first + i) % WORDS, np.uint32((first + i) // WORDS)
        wide[i] = np.float32(wide[i] * rescale) if survivors[word] >> bit & ONE else NOTHING
    return 0


@compiled
def _keep_survivors(values, survivors, bit, rescale):
    """Keep and rescale, or clear, the elements that one bit of each word stands for."""
    wide, words = f32(values), u32(survivors)
    for c in range(WORDS):
        wide[c] = np.float32(wide[c] * rescale) if np.uint32(words[c] >> bit) & ONE else NOTHING
    return 0


@compiled
def _find_survivors(stage, name, chunk, threshold, out):
    """Set bit b of word c where element 32 b + c of a chunk has a draw below the threshold.

    Draws are compared from their highest bit down, for all elements of a word at once, as far as it takes.
    """
    below, level, drawn = u32(out), u32(out + 4 * WORDS), u32(out + 8 * WORDS)
    for c in range(WORDS):
        below[c], level[c] = NONE, ALL
    for place in range(32):
        if not threshold << place & ALL or (place % 4 == 0 and not _any(out + 4 * WORDS)):
            break  # those that are level so far are not below, or there are none
        if place % 4 == 0:
            _draw(stage, name, chunk, place // 4, out + 8 * WORDS)
        side = ALL if threshold << place & TOP else NONE
        plane = WORDS * (place % 4)
        for c in range(WORDS):
            lower = np.uint32(drawn[plane + c] ^ side)  # a bit that differs from the threshold's
            below[c] |= np.uint32(level[c] & lower & side)
            level[c] &= np.uint32(~lower)
    return 0


@compiled
def _any(words):
    """Say whether any bit is set in a plane."""
    bits, result = u32(words), NONE
    for c in range(WORDS):
        result |= bits[c]
    return result != NONE


@compiled
def _draw(stage, name_address, chunk, batch, out):
    """Draw four planes of bits for a chunk: word w of counter c belongs to elements c, c + 32, and so on."""
    words, name, key = u32(out), u32(name_address), u32(stage + 8 * KEY)
    for c in range(WORDS):
        counter = np.uint64(chunk * WORDS + c)
        words[c] = np.uint32(counter & LOW)
        words[WORDS + c] = np.uint32(np.uint32(counter >> HALF) | np.uint32(batch << BATCH))
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
