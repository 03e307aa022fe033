"""Raw elements to float32 and back, a chunk at a time. Compiled.

Loops are written so that a compiler can do eight elements at once: no branch depends on an element, and integers keep
the width of their elements (numba would widen them).
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from cuvee.tensors.kernels.frame import BF16, F16, F32

__all__ = ["compiled", "difference", "f32", "f64", "fetch_ahead", "i32", "i64", "narrow", "u8", "u16", "u32", "widen"]

compiled = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
# Made part of the function that calls it: compiled by itself, all that it calls would be compiled once more with it.
inlined = njit(error_model="numpy", inline="always")

MAGNITUDE = np.int32(0x7FFFFFFF)
INFINITY = np.int32(0x7F800000)
MAGNITUDE_32, INFINITY_32 = np.uint32(MAGNITUDE), np.uint32(INFINITY)
MAGNITUDE_16 = np.uint16(0x7FFF)
SIGN_16 = np.uint16(0x8000)
F16_NORMAL = np.uint16(0x0400)  # the smallest normal float16
REBIASED = np.uint32((127 - 15) << 23)  # between the exponents of float32 and float16
ONE_UP, THIRTEEN_UP = np.uint32(1 << 23), np.int32(13 << 23)  # added to bits of a float32: times 2, times 2^13
F16_SMALLEST = np.int32((127 - 14) << 23)  # the same as float32: bits of 2^-14
SMALLEST, NOTHING = np.float32(2.0**-14), np.float32(0)
F16_END = np.int32(0x477FF000)  # bits of 65520, the smallest number that is rounded to infinity, as float32
ROUND_16 = np.uint32(0x7FFF)
ZERO, ONE = np.uint32(0), np.uint32(1)
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
        return _copy(address + 4 * begin, count, out)
    if code == BF16:
        return _from_bf16(address + 2 * begin, count, out)
    return _from_f16(address + 2 * begin, count, out)


@compiled
def _copy(address, count, out):
    # Float32 to float32.
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
    # Exponent and mantissa go where float32 has them. A subnormal m 2^-24 is made as (1 + m / 1024) 2^-14 less 2^-14:
    # no number on the way is a subnormal float32, which a processor may be set to take for zero.
    raw = u16(address)
    bits = u32(out)
    top = np.uint16(0)
    for i in range(count):
        magnitude = np.uint16(raw[i] & MAGNITUDE_16)
        top = max(top, magnitude)
        subnormal = magnitude < F16_NORMAL
        moved = np.uint32(np.uint32(np.uint32(magnitude) << THIRTEEN) + REBIASED)
        large = np.uint32(moved + (ONE_UP if subnormal else ZERO)).view(np.float32)
        wide = np.float32(large - (SMALLEST if subnormal else NOTHING))
        bits[i] = np.uint32(wide.view(np.uint32)) | np.uint32(np.uint32(np.uint16(raw[i] & SIGN_16)) << SIXTEEN)
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
    if code == F16:
        return _to_f16(values, count, address + 2 * begin)
    return _copy(values, count, address + 4 * begin), True


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
    # To a magnitude of exponent e, or -14 where it is below the smallest normal float16, is added 2^(e+13): a float32
    # of that size has its last bit where a float16 of exponent e has its own, so the sum is rounded as that would be.
    # Its bits less those of 2^(e+13) are the mantissa, leading bit included; this bit, like a carry, counts in the
    # exponent. No number on the way is a subnormal float32, which a processor may be set to take for zero. What does
    # not fit comes out as anything, so that is asked of the magnitudes as they were.
    out = u16(address)
    bits = i32(values)
    top = np.int32(0)
    for i in range(count):
        magnitude = np.int32(bits[i] & MAGNITUDE)
        top = max(top, magnitude)
        exponent = max(np.int32(bits[i] & INFINITY), F16_SMALLEST)
        power = np.int32(exponent + THIRTEEN_UP)
        rounded = np.float32(magnitude.view(np.float32) + power.view(np.float32)).view(np.int32)
        mantissa = np.uint32(np.int32(rounded - power))
        scale = np.uint32(np.int32(exponent - F16_SMALLEST)) >> THIRTEEN
        sign = np.uint32(np.uint32(bits[i]) >> SIXTEEN) & np.uint32(SIGN_16)
        out[i] = np.uint16(np.uint32(mantissa + scale) | sign)
    return top < INFINITY, top < F16_END
