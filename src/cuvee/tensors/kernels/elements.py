"""Raw elements to float32 and back, a chunk at a time. Compiled.

Loops are written so that a compiler can do eight elements at once: no branch depends on an element, and integers keep
the width of their elements (numba would widen them).
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from cuvee.tensors.kernels.frame import BF16, F32

__all__ = ["compiled", "difference", "f32", "f64", "fetch_ahead", "i32", "i64", "narrow", "u8", "u16", "u32", "widen"]

compiled = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
# Made part of the function that calls it: compiled by itself, all that it calls would be compiled once more with it.
inlined = njit(error_model="numpy", inline="always")

MAGNITUDE = np.int32(0x7FFFFFFF)
INFINITY = np.int32(0x7F800000)
MAGNITUDE_32, INFINITY_32 = np.uint32(MAGNITUDE), np.uint32(INFINITY)
MAGNITUDE_16 = np.uint16(0x7FFF)
SIGN_16 = np.uint16(0x8000)
UP, DOWN = np.float32(2.0**112), np.float32(2.0**-112)  # between the exponents of float32 and float16
F16_SMALLEST = np.int32((127 - 14) << 23)  # exponent of the smallest normal float16
F16_LARGEST = np.int32(0x477FE000)  # bits of 65504, the largest float16, as float32
ROUND_16 = np.uint32(0x7FFF)
ONE = np.uint32(1)
SIXTEEN = np.uint32(16)
THIRTEEN = np.uint32(13)


def _pointer(element):
    """Make a function of an address that returns a pointer to elements of a type; pointers are indexed like arrays."""

    @intrinsic
    def pointer(_, address):  # noqa: ARG001 - its type is what numba looks at
        def build(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), build

    return pointer


@intrinsic
def fetch_ahead(_, address):  # noqa: ARG001 - its type is what numba looks at
    """Ask for the line of memory at an address, which is about to be read; nothing happens if there is none."""

    def build(context, builder, signature, arguments):
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        wanted = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], wanted)
        builder.call(fetch, [builder.inttoptr(arguments[0], pointer), flag(0), flag(3), flag(1)])  # to read, keep, data
        return context.get_constant(signature.return_type, 0)

    return types.int64(types.int64), build


u8, u16, u32 = map(_pointer, (types.uint8, types.uint16, types.uint32))
i32, i64 = map(_pointer, (types.int32, types.int64))
f32, f64 = _pointer(types.float32), _pointer(types.float64)


@compiled
def widen(address, code, begin, count, out):
    """Widen `count` raw elements from `begin` on to float32 at `out`; say whether all are finite."""
    if code == F32:
        return _from_f32(address + 4 * begin, count, out)
    if code == BF16:
        return _from_bf16(address + 2 * begin, count, out)
    return _from_f16(address + 2 * begin, count, out)


@compiled
def _from_f32(address, count, out):
    raw = i32(address)
    bits = i32(out)
    top = np.int32(0)
    for i in range(count):
        bits[i] = raw[i]
        top = max(top, np.int32(raw[i] & MAGNITUDE))
    return top < INFINITY


@compiled
def _from_bf16(address, count, out):
    raw = u16(address)
    bits = u32(out)
    top = np.uint16(0)
    for i in range(count):
        bits[i] = np.uint32(raw[i]) << SIXTEEN
        top = max(top, np.uint16(raw[i] & MAGNITUDE_16))
    return top < np.uint16(0x7F80)


@compiled
def _from_f16(address, count, out):
    # A float16's exponent and mantissa, put where float32 has them, are 2^112 times too small, subnormals included.
    raw = u16(address)
    bits = u32(out)
    wide = f32(out)
    top = np.uint16(0)
    for i in range(count):
        magnitude = np.uint16(raw[i] & MAGNITUDE_16)
        top = max(top, magnitude)
        bits[i] = np.uint32(magnitude) << THIRTEEN
    for i in range(count):
        wide[i] *= UP
    for i in range(count):
        bits[i] |= np.uint32(np.uint16(raw[i] & SIGN_16)) << SIXTEEN
    return top < np.uint16(0x7C00)


@compiled
def difference(address, code, begin, count, base, out):
    """As `widen`, less the float32 elements at `base`."""
    if code == BF16:
        return _from_bf16_less(address + 2 * begin, count, base, out)
    finite = widen(address, code, begin, count, out)
    wide, less = f32(out), f32(base)
    for i in range(count):
        wide[i] -= less[i]
    return finite


@compiled
def _from_bf16_less(address, count, base, out):
    raw = u16(address)
    less = f32(base)
    wide = f32(out)
    top = np.uint16(0)
    for i in range(count):
        wide[i] = np.uint32(np.uint32(raw[i]) << SIXTEEN).view(np.float32) - less[i]
        top = max(top, np.uint16(raw[i] & MAGNITUDE_16))
    return top < np.uint16(0x7F80)


@compiled
def narrow(values, count, address, code, begin):
    """Round float32 elements to nearest even and store them; say whether all were finite, and whether all fitted."""
    if code == BF16:
        return _to_bf16(values, count, address + 2 * begin)
    bits = i32(values)
    top = np.int32(0)
    for i in range(count):
        top = max(top, np.int32(bits[i] & MAGNITUDE))
    finite = top < INFINITY
    if code == F32:
        out = i32(address + 4 * begin)
        for i in range(count):
            out[i] = bits[i]
        return finite, True
    return finite, _to_f16(values, count, address + 2 * begin)


@compiled
def _to_bf16(values, count, address):
    # What was finite and is not any more did not fit. Of a NaN the sum may wrap around: it is looked for by itself.
    out = u16(address)
    bits = u32(values)
    top, rounded_top = np.uint32(0), np.uint16(0)
    for i in range(count):
        top = max(top, np.uint32(bits[i] & MAGNITUDE_32))
        odd = np.uint32((bits[i] >> SIXTEEN) & ONE)
        rounded = np.uint16(np.uint32(bits[i] + ROUND_16 + odd) >> SIXTEEN)
        out[i] = rounded
        rounded_top = max(rounded_top, np.uint16(rounded & MAGNITUDE_16))
    return top < INFINITY_32, rounded_top < np.uint16(0x7F80)


@compiled
def _to_f16(values, count, address):
    # Adding 2^13 times its power of two to a number and taking it away rounds it to ten bits behind the point (fewer
    # below the smallest normal float16), because float32 has 23.
    out = u16(address)
    bits = i32(values)
    top = np.int32(0)
    for i in range(count):
        power = np.int32(max(np.int32(bits[i] & INFINITY), F16_SMALLEST) + np.int32(13 << 23)).view(np.float32)
        magnitude = np.int32(bits[i] & MAGNITUDE).view(np.float32)
        rounded = np.float32(np.float32(magnitude + power) - power)
        top = max(top, np.int32(rounded.view(np.int32)))  # of positive numbers: ordered as they are
        scaled = np.uint32(np.float32(rounded * DOWN).view(np.uint32))
        sign = np.uint32(np.uint32(bits[i]) >> SIXTEEN) & np.uint32(SIGN_16)
        out[i] = np.uint16(np.uint32(scaled >> THIRTEEN) | sign)
    return top <= F16_LARGEST
