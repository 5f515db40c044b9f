"""Directed rounding (``.rz .rm .rp``) on hosts whose arithmetic rounds to nearest."""

from logv.ptx._ir import Value
from logv.ptx._lowering import Lowering


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
    return low.op("bitcast", nearest.type, result)


def directed_sum(low: Lowering, product: Value, addend: Value, mode: str) -> Value:
    """Round the sum of two doubles to single precision in one step.

    The sum of the doubles and its rounding error (Knuth's two-sum) are the exact sum together.
    """
    kind = "double"
    total = low.op("fadd", kind, product, addend)
    part = low.op("fsub", kind, total, product)
    error = low.op(
        "fadd",
        kind,
        low.op("fsub", kind, product, low.op("fsub", kind, total, part)),
        low.op("fsub", kind, addend, part),
    )
    zero = low.const(kind, 0)
    nearest = low.op("fptrunc", "float", total)
    back = low.op("fpext", kind, nearest)
    same = low.compare("oeq", back, total)
    above = low.int_op(
        "or", low.compare("ogt", back, total), low.int_op("and", same, low.compare("olt", error, zero))
    )
    below = low.int_op(
        "or", low.compare("olt", back, total), low.int_op("and", same, low.compare("ogt", error, zero))
    )
    return round_from_nearest(low, nearest, above, below, low.compare("olt", total, zero), mode)
