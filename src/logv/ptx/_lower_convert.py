"""``cvt`` in all its forms, ``cvta`` and ``isspacep``."""

import math
from collections.abc import Callable

from logv.ptx import _half
from logv.ptx._ir import Value
from logv.ptx._lower_float import check_flush, flush, real, saturate_float
from logv.ptx._lowering import Lowering, require_type
from logv.ptx._rounding import narrow, round_from_nearest
from logv.ptx._spaces import WINDOW_BITS, WINDOWS
from logv.ptx._syntax import Instruction
from logv.ptx._types import SCALAR_TYPES, ScalarType

_INTEGER_ROUNDING = {"rni": "roundeven", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}
_FLOAT_ROUNDING = {"rn", "rz", "rm", "rp"}
_U32 = SCALAR_TYPES["u32"]
_SPACES = {"global", "shared", "shared::cta", "local", "const", "param", "param::entry"}


def convert(low: Lowering, instruction: Instruction) -> None:
    """``cvt``."""
    if instruction.modifiers[:1] == ("pack",):
        _pack_integers(low, instruction)
        return
    if "tf32" in instruction.modifiers:
        _to_tensor_float(low, instruction)
        return
    (to, source_kind), flags = low.split(
        instruction, {*_INTEGER_ROUNDING, *_FLOAT_ROUNDING, "ftz", "sat", "relu"}, 2
    )
    if "p" in (to.kind, source_kind.kind):
        raise instruction.error("predicates are not converted")
    if "ftz" in flags:
        check_flush(instruction, to if to.name == "f32" else source_kind, flags)
    if "relu" in flags and (to.kind != "h" or source_kind.name != "f32"):
        raise instruction.error(".relu is for .f32 to half precision")
    rounding = flags & {*_INTEGER_ROUNDING, *_FLOAT_ROUNDING}
    if len(rounding) > 1:
        raise instruction.error("two roundings")
    mode = rounding.pop() if rounding else ""
    if to.kind == "h" and to.bits == 32:
        require_type(instruction, source_kind, "f32")
        target, *sources = low.operands(instruction, 3)
        values = [low.value(instruction, source, source_kind) for source in reversed(sources)]
        halves = SCALAR_TYPES[to.name.removesuffix("x2")]
        parts = [_convert(low, instruction, x, halves, source_kind, flags, mode) for x in values]
        low.assign(instruction, target, _half.joined(low, parts))
        return
    if source_kind.kind == "h" and source_kind.bits == 32:
        raise instruction.error(f".{source_kind.name} is not converted")
    target, source = low.operands(instruction, 2)
    x = low.value(instruction, source, source_kind, wider=True)
    result = _convert(low, instruction, x, to, source_kind, flags, mode)
    # Only integers are extended to wider registers.
    low.assign(instruction, target, result, signed=None if to.kind in ("f", "h") else to.signed)


def _convert(
    low: Lowering,
    instruction: Instruction,
    x: Value,
    to: ScalarType,
    source: ScalarType,
    flags: set[str],
    mode: str,
) -> Value:
    """Convert one number."""
    if source.kind == "h":
        x = _half.widen(low, source, x)
    x = flush(low, x, flags)
    from_float, to_float = source.kind in ("f", "h"), to.kind in ("f", "h")
    if not to_float:
        if from_float:
            if mode not in _INTEGER_ROUNDING:
                raise instruction.error("an integer rounding (.rni .rzi .rmi .rpi) is needed")
            return _float_to_integer(low, x, to, source, mode)
        if mode:
            raise instruction.error("integers are not rounded")
        return _integer_to_integer(low, x, to, source, "sat" in flags)
    if from_float:
        result = _float_to_float(low, instruction, x, to, source, mode)
    else:
        if mode not in _FLOAT_ROUNDING:
            raise instruction.error("a rounding (.rn .rz .rm .rp) is needed")
        result = _integer_to_float(low, x, to, source, mode)
    # Clamping before the rounding to a half comes to the same: the bounds are halves themselves.
    result = saturate_float(low, result) if "sat" in flags else result
    if "relu" in flags:
        result = low.op("maximum", "float", result, real(low, "float", 0.0))
    if to.kind == "h":
        return _half.shorten(low, to, result, mode if mode in _FLOAT_ROUNDING else "rn")
    return flush(low, result, flags)


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


def _float_to_integer(low: Lowering, x: Value, to: ScalarType, source: ScalarType, mode: str) -> Value:
    # The saturating conversion truncates by itself, and makes a NaN 0.
    whole = x if mode == "rzi" else low.op(_INTEGER_ROUNDING[mode], x.type, x)
    result = low.op("fptosi_sat" if to.signed else "fptoui_sat", f"i{to.bits}", whole)
    if max(to.bits, source.bits) < 64:
        return result
    return low.select(low.compare("uno", x, x), low.const(result.type, 1 << (to.bits - 1)), result)


def _float_to_float(
    low: Lowering, instruction: Instruction, x: Value, to: ScalarType, source: ScalarType, mode: str
) -> Value:
    """Convert between precisions; for a half, to a single that rounds to it as the source does."""
    if to.name == source.name:
        if mode in _FLOAT_ROUNDING:
            raise instruction.error("an integer rounding (.rni .rzi .rmi .rpi) is needed, or none")
        return low.op(_INTEGER_ROUNDING[mode], x.type, x) if mode else x
    if to.bits > source.bits:
        if mode:
            raise instruction.error("a widening conversion is not rounded")
        return x if x.type == to.value_type else low.op("fpext", to.value_type, x)
    if mode not in _FLOAT_ROUNDING:
        raise instruction.error("a rounding (.rn .rz .rm .rp) is needed")
    if to.kind == "h":
        return x if x.type == "float" else _half.single_from_double(low, x)
    return narrow(low, x, None, mode)


def _integer_to_float(low: Lowering, x: Value, to: ScalarType, source: ScalarType, mode: str) -> Value:
    if to.kind == "h":
        return _half.single_from_integer(low, x, signed=source.signed)
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


def _to_tensor_float(low: Lowering, instruction: Instruction) -> None:
    """``cvt`` to ``tf32``: a single with 10 bits behind the point; ties go away from zero (``.rna``)."""
    (_, source_kind), flags = low.split(instruction, {"rna", "rn", "rz", "relu"}, 2)
    require_type(instruction, source_kind, "f32")
    modes = flags - {"relu"}
    if instruction.modifiers[-2] != "tf32" or len(modes) != 1:
        raise instruction.error("one rounding, .tf32 and .f32 are needed")
    target, source = low.operands(instruction, 2)
    x = low.value(instruction, source, source_kind)
    if "relu" in flags:
        x = low.op("maximum", "float", x, real(low, "float", 0.0))
    bits = low.bits(x)
    dropped = 13
    mode = modes.pop()
    rounded = bits
    if mode == "rna":
        rounded = low.int_op("add", bits, 1 << dropped - 1)
    elif mode == "rn":
        odd = low.int_op("and", low.int_op("lshr", bits, dropped), 1)
        rounded = low.int_op("add", bits, low.int_op("add", odd, (1 << dropped - 1) - 1))
    kept = low.int_op("and", rounded, -1 << dropped)
    low.assign(instruction, target, low.select(low.compare("uno", x, x), low.const("i32", 0x7FFFFFFF), kept))


def _pack_integers(low: Lowering, instruction: Instruction) -> None:
    """``cvt.pack``: two saturated integers, and for small ones what was packed before above them."""
    count = 3 if "b32" in instruction.modifiers else 2
    (to, source_kind, *rest), flags = low.split(instruction, {"pack", "sat"}, count)
    require_type(instruction, to, "u16 s16 u8 s8")
    if source_kind.name != "s32" or "sat" not in flags or [kind.name for kind in rest] not in ([], ["b32"]):
        raise instruction.error(".sat, the type of the parts and .s32 are needed")
    if (to.bits == 8) != bool(rest):
        raise instruction.error("a third operand of .b32 goes with 8-bit parts")
    target, left, right, *before = low.operands(instruction, 3 + len(rest))
    result = low.const("i32", 0)
    if before:
        result = low.int_op("shl", low.value(instruction, before[0], _U32), 2 * to.bits)
    for place, operand in enumerate((right, left)):
        x = low.value(instruction, operand, source_kind)
        part = low.cast("zext", "i32", _integer_to_integer(low, x, to, source_kind, saturate=True))
        result = low.int_op("or", result, low.int_op("shl", part, place * to.bits))
    low.assign(instruction, target, result)


def convert_address(low: Lowering, instruction: Instruction) -> None:
    """``cvta`` and ``cvta.to``: add the window of a space, or take it away.

    The operation ``cvta`` changes nothing: it tells the analysis what the address means.
    """
    (kind,), flags = low.split(instruction, _SPACES | {"to"}, 1)
    target, source = low.operands(instruction, 2)
    space = _space(instruction, flags - {"to"})
    if kind.name != "u64":
        raise instruction.error(".u64 is needed")
    x = low.value(instruction, source, kind)
    # Constants have generic addresses throughout.
    begin = 0 if space == "const" else WINDOWS.get(space, 0)
    if "to" in flags:
        result = low.int_op("sub", x, begin) if begin else low.op("cvta", "i64", x, attr=space)
    else:
        result = low.op("cvta", "i64", x, attr=space)
        result = low.int_op("add", result, begin) if begin else result
    low.assign(instruction, target, result)


def test_space(low: Lowering, instruction: Instruction) -> None:
    """``isspacep``."""
    _, flags = low.split(instruction, _SPACES, 0)
    target, source = low.operands(instruction, 2)
    space = _space(instruction, flags)
    upper = low.int_op("lshr", low.value(instruction, source, SCALAR_TYPES["u64"]), WINDOW_BITS)
    spaces = WINDOWS if space == "global" else (space,)
    result = low.const("i1", 0)
    for each in spaces:
        inside = low.compare("eq", upper, low.const("i64", WINDOWS[each] >> WINDOW_BITS))
        result = low.int_op("or", result, inside)
    low.assign(instruction, target, low.invert(result) if space == "global" else result)


def _space(instruction: Instruction, flags: set[str]) -> str:
    spaces = {flag.partition("::")[0] for flag in flags}
    if len(spaces) != 1:
        raise instruction.error("one space is needed")
    return spaces.pop()


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "cvt": convert,
    "cvta": convert_address,
    "isspacep": test_space,
}
