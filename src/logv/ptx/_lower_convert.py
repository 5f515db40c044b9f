"""``cvt`` in all its forms, and ``cvta``."""

import math
from collections.abc import Callable

from logv.ptx._ir import Value
from logv.ptx._lower_float import real, saturate_float
from logv.ptx._lowering import Lowering
from logv.ptx._rounding import round_from_nearest
from logv.ptx._syntax import Instruction
from logv.ptx._types import ScalarType

_INTEGER_ROUNDING = {"rni": "roundeven", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}
_FLOAT_ROUNDING = {"rn", "rz", "rm", "rp"}


def convert(low: Lowering, instruction: Instruction) -> None:
    """``cvt``."""
    (to, source_kind), flags = low.split(instruction, {*_INTEGER_ROUNDING, *_FLOAT_ROUNDING, "ftz", "sat"}, 2)
    target, source = low.operands(instruction, 2)
    if "p" in (to.kind, source_kind.kind):
        raise instruction.error("predicates are not converted")
    rounding = flags & {*_INTEGER_ROUNDING, *_FLOAT_ROUNDING}
    if len(rounding) > 1:
        raise instruction.error("two roundings")
    mode = rounding.pop() if rounding else ""
    x = low.value(instruction, source, source_kind, wider=True)
    saturate = "sat" in flags
    if source_kind.floating and to.floating:
        result = _float_to_float(low, instruction, x, to, source_kind, mode)
        result = saturate_float(low, result) if saturate else result
    elif source_kind.floating:
        if mode not in _INTEGER_ROUNDING:
            raise instruction.error("an integer rounding (.rni .rzi .rmi .rpi) is needed")
        result = _float_to_integer(low, x, to, mode)
    elif to.floating:
        if mode not in _FLOAT_ROUNDING:
            raise instruction.error("a rounding (.rn .rz .rm .rp) is needed")
        result = _integer_to_float(low, x, to, source_kind, mode)
        result = saturate_float(low, result) if saturate else result
    else:
        if mode:
            raise instruction.error("integers are not rounded")
        result = _integer_to_integer(low, x, to, source_kind, saturate)
    low.assign(instruction, target, result, signed=to.signed)


def _resize(low: Lowering, x: Value, bits: int, signed: bool) -> Value:
    have = int(x.type[1:])
    if bits < have:
        return low.cast("trunc", f"i{bits}", x)
    return low.cast("sext" if signed else "zext", f"i{bits}", x)


def _integer_to_integer(low: Lowering, x: Value, to: ScalarType, source: ScalarType, saturate: bool) -> Value:
    if saturate:
        least = -(1 << (to.bits - 1)) if to.signed else 0
        most = (1 << (to.bits - 1)) - 1 if to.signed else (1 << to.bits) - 1
        floor = -(1 << (source.bits - 1)) if source.signed else 0
        ceiling = (1 << (source.bits - 1)) - 1 if source.signed else (1 << source.bits) - 1
        sign = "s" if source.signed else "u"
        if most < ceiling:
            x = low.int_op(f"{sign}min", x, most)
        if least > floor:
            x = low.int_op(f"{sign}max", x, least)
    return _resize(low, x, to.bits, source.signed)


def _float_to_integer(low: Lowering, x: Value, to: ScalarType, mode: str) -> Value:
    # The saturating conversion truncates by itself.
    whole = x if mode == "rzi" else low.op(_INTEGER_ROUNDING[mode], x.type, x)
    return low.op("fptosi_sat" if to.signed else "fptoui_sat", f"i{to.bits}", whole)


def _float_to_float(
    low: Lowering, instruction: Instruction, x: Value, to: ScalarType, source: ScalarType, mode: str
) -> Value:
    if to.bits == source.bits:
        if mode in _FLOAT_ROUNDING:
            raise instruction.error("an integer rounding (.rni .rzi .rmi .rpi) is needed, or none")
        return low.op(_INTEGER_ROUNDING[mode], x.type, x) if mode else x
    if to.bits > source.bits:
        if mode:
            raise instruction.error("a widening conversion is not rounded")
        return low.op("fpext", "double", x)
    if mode not in _FLOAT_ROUNDING:
        raise instruction.error("a rounding (.rn .rz .rm .rp) is needed")
    nearest = low.op("fptrunc", "float", x)
    back = low.op("fpext", "double", nearest)
    negative = low.compare("olt", x, real(low, "double", 0.0))
    above, below = low.compare("ogt", back, x), low.compare("olt", back, x)
    return round_from_nearest(low, nearest, above, below, negative, mode)


def _integer_to_float(low: Lowering, x: Value, to: ScalarType, source: ScalarType, mode: str) -> Value:
    kind = to.value_type
    nearest = low.op("sitofp" if source.signed else "uitofp", kind, x)
    if mode == "rn":
        return nearest
    wide = _resize(low, x, 64, source.signed)
    # What the nearest number is as an integer; 2**64 (or 2**63) itself is beyond, hence the extra test.
    back = low.op("fptosi_sat" if source.signed else "fptoui_sat", "i64", nearest)
    sign = "s" if source.signed else "u"
    limit = real(low, kind, math.ldexp(1.0, 63 if source.signed else 64))
    above = low.int_op("or", low.compare(f"{sign}gt", back, wide), low.compare("oge", nearest, limit))
    below = low.compare(f"{sign}lt", back, wide)
    negative = low.compare("slt", wide, low.const("i64", 0)) if source.signed else low.const("i1", 0)
    return round_from_nearest(low, nearest, above, below, negative, mode)


def convert_address(low: Lowering, instruction: Instruction) -> None:
    """``cvta`` and ``cvta.to``: the spaces share their numbers, so only the space is noted."""
    (kind,), flags = low.split(
        instruction, {"to", "global", "shared", "local", "const", "param", "shared::cta"}, 1
    )
    target, source = low.operands(instruction, 2)
    spaces = {flag.removesuffix("::cta") for flag in flags - {"to"}}
    if len(spaces) != 1 or kind.name != "u64":
        raise instruction.error("one space and .u64 are needed")
    x = low.value(instruction, source, kind)
    low.assign(instruction, target, low.op("cvta", "i64", x, attr=spaces.pop()))


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {"cvt": convert, "cvta": convert_address}
