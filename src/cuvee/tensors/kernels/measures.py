"""Loops that say something about the operands without making anything. Compiled."""

import numpy as np

from cuvee.tensors.kernels.elements import MAGNITUDE, compiled, f32, f64, i32, i64, u8
from cuvee.tensors.kernels.frame import CHUNK, LANES_PER_PAIR

__all__ = [
    "add_magnitudes",
    "add_products",
    "add_products_apart",
    "count_digit",
    "fold_lanes",
    "histogram",
    "magnitudes",
    "select_digit",
    "tally",
    "vote",
]

NOTHING = np.float32(0)


@compiled
def tally(values, count, candidates, number, places, found):
    """Count magnitudes on, between and above a number of ascending candidates; see the torch form."""
    asked, counts, inside = i64(candidates), i64(found), i32(places)
    kept, above = _keep_within(values, count, np.int32(asked[0]), np.int32(asked[number - 1]), places)
    counts[2 * number] += above
    for i in range(kept):
        low, high = 0, number - 1  # the first candidate that is not smaller lies in here
        while low < high:
            middle = (low + high) // 2
            if asked[middle] < inside[i]:
                low = middle + 1
            else:
                high = middle
        counts[2 * low + (asked[low] == inside[i])] += 1
    return 0


@compiled
def histogram(values, count, asked, places, found):
    """Count the magnitudes of an interval (low, high, shift) by their distance from its beginning, shifted."""
    counts, inside, low, shift = i64(found), i32(places), i64(asked)[0], i64(asked)[2]
    kept, _ = _keep_within(values, count, np.int32(low), np.int32(i64(asked)[1] - 1), places)
    for i in range(kept):
        counts[(inside[i] - low) >> shift] += 1
    return 0


@compiled
def _keep_within(values, count, low, high, inside):
    """Put the magnitudes between two, both included, one after the other; return how many they are, and the larger."""
    # They are few, as a rule: eight at a time are passed over where none is among them.
    bits, kept, above, span = i32(values), 0, np.int32(0), np.uint32(high - low)
    flags, eights = u8(inside + 4 * CHUNK), i64(inside + 4 * CHUNK)
    for i in range(count):
        magnitude = np.int32(bits[i] & MAGNITUDE)
        flags[i] = np.uint32(magnitude - low) <= span
        above += np.int32(magnitude > high)
    for i in range(count, CHUNK):
        flags[i] = 0
    found = i32(inside)
    for j in range((count + 7) // 8):
        if eights[j]:
            for i in range(8 * j, 8 * j + 8):
                found[kept] = bits[i] & MAGNITUDE
                kept += np.int64(flags[i])
    return kept, above


@compiled
def magnitudes(values, count, out):
    """Store the magnitudes' bits."""
    bits, stored = i32(values), i32(out)
    for i in range(count):
        stored[i] = bits[i] & MAGNITUDE
    return 0


@compiled
def vote(total, count):
    """Return how many sums are positive, less those that are negative."""
    sums, balance = f32(total), 0
    for i in range(count):
        balance += np.int32(sums[i] > NOTHING) - np.int32(sums[i] < NOTHING)
    return balance


@compiled
def add_products(one, other, count, lanes):
    """Add the products of two chunks to their lanes: element i to lane i % LANES_PER_PAIR, in order."""
    x, y, sums = f32(one), f32(other), f64(lanes)
    whole = count - count % LANES_PER_PAIR
    for begin in range(0, whole, LANES_PER_PAIR):
        for lane in range(LANES_PER_PAIR):
            sums[lane] += np.float64(x[begin + lane]) * np.float64(y[begin + lane])
    for lane in range(count - whole):
        sums[lane] += np.float64(x[whole + lane]) * np.float64(y[whole + lane])
    return 0


@compiled
def add_magnitudes(values, count, lanes):
    """Add the magnitudes of a chunk to its lanes: element i to lane i % LANES_PER_PAIR, in order."""
    x, sums = f32(values), f64(lanes)
    whole = count - count % LANES_PER_PAIR
    for begin in range(0, whole, LANES_PER_PAIR):
        for lane in range(LANES_PER_PAIR):
            sums[lane] += abs(np.float64(x[begin + lane]))
    for lane in range(count - whole):
        sums[lane] += abs(np.float64(x[whole + lane]))
    return 0


@compiled
def fold_lanes(lanes):
    """Add the lanes up, halves first, and clear them."""
    sums, width = f64(lanes), LANES_PER_PAIR // 2
    while width:
        for lane in range(width):
            sums[lane] += sums[lane + width]
        width //= 2
    product = sums[0]
    for lane in range(LANES_PER_PAIR):
        sums[lane] = 0.0
    return product


@compiled
def add_products_apart(one, other, count, sums):
    """Add each product of two chunks to a sum of its own."""
    x, y, columns = f32(one), f32(other), f64(sums)
    for i in range(count):
        columns[i] += np.float64(x[i]) * np.float64(y[i])
    return 0


@compiled
def count_digit(values, count, places, turn, state):
    """Count magnitudes by their digit of this turn, of those that begin with the digits found so far."""
    first, size = (20, 11) if turn == 0 else ((10, 10) if turn == 1 else (0, 10))
    bits, place, found, begins = i32(values), i32(places), i64(state + 16), i64(state)[0]
    if turn == 0:
        for i in range(count):
            place[i] = np.int32(bits[i] & MAGNITUDE) >> np.int32(first)
        for i in range(count):
            found[place[i]] += 1
        return 0
    digit = np.int32((1 << size) - 1)
    for i in range(count):
        upper = np.int32(bits[i] & MAGNITUDE) >> np.int32(first)
        if (upper >> np.int32(size)) == begins:
            found[upper & digit] += 1
    return 0


@compiled
def select_digit(state, turn, asked, cut):
    """Find the digit of the entry of rank `asked`, counted from the largest; after the last turn, fill in the cut."""
    size = 11 if turn == 0 else 10
    known, found, answer = i64(state), i64(state + 16), i64(cut)
    rank = asked if turn == 0 else known[1]
    place = (1 << size) - 1
    while place > 0 and found[place] < rank:
        rank -= found[place]
        place -= 1
    known[0] = (0 if turn == 0 else known[0] << size) + place
    known[1] = rank
    answer[0], answer[1], answer[2] = known[0], rank, found[place]
    for i in range(1 << size):
        found[i] = 0
    return 0
