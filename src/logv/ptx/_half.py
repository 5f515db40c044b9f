"""Half precision: IEEE binary16 (``f16``) and bfloat16 (``bf16``), computed in wider formats.

A register holds the bits. Arithmetic is done in single or double precision such that the result is rounded
once; where that rests on more than the wider format being exact, the reason stands beside it.
"""

from logv.ptx._ir import Value
from logv.ptx._lowering import Lowering
from logv.ptx._rounding import narrow, round_from_nearest, round_to_odd, sum_error
from logv.ptx._types import ScalarType

_NAN = 0x7FFF
_INFINITY = 0x7F800000


def is_bfloat(kind: ScalarType) -> bool:
    """Whether the type is bfloat16, or a pair of them."""
    return kind.name.startswith("bf")


def lanes(low: Lowering, kind: ScalarType, value: Value) -> list[Value]:
    """Return the bits of each number in a value, the lower one first."""
    if kind.bits == 16:
        return [value]
    upper = low.int_op("lshr", value, 16)
    return [low.cast("trunc", "i16", part) for part in (value, upper)]


def joined(low: Lowering, parts: list[Value]) -> Value:
    """Put numbers together again."""
    if len(parts) == 1:
        return parts[0]
    first, second = (low.cast("zext", "i32", part) for part in parts)
    return low.int_op("or", first, low.int_op("shl", second, 16))


def widen(low: Lowering, kind: ScalarType, bits: Value) -> Value:
    """Return a number in single precision; this is exact."""
    if is_bfloat(kind):
        return low.op("bitcast", "float", low.int_op("shl", low.cast("zext", "i32", bits), 16))
    return low.op("fpext", "float", low.op("bitcast", "half", bits))


def shorten(low: Lowering, kind: ScalarType, x: Value, mode: str = "rn") -> Value:
    """Round a single to the bits of a half."""
    nearest = _nearest_bfloat(low, x) if is_bfloat(kind) else low.bits(low.op("fptrunc", "half", x))
    if mode == "rn":
        return nearest
    back = widen(low, kind, nearest)
    above, below = low.compare("ogt", back, x), low.compare("olt", back, x)
    negative = low.compare("olt", x, low.const("float", 0))
    return round_from_nearest(low, nearest, above, below, negative, mode)


def _nearest_bfloat(low: Lowering, x: Value) -> Value:
    bits = low.bits(x)
    odd = low.int_op("and", low.int_op("lshr", bits, 16), 1)
    rounded = low.int_op("add", bits, low.int_op("add", odd, 0x7FFF))
    upper = low.cast("trunc", "i16", low.int_op("lshr", rounded, 16))
    return low.select(low.compare("uno", x, x), low.const("i16", _NAN), upper)


def single_from_double(low: Lowering, x: Value) -> Value:
    """Return a single that rounds to any half as the double itself does."""
    return narrow(low, x, None, "odd")


def single_from_integer(low: Lowering, x: Value, *, signed: bool) -> Value:
    """Return a single that rounds to any half as the integer itself does."""
    kind = "i64"
    wide = low.cast("sext" if signed else "zext", kind, x)
    nearest = low.op("sitofp" if signed else "uitofp", "float", wide)
    back = low.op("fptosi_sat" if signed else "fptoui_sat", kind, nearest)
    sign = "s" if signed else "u"
    # 2**63 and 2**64 do not fit the integer: the nearest number is above it then.
    limit = low.const("float", 0x5F000000 if signed else 0x5F800000)
    above = low.int_op("or", low.compare(f"{sign}gt", back, wide), low.compare("oge", nearest, limit))
    return round_to_odd(low, nearest, above, low.compare(f"{sign}lt", back, wide))


def add(low: Lowering, left: Value, right: Value) -> Value:
    """Add two widened halves.

    A sum that single precision has to round lies off the middles between halves: to reach a middle, the
    smaller addend must be large enough for the whole sum to fit 24 bits.
    """
    return low.op("fadd", "float", left, right)


def multiply(low: Lowering, kind: ScalarType, left: Value, right: Value) -> Value:
    """Multiply two widened halves."""
    if not is_bfloat(kind):
        # 22 bits, and never below 2**-48: exact.
        return low.op("fmul", "float", left, right)
    # As a single, the product of two bfloats can be subnormal and inexact.
    return single_from_double(low, _product(low, left, right))


def multiply_add(low: Lowering, kind: ScalarType, left: Value, right: Value, addend: Value) -> Value:
    """Multiply two widened halves exactly, and add a third."""
    product, other = _product(low, left, right), low.op("fpext", "double", addend)
    total = low.op("fadd", "double", product, other)
    if is_bfloat(kind):
        # Exponents differ by up to 500, so the sum may be rounded to a middle between bfloats.
        error, zero = sum_error(low, product, other, total), low.const("double", 0)
        total = round_to_odd(low, total, low.compare("olt", error, zero), low.compare("ogt", error, zero))
    # Binary16 needs no correction: a sum rounded to 53 bits is off the middles as in `add`, except where
    # the product is above 2**28, and then it overflows.
    return single_from_double(low, total)


def _product(low: Lowering, left: Value, right: Value) -> Value:
    return low.op("fmul", "double", low.op("fpext", "double", left), low.op("fpext", "double", right))


def flush(low: Lowering, kind: ScalarType, x: Value) -> Value:
    """Replace a widened number that is subnormal in its own format by a zero of its sign."""
    smallest = low.const("float", 0x00800000 if is_bfloat(kind) else 0x38800000)  # 2**-126, 2**-14
    subnormal = low.compare("olt", low.op("fabs", "float", x), smallest)
    return low.select(subnormal, low.op("copysign", "float", low.const("float", 0), x), x)
