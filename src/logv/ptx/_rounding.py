"""Directed rounding (``.rz .rm .rp``) on hosts whose arithmetic rounds to nearest.

Each function works out the nearest number and on which side of the exact result it lies, and steps to the
neighbour that the rounding asks for. Rounding down is rounding up of the negated operands, negated: this
also gives an exact difference of zero the sign that IEEE 754 asks for.
"""

from logv.ptx._ir import Value
from logv.ptx._lowering import Lowering

_ONE = 0x3FF << 52
_SIGN = 1 << 63
_MANTISSA = (1 << 52) - 1
_SMALLEST_NORMAL = 1 << 52
_TWO_64 = (0x3FF + 64) << 52
# Two numbers with this distance of their exponents are far apart, whatever their 106 bits are.
_FAR = 200


def round_from_nearest(
    low: Lowering, nearest: Value, above: Value, below: Value, negative: Value, mode: str
) -> Value:
    """Step from the nearest number to the neighbour that a directed rounding asks for.

    `above` and `below` say whether the nearest number exceeds or undercuts the exact one.
    """
    if mode == "rn":
        return nearest
    bits = low.bits(nearest)
    kind = bits.type
    sign_bit = 1 << (int(kind[1:]) - 1)
    zero = low.compare("eq", low.int_op("and", bits, sign_bit - 1), low.const(kind, 0))
    minus = low.compare("slt", bits, low.const(kind, 0))
    one, back = low.const(kind, 1), low.const(kind, -1)
    # Bits of a positive number grow with it, those of a negative number shrink.
    down = low.int_op("add", bits, low.select(minus, one, back))
    up = low.int_op("add", bits, low.select(minus, back, one))
    down = low.select(zero, low.const(kind, sign_bit | 1), down)
    up = low.select(zero, one, up)
    if mode == "rm":
        result = low.select(above, down, bits)
    elif mode == "rp":
        result = low.select(below, up, bits)
    else:
        result = low.select(negative, low.select(below, up, bits), low.select(above, down, bits))
    return result if nearest.type == kind else low.op("bitcast", nearest.type, result)


def round_to_odd(low: Lowering, nearest: Value, above: Value, below: Value) -> Value:
    """Step from the nearest number to the neighbour of the exact one whose last bit is set.

    Rounding the result to a format with at least two bits less gives what rounding the exact number
    itself would have given, in every mode, because the last bit keeps it off that format's numbers and
    off the middles between them.
    """
    bits = low.bits(nearest)
    kind = bits.type
    even = low.compare("eq", low.int_op("and", bits, 1), low.const(kind, 0))
    inexact = low.int_op("or", above, below)
    minus = low.compare("slt", bits, low.const(kind, 0))
    inward = low.int_op("xor", above, minus)
    step = low.select(inward, low.const(kind, -1), low.const(kind, 1))
    moved = low.select(low.int_op("and", even, inexact), low.int_op("add", bits, step), bits)
    return low.op("bitcast", nearest.type, moved)


def sum_error(low: Lowering, left: Value, right: Value, total: Value) -> Value:
    """Return what rounding left off a sum (Knuth's two-sum): `total` and the result are exact together."""
    kind = total.type
    part = low.op("fsub", kind, total, left)
    rest = low.op("fsub", kind, left, low.op("fsub", kind, total, part))
    return low.op("fadd", kind, rest, low.op("fsub", kind, right, part))


def narrow(low: Lowering, total: Value, error: Value | None, mode: str) -> Value:
    """Round the exact sum of a double and its (much smaller) error to single precision.

    `mode` is a rounding, or ``odd``.
    """
    zero = low.const("double", 0)
    nearest = low.op("fptrunc", "float", total)
    if mode == "rn" and error is None:
        return nearest
    back = low.op("fpext", "double", nearest)
    above, below = low.compare("ogt", back, total), low.compare("olt", back, total)
    if error is not None:
        same = low.compare("oeq", back, total)
        above = low.int_op("or", above, low.int_op("and", same, low.compare("olt", error, zero)))
        below = low.int_op("or", below, low.int_op("and", same, low.compare("ogt", error, zero)))
    if mode == "odd":
        return round_to_odd(low, nearest, above, below)
    return round_from_nearest(low, nearest, above, below, low.compare("olt", total, zero), mode)


def _negated(low: Lowering, value: Value) -> Value:
    return low.op("fneg", value.type, value)


def directed_sum(low: Lowering, left: Value, right: Value, mode: str) -> Value:
    """Add two numbers of one precision."""
    if mode == "rm":
        return _negated(low, directed_sum(low, _negated(low, left), _negated(low, right), "rp"))
    if left.type == "float":
        return _single_sum(low, low.op("fpext", "double", left), low.op("fpext", "double", right), mode)
    total = low.op("fadd", "double", left, right)
    error = sum_error(low, left, right, total)
    zero, infinity = low.const("double", 0), low.const("double", 0x7FF << 52)
    magnitude = low.op("fabs", "double", total)
    # A sum of finite numbers that overflows has no error that could be worked out.
    finite = low.int_op(
        "and", *(low.compare("olt", low.op("fabs", "double", x), infinity) for x in (left, right))
    )
    overflow = low.int_op("and", finite, low.compare("oeq", magnitude, infinity))
    negative = low.compare("olt", total, zero)
    above = low.int_op(
        "or", low.compare("olt", error, zero), low.int_op("and", overflow, low.invert(negative))
    )
    below = low.int_op("or", low.compare("ogt", error, zero), low.int_op("and", overflow, negative))
    return round_from_nearest(low, total, above, below, negative, mode)


def _single_sum(low: Lowering, left: Value, right: Value, mode: str) -> Value:
    """Round the sum of two doubles to single precision."""
    total = low.op("fadd", "double", left, right)
    return narrow(low, total, sum_error(low, left, right, total), mode)


def directed_product(low: Lowering, left: Value, right: Value, addend: Value | None, mode: str) -> Value:
    """Multiply, and add if there is an addend."""
    if mode == "rm":
        minus = None if addend is None else _negated(low, addend)
        return _negated(low, directed_product(low, _negated(low, left), right, minus, "rp"))
    if left.type == "float":
        # The product of two singles is exact in double precision.
        product = low.op("fmul", "double", low.op("fpext", "double", left), low.op("fpext", "double", right))
        if addend is None:
            return narrow(low, product, None, mode)
        return _single_sum(low, product, low.op("fpext", "double", addend), mode)
    plain = low.op("fmul", "double", left, right)
    ordinary = _ordinary(low, left, right)
    if addend is not None:
        plain = low.op("fma", "double", left, right, addend)
        ordinary = low.int_op("and", ordinary, _finite(low, addend))
    (a, a_power), (b, b_power) = _normalized(low, left), _normalized(low, right)
    power = low.int_op("add", a_power, b_power)
    product = low.op("fmul", "double", a, b)
    error = low.op("fma", "double", a, b, _negated(low, product))
    if addend is None:
        result = _scaled(low, _corrected(low, product, error, mode), power, mode)
    else:
        result = _product_and_addend(low, product, error, addend, power, mode)
    return low.select(ordinary, result, plain)


def _product_and_addend(
    low: Lowering, product: Value, error: Value, addend: Value, power: Value, mode: str
) -> Value:
    """Add to an exact product in two parts, times 2**power, and round (after Boldo and Muller).

    The smaller of two addends that are far apart decides on which side the sum lies, and nothing else: it
    is brought near.
    """
    kind = "double"
    c, c_power = _normalized(low, addend)
    base = low.int_op("smax", power, low.int_op("sub", c_power, _FAR))
    distance = low.int_op("smax", low.int_op("sub", c_power, base), -_FAR)
    c = low.op("fmul", kind, c, _power_of_two(low, distance))
    # The exact sum is high + gamma + rest.
    small = low.op("fadd", kind, c, error)
    rest = sum_error(low, c, error, small)
    high = low.op("fadd", kind, product, small)
    gamma = sum_error(low, product, small, high)
    tail = low.op("fadd", kind, gamma, rest)
    total = low.op("fadd", kind, high, tail)
    left_over = sum_error(low, high, tail, total)
    tail_error = sum_error(low, gamma, rest, tail)
    rounded = _corrected(low, total, low.op("fadd", kind, left_over, tail_error), mode)
    return _scaled(low, rounded, base, mode)


def directed_quotient(low: Lowering, left: Value, right: Value, mode: str) -> Value:
    """Divide."""
    if mode == "rn":
        return low.op("fdiv", left.type, left, right)
    if mode == "rm":
        return _negated(low, directed_quotient(low, _negated(low, left), right, "rp"))
    plain = low.op("fdiv", left.type, left, right)
    if left.type == "float":
        # In double precision neither over- nor underflows, so the remainder's sign is exact.
        a, b = low.op("fpext", "double", left), low.op("fpext", "double", right)
        return _settled(low, plain, _remainder(low, a, b, low.op("fpext", "double", plain)), b, mode)
    (a, a_power), (b, b_power) = _normalized(low, left), _normalized(low, right)
    quotient = low.op("fdiv", "double", a, b)
    result = _settled(low, quotient, _remainder(low, a, b, quotient), b, mode)
    scaled = _scaled(low, result, low.int_op("sub", a_power, b_power), mode)
    return low.select(_ordinary(low, left, right), scaled, plain)


def directed_root(low: Lowering, x: Value, mode: str) -> Value:
    """Take the square root."""
    if mode == "rn":
        return low.op("sqrt", x.type, x)
    plain = low.op("sqrt", x.type, x)
    if x.type == "float":
        root = low.op("fpext", "double", plain)
        return _settled(low, plain, _remainder(low, low.op("fpext", "double", x), root, root), root, mode)
    m, power = _normalized(low, x)
    odd = low.int_op("and", power, 1)
    m = low.op("fmul", "double", m, _power_of_two(low, odd))
    half = low.int_op("ashr", low.int_op("sub", power, odd), 1)
    root = low.op("sqrt", "double", m)
    result = _settled(low, root, _remainder(low, m, root, root), root, mode)
    positive = low.compare("ogt", x, low.const("double", 0))
    return low.select(low.int_op("and", positive, _finite(low, x)), _scaled(low, result, half, mode), plain)


def _remainder(low: Lowering, a: Value, b: Value, quotient: Value) -> Value:
    """Return a - quotient * b; rounded, but never to another sign."""
    return low.op("fma", "double", _negated(low, quotient), b, a)


def _settled(low: Lowering, quotient: Value, remainder: Value, divisor: Value, mode: str) -> Value:
    """Round a nearest quotient: the remainder and the divisor tell where the exact one lies."""
    zero = low.const("double", 0)
    minus = low.compare("olt", divisor, zero)
    less, more = low.compare("olt", remainder, zero), low.compare("ogt", remainder, zero)
    above, below = low.select(minus, more, less), low.select(minus, less, more)
    bits = low.bits(quotient)
    negative = low.compare("slt", bits, low.const(bits.type, 0))
    return round_from_nearest(low, quotient, above, below, negative, mode)


def _corrected(low: Lowering, total: Value, error: Value, mode: str) -> Value:
    zero = low.const("double", 0)
    above, below = low.compare("olt", error, zero), low.compare("ogt", error, zero)
    return round_from_nearest(low, total, above, below, low.compare("olt", total, zero), mode)


def _finite(low: Lowering, x: Value) -> Value:
    return low.compare("olt", low.op("fabs", "double", x), low.const("double", 0x7FF << 52))


def _ordinary(low: Lowering, left: Value, right: Value) -> Value:
    """Whether both numbers are finite and not zero."""
    zero = low.const("double", 0)
    found = low.int_op("and", _finite(low, left), _finite(low, right))
    for x in (left, right):
        found = low.int_op("and", found, low.compare("one", x, zero))
    return found


def _normalized(low: Lowering, x: Value) -> tuple[Value, Value]:
    """Split a double into a number in [1, 2) with its sign, and a power of two; a zero stays one."""
    kind = "double"
    magnitude = low.op("fabs", kind, x)
    tiny = low.compare("olt", magnitude, low.const(kind, _SMALLEST_NORMAL))
    scaled = low.select(tiny, low.op("fmul", kind, x, low.const(kind, _TWO_64)), x)
    bits = low.bits(scaled)
    exponent = low.int_op("and", low.int_op("lshr", bits, 52), 0x7FF)
    bias = low.select(tiny, low.const("i64", 0x3FF + 64), low.const("i64", 0x3FF))
    number = low.int_op("or", low.int_op("and", bits, _SIGN | _MANTISSA), _ONE)
    zero = low.compare("oeq", x, low.const(kind, 0))
    return low.select(zero, x, low.op("bitcast", kind, number)), low.int_op("sub", exponent, bias)


def _power_of_two(low: Lowering, power: Value) -> Value:
    """Return 2**power for -1022 <= power <= 1023."""
    return low.op("bitcast", "double", low.int_op("shl", low.int_op("add", power, 0x3FF), 52))


def _scaled(low: Lowering, x: Value, power: Value, mode: str) -> Value:
    """Multiply by a power of two, rounding where the result is subnormal or overflows.

    Directed rounding twice is the same as once, so it does not matter that `x` is rounded already.
    """
    kind = "double"
    # Beyond these bounds everything over- or underflows: 2**-106 <= |x| < 2**202. The first step is exact.
    bounded = low.int_op("smin", low.int_op("smax", power, -1400), 1400)
    first = low.int_op("ashr", bounded, 1)
    second = low.int_op("sub", bounded, first)
    partly = low.op("fmul", kind, x, _power_of_two(low, first))
    result = low.op("fmul", kind, partly, _power_of_two(low, second))
    back = low.op("fmul", kind, result, _power_of_two(low, low.int_op("sub", low.const("i64", 0), second)))
    above, below = low.compare("ogt", back, partly), low.compare("olt", back, partly)
    return round_from_nearest(low, result, above, below, low.compare("olt", x, low.const(kind, 0)), mode)
