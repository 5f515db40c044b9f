"""Integer arithmetic, and what shares its opcodes with floating point."""

from collections.abc import Callable

from logv.ptx._ir import Value
from logv.ptx._lower_float import ROUNDING, check_flush, float_arithmetic, float_minimum, flush
from logv.ptx._lower_packed import PAIRS, packed_add, packed_minimum
from logv.ptx._lowering import Lowering, require_type
from logv.ptx._syntax import Instruction
from logv.ptx._types import SCALAR_TYPES, ScalarType

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


def _set_carry(low: Lowering, flags: set[str], carry: Value) -> None:
    if "cc" in flags:
        guard = low.guard
        low.write(_CARRY, carry if guard is None else low.select(guard, carry, low.read(_CARRY, "i1")))


def _add(low: Lowering, left: Value, right: Value, carry: Value | None) -> tuple[Value, Value]:
    """Return sum and carry."""
    partial = low.int_op("add", left, right)
    first = low.compare("ult", partial, left)
    if carry is None:
        return partial, first
    total = low.int_op("add", partial, low.cast("zext", left.type, carry))
    return total, low.int_op("or", first, low.compare("ult", total, partial))


def _subtract(low: Lowering, left: Value, right: Value, borrow: Value | None) -> tuple[Value, Value]:
    """Return difference and borrow."""
    partial = low.int_op("sub", left, right)
    first = low.compare("ult", left, right)
    if borrow is None:
        return partial, first
    taken = low.cast("zext", left.type, borrow)
    return (
        low.int_op("sub", partial, taken),
        low.int_op("or", first, low.compare("ult", partial, taken)),
    )


def add_sub(low: Lowering, instruction: Instruction) -> None:
    """``add``, ``sub`` and the forms with carry: ``addc``, ``subc`` and ``.cc``."""
    if not PAIRS.isdisjoint(instruction.modifiers):
        packed_add(low, instruction)
        return
    with_carry = instruction.opcode in ("addc", "subc")
    (kind,), flags = low.split(instruction, {"cc"} if with_carry else _FLOAT_FLAGS | {"cc"}, 1)
    target, left, right = low.operands(instruction, 3)
    name = instruction.opcode[:3]
    carries = with_carry or "cc" in flags
    if kind.floating and not carries:
        low.assign(instruction, target, float_arithmetic(low, instruction, kind, flags, [left, right]))
        return
    require_type(instruction, kind, ("" if carries else "u16 s16 ") + "u32 s32 u64 s64 b32 b64")
    if flags - {"cc", "sat"}:
        raise instruction.error("rounding is for floating point")
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    if "sat" in flags:
        require_type(instruction, kind, "s32")
        low.assign(instruction, target, _clamped_add(low, name, a, b))
    elif carries:
        function = _add if name == "add" else _subtract
        result, carry = function(low, a, b, low.read(_CARRY, "i1") if with_carry else None)
        _set_carry(low, flags, carry)
        low.assign(instruction, target, result)
    else:
        low.assign(instruction, target, low.int_op(name, a, b))


def multiply(low: Lowering, instruction: Instruction) -> None:
    """``mul``, ``mad`` and ``madc``."""
    with_carry = instruction.opcode == "madc"
    allowed = {"lo", "hi", "cc"} if with_carry else _FLOAT_FLAGS | {"lo", "hi", "wide", "cc"}
    (kind,), flags = low.split(instruction, allowed, 1)
    accumulate = instruction.opcode != "mul"
    operands = low.operands(instruction, 4 if accumulate else 3)
    half = flags & {"lo", "hi", "wide"}
    carries = with_carry or "cc" in flags
    if kind.floating and not carries:
        if half:
            raise instruction.error(".lo, .hi and .wide are for integers")
        result = float_arithmetic(low, instruction, kind, flags, operands[1:])
        low.assign(instruction, operands[0], result)
        return
    require_type(instruction, kind, ("" if carries else "u16 s16 ") + "u32 s32 u64 s64")
    if len(half) != 1 or flags - half - {"sat", "cc"} or (carries and (not accumulate or "wide" in half)):
        raise instruction.error("exactly one of .lo, .hi and .wide is needed, with a carry .lo or .hi")
    if "sat" in flags and (kind.name != "s32" or "hi" not in half or not accumulate or carries):
        raise instruction.error(".sat is for mad.hi.s32 and floating point")
    a, b = (low.value(instruction, operand, kind) for operand in operands[1:3])
    if "wide" in half:
        if kind.bits == 64:
            raise instruction.error(".wide is for 16 and 32 bits")
        extend = "sext" if kind.signed else "zext"
        wide = f"i{2 * kind.bits}"
        result = low.int_op("mul", low.cast(extend, wide, a), low.cast(extend, wide, b))
        kind = SCALAR_TYPES[f"{kind.kind}{2 * kind.bits}"]
    else:
        result = low.int_op("mul", a, b) if "lo" in half else _multiply_high(low, a, b, kind)
    if accumulate:
        addend = low.value(instruction, operands[3], kind)
        if "sat" in flags:
            result = _clamped_add(low, "add", result, addend)
        elif carries:
            result, carry = _add(low, result, addend, low.read(_CARRY, "i1") if with_carry else None)
            _set_carry(low, flags, carry)
        else:
            result = low.int_op("add", result, addend)
    low.assign(instruction, operands[0], result)


def multiply_24(low: Lowering, instruction: Instruction) -> None:
    """``mul24`` and ``mad24``: of the lower 24 bits, bits 0 to 31 or 16 to 47 of the product."""
    (kind,), flags = low.split(instruction, {"lo", "hi", "sat"}, 1)
    require_type(instruction, kind, "u32 s32")
    accumulate = instruction.opcode == "mad24"
    operands = low.operands(instruction, 4 if accumulate else 3)
    if len(flags & {"lo", "hi"}) != 1:
        raise instruction.error(".lo or .hi is needed")
    if "sat" in flags and (kind.name != "s32" or "hi" not in flags or not accumulate):
        raise instruction.error(".sat is for mad24.hi.s32")
    shift, extend = ("ashr", "sext") if kind.signed else ("lshr", "zext")
    a, b = (
        low.int_op(shift, low.int_op("shl", low.value(instruction, operand, kind), 8), 8)
        for operand in operands[1:3]
    )
    if "hi" in flags:
        product = low.int_op("mul", low.cast(extend, "i64", a), low.cast(extend, "i64", b))
        result = low.cast("trunc", "i32", low.int_op("lshr", product, 16))
    else:
        result = low.int_op("mul", a, b)
    if accumulate:
        addend = low.value(instruction, operands[3], kind)
        clamps = "sat" in flags
        result = _clamped_add(low, "add", result, addend) if clamps else low.int_op("add", result, addend)
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
    if not PAIRS.isdisjoint(instruction.modifiers):
        packed_minimum(low, instruction)
        return
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


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "add": add_sub, "sub": add_sub, "addc": add_sub, "subc": add_sub,
    "mul": multiply, "mad": multiply, "madc": multiply, "mul24": multiply_24, "mad24": multiply_24,
    "rem": remainder, "sad": absolute_difference, "min": minimum, "max": minimum,
    "abs": absolute, "neg": absolute,
}  # fmt: skip
