"""Loops that make merged elements of the operands' chunks. Compiled.

Products and sums are rounded one after the other, never fused, in the order of the torch form.
"""

import numpy as np

from cuvee.tensors.kernels.elements import MAGNITUDE, compiled, f32, i32
from cuvee.tensors.kernels.frame import CHUNK, EVERY_SIGN
from cuvee.tensors.kernels.stages import EVERY

__all__ = ["add", "add_scaled", "add_weighted", "disjoint_merge", "scale_and_add"]

# A band of magnitudes, above `low` and not above `high`, is what stays of an operand: see `stages`.

NOTHING = np.float32(0)
ONE = np.float32(1)
SUM, LARGEST, SIGNED_MEAN = 1, 2, 3  # choices; 0 is the mean


@compiled
def multiply(values, count, factor):
    """Multiply a chunk by a number."""
    x = f32(values)
    for i in range(count):
        x[i] *= factor
    return 0


@compiled
def add(total, values, count):
    """Add a chunk to another."""
    sums, x = f32(total), f32(values)
    for i in range(count):
        sums[i] += x[i]
    return 0


@compiled
def add_scaled(total, values, count, factor, low, high, is_first):
    """Add a band of a chunk, times a number, to another chunk, or put it there if it is the first."""
    sums, x, raw = f32(total), f32(values), i32(values)
    if low == EVERY[0] and high == EVERY[1]:
        if is_first:
            for i in range(count):
                sums[i] = x[i] * factor
        else:
            for i in range(count):
                sums[i] = np.float32(sums[i] + np.float32(x[i] * factor))
        return 0
    if is_first:
        for i in range(count):
            magnitude = np.int32(raw[i] & MAGNITUDE)
            sums[i] = (x[i] if magnitude > low and magnitude <= high else NOTHING) * factor
    else:
        for i in range(count):
            magnitude = np.int32(raw[i] & MAGNITUDE)
            kept = x[i] if magnitude > low and magnitude <= high else NOTHING
            sums[i] = np.float32(sums[i] + np.float32(kept * factor))
    return 0


@compiled
def add_weighted(total, values, count, factors, is_first):
    """Add a chunk, each element times a number of its own, to another chunk, or put it there if it is the first."""
    sums, x, w = f32(total), f32(values), f32(factors)
    if is_first:
        for i in range(count):
            sums[i] = x[i] * w[i]
    else:
        for i in range(count):
            sums[i] = np.float32(sums[i] + np.float32(x[i] * w[i]))
    return 0


@compiled
def scale_and_add(total, values, count, factor, low, high, is_first):
    """Reduce a chunk to a band, multiply it by a number, and add it to another, or put it there if it is the first."""
    sums, x, raw = f32(total), f32(values), i32(values)
    if is_first:
        _clear(total, count)
    if low == EVERY[0] and high == EVERY[1]:
        for i in range(count):
            x[i] *= factor
            sums[i] += x[i]
        return 0
    for i in range(count):
        magnitude = np.int32(raw[i] & MAGNITUDE)
        x[i] = (x[i] if magnitude > low and magnitude <= high else NOTHING) * factor
        sums[i] += x[i]
    return 0


@compiled
def disjoint_merge(terms, weights, num_terms, total, mass, signs, count, choice, undecided, scale):
    """Merge the terms that have the sign of their sum, into `total`.

    Args:
        terms: address of the operands times their weights, a chunk each.
        weights: address of the weights, float32.
        num_terms: how many operands.
        total: address of the chunk of the terms' sum; replaced by what is merged.
        mass: address of a chunk, used for the sum of the weights that count.
        signs: address of a chunk, used for the signs that count.
        count: elements in a chunk.
        choice: 0 mean, 1 sum, 2 the term of largest magnitude, 3 the mean by signed weights.
        undecided: sign of elements whose sum is zero; EVERY_SIGN counts every term that is not zero.
        scale: factor on the result, float32.
    """
    every = undecided == EVERY_SIGN
    _direct(total, signs, count, undecided)
    _clear(total, count)
    if choice == LARGEST:
        for k in range(num_terms):
            _keep_larger(total, terms + 4 * CHUNK * k, signs, count, every)
        return multiply(total, count, scale)
    _clear(mass, count)
    for k in range(num_terms):
        term, signed = terms + 4 * CHUNK * k, f32(weights)[k]
        weight = signed if choice == SIGNED_MEAN else np.float32(abs(signed))
        if every:
            _add_all(total, mass, term, weight, count)
        else:
            _add_agreeing(total, mass, term, signs, weight, count)
    if choice != SUM:
        return _divide(total, mass, count, scale)
    return multiply(total, count, scale)


@compiled
def _divide(total, mass, count, scale):
    """Divide sums by the weights that count, where there are any, and scale them."""
    sums, weights = f32(total), f32(mass)
    for i in range(count):
        mean = np.float32(sums[i] / (weights[i] if weights[i] != NOTHING else ONE))
        sums[i] = np.float32(mean * scale)
    return 0


@compiled
def _clear(values, count):
    """Fill a chunk with zeros."""
    x = f32(values)
    for i in range(count):
        x[i] = NOTHING
    return 0


@compiled
def _direct(total, signs, count, undecided):
    """Turn sums into the signs that count; a sign of zero lets nothing count."""
    tie, sums, x = np.float32(undecided), f32(total), f32(signs)
    for i in range(count):
        x[i] = ONE if sums[i] > NOTHING else (-ONE if sums[i] < NOTHING else tie)
    return 0


@compiled
def _add_agreeing(total, mass, term, signs, weight, count):
    """Add what has the sign that counts, and its weight."""
    sums, weights, x, sign = f32(total), f32(mass), f32(term), f32(signs)
    for i in range(count):
        counts = np.float32(x[i] * sign[i]) > NOTHING
        sums[i] += x[i] if counts else NOTHING
        weights[i] += weight if counts else NOTHING
    return 0


@compiled
def _add_all(total, mass, term, weight, count):
    """Add what is not zero, and its weight."""
    sums, weights, x = f32(total), f32(mass), f32(term)
    for i in range(count):
        sums[i] += x[i]
        weights[i] += weight if x[i] != NOTHING else NOTHING
    return 0


@compiled
def _keep_larger(total, term, signs, count, every):
    """Replace what is smaller than a term that counts."""
    sums, x, sign = f32(total), f32(term), f32(signs)
    for i in range(count):
        counts = every or np.float32(x[i] * sign[i]) > NOTHING
        sums[i] = x[i] if counts and abs(x[i]) > abs(sums[i]) else sums[i]
    return 0
