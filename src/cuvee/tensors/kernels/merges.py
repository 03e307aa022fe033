"""Loops that make merged elements of the operands' chunks. Compiled.

Products and sums are rounded one after the other, never fused, in the order of the torch form.
"""

import numpy as np

from cuvee.tensors.kernels.elements import compiled, f32
from cuvee.tensors.kernels.frame import CHUNK, EVERY_SIGN

__all__ = ["add", "add_scaled", "disjoint_merge", "scale_and_add"]

NOTHING = np.float32(0)
ONE = np.float32(1)
MEAN, LARGEST = 0, 2  # choices; 1 is the sum


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
def add_scaled(total, values, count, factor, is_first):
    """Add a chunk times a number to another, or put it there if it is the first."""
    sums, x = f32(total), f32(values)
    if is_first:
        for i in range(count):
            sums[i] = x[i] * factor
    else:
        for i in range(count):
            sums[i] = np.float32(sums[i] + np.float32(x[i] * factor))
    return 0


@compiled
def scale_and_add(total, values, count, factor, is_first):
    """Multiply a chunk by a number, and add it to another, or put it there if it is the first."""
    sums, x = f32(total), f32(values)
    if factor != ONE:
        multiply(values, count, factor)
    if is_first:
        for i in range(count):
            sums[i] = x[i]
    else:
        for i in range(count):
            sums[i] += x[i]
    return 0


@compiled
def disjoint_merge(terms, weights, num_terms, total, mass, count, choice, undecided, scale):
    """Merge the terms that have the sign of their sum, into `total`.

    Args:
        terms: address of the operands times their weights, a chunk each.
        weights: address of the weights, float32.
        num_terms: how many operands.
        total: address of the chunk of the terms' sum; replaced by what is merged.
        mass: address of a chunk, used for the sum of the weights that count.
        count: elements in a chunk.
        choice: 0 mean, 1 sum, 2 the term of largest magnitude.
        undecided: sign of elements whose sum is zero; EVERY_SIGN counts every term that is not zero.
        scale: factor on the result, float32.
    """
    every = undecided == EVERY_SIGN
    _direct(total, mass, count, undecided)
    if choice == LARGEST:
        _clear(total, count)
        for k in range(num_terms):
            _keep_larger(total, terms + 4 * CHUNK * k, mass, count, every)
        return multiply(total, count, scale)
    if every:
        _clear(mass, count)
    else:
        for k in range(num_terms):
            _select_agreeing(terms + 4 * CHUNK * k, mass, count)
    for k in range(num_terms):
        _add_selected(total, mass, terms + 4 * CHUNK * k, np.float32(abs(f32(weights)[k])), count, k == 0)
    if choice == MEAN:
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
def _select_agreeing(term, signs, count):
    """Clear what does not have the sign that counts."""
    x, sign = f32(term), f32(signs)
    for i in range(count):
        x[i] = x[i] if np.float32(x[i] * sign[i]) > NOTHING else NOTHING
    return 0


@compiled
def _add_selected(total, mass, term, weight, count, is_first):
    """Add what counts, and the weights of what counts, or put them there if they are the first."""
    sums, weights, x = f32(total), f32(mass), f32(term)
    if is_first:
        for i in range(count):
            sums[i] = NOTHING + x[i]  # a negative zero becomes a positive one
            weights[i] = weight if x[i] != NOTHING else NOTHING
        return 0
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
