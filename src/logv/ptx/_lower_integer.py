"""Integer arithmetic, and what shares its opcodes with floating point."""

from collections.abc import Callable

from logv.ptx._ir import Value
from logv.ptx._lower_float import ROUNDING, check_flush, float_arithmetic, float_minimum, flush
from logv.ptx._lowering import Lowering, require_type
from logv.ptx._syntax import Instruction
from logv.ptx._types import SCALAR_TYPES, ScalarType

_U32 = SCALAR_TYPES["u32"]
_CARRY = "%carry"
_FLOAT_FLAGS = ROUNDING | {"ftz", "sat"}


def _multiply_high(low: Lowering, left: Value, right: Value, kind: ScalarType) -> Value:
    extend, wide = "sext" if kind.signed else "zext", f"i{2 * kind.bits}"
    product = low.int_op("mul", low.cast(extend, wide, left), low.cast(extend, wide, right))
    return low.cast("trunc", left.type, low.int_op("lshr", product, kind.bits))


def _clamped_add(low: Lowering, name: str, left: Value, right: Value) -> Value:
    wide = low.int_op(name, low.cast("sext", "i64", left), low.cast("sext", "i64", right))
    bounded = low.int_op("smin", low.int_op("smax", wide, -(1 << 31)), (1 << 31) - 1)
    return low.cast("trunc", "i32", bounded)


def add_sub(low: Lowering, instruction: Instruction) -> None:
    """``add``, ``sub`` and their carry forms."""
    (kind,), flags = low.split(instruction, _FLOAT_FLAGS | {"cc"}, 1)
    target, left, right = low.operands(instruction, 3)
    name = instruction.opcode
    if kind.floating:
        if "cc" in flags:
            raise instruction.error("carries are for integers")
        low.assign(instruction, target, float_arithmetic(low, instruction, kind, flags, [left, right]))
        return
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    require_type(instruction, kind, "u16 s16 u32 s32 u64 s64 b32 b64")
    if flags - {"cc", "sat"}:
        raise instruction.error("rounding is for floating point")
    if "sat" in flags:
        require_type(instruction, kind, "s32")
        low.assign(instruction, target, _clamped_add(low, name, a, b))
        return
    result = low.int_op(name, a, b)
    if "cc" in flags:
        low.write(_CARRY, low.compare("ult", result if name == "add" else a, a if name == "add" else b))
    low.assign(instruction, target, result)


def add_sub_carry(low: Lowering, instruction: Instruction) -> None:
    """``addc`` and ``subc``."""
    (kind,), flags = low.split(instruction, {"cc"}, 1)
    require_type(instruction, kind, "u32 s32 u64 s64 b32 b64")
    target, left, right = low.operands(instruction, 3)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    name = instruction.opcode[:3]
    carry = low.cast("zext", a.type, low.read(_CARRY, "i1"))
    partial = low.int_op(name, a, b)
    result = low.int_op(name, partial, carry)
    if "cc" in flags:
        first = low.compare("ult", partial, a) if name == "add" else low.compare("ult", a, b)
        second = low.compare("ult", result, partial) if name == "add" else low.compare("ult", partial, carry)
        low.write(_CARRY, low.int_op("or", first, second))
    low.assign(instruction, target, result)


def multiply(low: Lowering, instruction: Instruction) -> None:
    """``mul`` and ``mad``."""
    (kind,), flags = low.split(instruction, _FLOAT_FLAGS | {"lo", "hi", "wide"}, 1)
    accumulate = instruction.opcode == "mad"
    operands = low.operands(instruction, 4 if accumulate else 3)
    if kind.floating:
        if flags & {"lo", "hi", "wide"}:
            raise instruction.error(".lo, .hi and .wide are for integers")
        result = float_arithmetic(low, instruction, kind, flags, operands[1:])
        low.assign(instruction, operands[0], result)
        return
    a, b = (low.value(instruction, operand, kind) for operand in operands[1:3])
    require_type(instruction, kind, "u16 s16 u32 s32 u64 s64")
    half = flags & {"lo", "hi", "wide"}
    if len(half) != 1 or flags - half - {"sat"}:
        raise instruction.error("exactly one of .lo, .hi and .wide is needed")
    signed = kind.signed
    if "wide" in half:
        if kind.bits == 64:
            raise instruction.error(".wide is for 16 and 32 bits")
        extend = "sext" if signed else "zext"
        wide = f"i{2 * kind.bits}"
        result = low.int_op("mul", low.cast(extend, wide, a), low.cast(extend, wide, b))
        kind = SCALAR_TYPES[f"{kind.kind}{2 * kind.bits}"]
    else:
        result = low.int_op("mul", a, b) if "lo" in half else _multiply_high(low, a, b, kind)
    if accumulate:
        addend = low.value(instruction, operands[3], kind)
        if "sat" in flags:
            if kind.name != "s32" or "hi" not in half:
                raise instruction.error(".sat is for mad.hi.s32")
            result = _clamped_add(low, "add", result, addend)
        else:
            result = low.int_op("add", result, addend)
    elif "sat" in flags:
        raise instruction.error(".sat is for floating point")
    low.assign(instruction, operands[0], result)


def multiply_24(low: Lowering, instruction: Instruction) -> None:
    """``mul24.lo`` and ``mad24.lo``."""
    (kind,), _ = low.split(instruction, {"lo"}, 1)
    require_type(instruction, kind, "u32 s32")
    accumulate = instruction.opcode == "mad24"
    operands = low.operands(instruction, 4 if accumulate else 3)
    shift = "ashr" if kind.signed else "lshr"
    a, b = (
        low.int_op(shift, low.int_op("shl", low.value(instruction, operand, kind), 8), 8)
        for operand in operands[1:3]
    )
    result = low.int_op("mul", a, b)
    if accumulate:
        result = low.int_op("add", result, low.value(instruction, operands[3], kind))
    low.assign(instruction, operands[0], result)


def divide(low: Lowering, instruction: Instruction, kind: ScalarType) -> None:
    """Integer ``div`` and ``rem``. By zero: all ones and the dividend, as the hardware does."""
    require_type(instruction, kind, "u16 s16 u32 s32 u64 s64")
    target, left, right = low.operands(instruction, 3)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    name = ("s" if kind.signed else "u") + instruction.opcode
    zero = low.compare("eq", b, low.const(b.type, 0))
    unsafe = zero
    if kind.signed:
        overflow = low.int_op(
            "and",
            low.compare("eq", b, low.const(b.type, -1)),
            low.compare("eq", a, low.const(a.type, 1 << (kind.bits - 1))),
        )
        unsafe = low.int_op("or", zero, overflow)
    constant = b.op == "const" and b.attr not in (0, (1 << kind.bits) - 1)
    divisor = b if constant else low.select(unsafe, low.const(b.type, 1), b)
    result = low.int_op(name, a, divisor)
    if not constant:
        result = low.select(zero, low.const(a.type, -1) if instruction.opcode == "div" else a, result)
    low.assign(instruction, target, result)


def remainder(low: Lowering, instruction: Instruction) -> None:
    """``rem``."""
    (kind,), _ = low.split(instruction, set(), 1)
    divide(low, instruction, kind)


def absolute_difference(low: Lowering, instruction: Instruction) -> None:
    """``sad``: c + abs(a - b)."""
    (kind,), _ = low.split(instruction, set(), 1)
    require_type(instruction, kind, "u16 s16 u32 s32 u64 s64")
    target, *rest = low.operands(instruction, 4)
    a, b, c = (low.value(instruction, operand, kind) for operand in rest)
    sign = "s" if kind.signed else "u"
    difference = low.int_op("sub", low.int_op(f"{sign}max", a, b), low.int_op(f"{sign}min", a, b))
    low.assign(instruction, target, low.int_op("add", c, difference))


def minimum(low: Lowering, instruction: Instruction) -> None:
    """``min`` and ``max``."""
    (kind,), flags = low.split(instruction, {"ftz", "NaN", "xorsign", "abs", "relu"}, 1)
    target, left, right = low.operands(instruction, 3)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    if kind.floating:
        check_flush(instruction, kind, flags)
        a, b = flush(low, a, flags), flush(low, b, flags)
        if flags & {"NaN", "xorsign", "abs"} and kind.bits != 32:
            raise instruction.error(f".{kind.name} has no such form")
        result = float_minimum(low, instruction, flags, a, b)
    else:
        require_type(instruction, kind, "u16 s16 u32 s32 u64 s64")
        result = low.int_op(("s" if kind.signed else "u") + instruction.opcode, a, b)
        if "relu" in flags:
            require_type(instruction, kind, "s32")
            result = low.int_op("smax", result, 0)
        if flags - {"relu"}:
            raise instruction.error(f".{kind.name} has no such form")
    low.assign(instruction, target, result)


def absolute(low: Lowering, instruction: Instruction) -> None:
    """``abs`` and ``neg``."""
    (kind,), flags = low.split(instruction, {"ftz"}, 1)
    target, source = low.operands(instruction, 2)
    check_flush(instruction, kind, flags)
    a = flush(low, low.value(instruction, source, kind), flags)
    negate = instruction.opcode == "neg"
    if kind.floating:
        result = low.op("fneg" if negate else "fabs", a.type, a)
    else:
        require_type(instruction, kind, "s16 s32 s64")
        result = low.int_op("sub", low.const(a.type, 0), a) if negate else low.op("abs", a.type, a)
    low.assign(instruction, target, result)


def dot_product(low: Lowering, instruction: Instruction) -> None:
    """``dp4a``: four products of bytes, added to c."""
    (kind_a, kind_b), _ = low.split(instruction, set(), 2)
    require_type(instruction, kind_a, "u32 s32")
    require_type(instruction, kind_b, "u32 s32")
    target, *rest = low.operands(instruction, 4)
    a, b, result = (low.value(instruction, operand, _U32) for operand in rest)
    for byte in range(4):
        factors = [
            low.int_op("ashr" if kind.signed else "lshr", low.int_op("shl", value, 24 - 8 * byte), 24)
            for value, kind in ((a, kind_a), (b, kind_b))
        ]
        result = low.int_op("add", result, low.int_op("mul", factors[0], factors[1]))
    low.assign(instruction, target, result)


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "add": add_sub, "sub": add_sub, "addc": add_sub_carry, "subc": add_sub_carry,
    "mul": multiply, "mad": multiply, "mul24": multiply_24, "mad24": multiply_24, "rem": remainder,
    "sad": absolute_difference, "min": minimum, "max": minimum, "abs": absolute, "neg": absolute,
    "dp4a": dot_product,
}  # fmt: skip
