"""Integer, logic, shift, comparison and selection instructions."""

from collections.abc import Callable

from logv.ptx._ir import Value
from logv.ptx._lower_float import ROUNDING, float_arithmetic
from logv.ptx._lowering import Lowering
from logv.ptx._syntax import Group, Instruction, Register
from logv.ptx._types import SCALAR_TYPES, ScalarType

_U32 = SCALAR_TYPES["u32"]
_CARRY = "%carry"
_FLOAT_FLAGS = ROUNDING | {"ftz", "sat"}


def _require(instruction: Instruction, kind: ScalarType, allowed: str) -> None:
    if kind.name not in allowed.split():
        raise instruction.error(f".{kind.name} is not a type of {instruction.opcode}")


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
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    if kind.floating:
        if "cc" in flags:
            raise instruction.error("carries are for integers")
        low.assign(instruction, target, float_arithmetic(low, instruction, flags, a, b))
        return
    _require(instruction, kind, "u16 s16 u32 s32 u64 s64 b32 b64")
    if flags - {"cc", "sat"}:
        raise instruction.error("rounding is for floating point")
    if "sat" in flags:
        _require(instruction, kind, "s32")
        low.assign(instruction, target, _clamped_add(low, name, a, b))
        return
    result = low.int_op(name, a, b)
    if "cc" in flags:
        low.write(_CARRY, low.compare("ult", result if name == "add" else a, a if name == "add" else b))
    low.assign(instruction, target, result)


def add_sub_carry(low: Lowering, instruction: Instruction) -> None:
    """``addc`` and ``subc``."""
    (kind,), flags = low.split(instruction, {"cc"}, 1)
    _require(instruction, kind, "u32 s32 u64 s64 b32 b64")
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
    a, b = (low.value(instruction, operand, kind) for operand in operands[1:3])
    if kind.floating:
        if flags & {"lo", "hi", "wide"}:
            raise instruction.error(".lo, .hi and .wide are for integers")
        c = low.value(instruction, operands[3], kind) if accumulate else None
        low.assign(instruction, operands[0], float_arithmetic(low, instruction, flags, a, b, c))
        return
    _require(instruction, kind, "u16 s16 u32 s32 u64 s64")
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
    _require(instruction, kind, "u32 s32")
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
    _require(instruction, kind, "u16 s16 u32 s32 u64 s64")
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
    _require(instruction, kind, "u16 s16 u32 s32 u64 s64")
    target, *rest = low.operands(instruction, 4)
    a, b, c = (low.value(instruction, operand, kind) for operand in rest)
    sign = "s" if kind.signed else "u"
    difference = low.int_op("sub", low.int_op(f"{sign}max", a, b), low.int_op(f"{sign}min", a, b))
    low.assign(instruction, target, low.int_op("add", c, difference))


def minimum(low: Lowering, instruction: Instruction) -> None:
    """``min`` and ``max``."""
    (kind,), flags = low.split(instruction, {"ftz", "NaN"}, 1)
    target, left, right = low.operands(instruction, 3)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    if kind.floating:
        name = {"min": "minimum", "max": "maximum"}[instruction.opcode]
        result = low.op(name if "NaN" in flags else name + "num", a.type, a, b)
    else:
        _require(instruction, kind, "u16 s16 u32 s32 u64 s64")
        result = low.int_op(("s" if kind.signed else "u") + instruction.opcode, a, b)
    low.assign(instruction, target, result)


def absolute(low: Lowering, instruction: Instruction) -> None:
    """``abs`` and ``neg``."""
    (kind,), _ = low.split(instruction, {"ftz"}, 1)
    target, source = low.operands(instruction, 2)
    a = low.value(instruction, source, kind)
    negate = instruction.opcode == "neg"
    if kind.floating:
        result = low.op("fneg" if negate else "fabs", a.type, a)
    else:
        _require(instruction, kind, "s16 s32 s64")
        result = low.int_op("sub", low.const(a.type, 0), a) if negate else low.op("abs", a.type, a)
    low.assign(instruction, target, result)


def logic(low: Lowering, instruction: Instruction) -> None:
    """``and``, ``or`` and ``xor``."""
    (kind,), _ = low.split(instruction, set(), 1)
    _require(instruction, kind, "pred b16 b32 b64")
    target, left, right = low.operands(instruction, 3)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    low.assign(instruction, target, low.int_op(instruction.opcode, a, b))


def complement(low: Lowering, instruction: Instruction) -> None:
    """``not`` and ``cnot``."""
    (kind,), _ = low.split(instruction, set(), 1)
    _require(instruction, kind, "pred b16 b32 b64" if instruction.opcode == "not" else "b16 b32 b64")
    target, source = low.operands(instruction, 2)
    a = low.value(instruction, source, kind)
    if instruction.opcode == "not":
        result = low.invert(a)
    else:
        result = low.cast("zext", a.type, low.compare("eq", a, low.const(a.type, 0)))
    low.assign(instruction, target, result)


def shift(low: Lowering, instruction: Instruction) -> None:
    """``shl`` and ``shr``; amounts beyond the width are clamped to it."""
    (kind,), _ = low.split(instruction, set(), 1)
    _require(
        instruction,
        kind,
        "b16 b32 b64" if instruction.opcode == "shl" else "b16 b32 b64 u16 u32 u64 s16 s32 s64",
    )
    target, source, amount = low.operands(instruction, 3)
    a = low.value(instruction, source, kind)
    n = low.value(instruction, amount, _U32)
    name = "shl" if instruction.opcode == "shl" else "ashr" if kind.signed else "lshr"
    low.assign(instruction, target, clamped_shift(low, name, a, n, kind.bits))


def clamped_shift(low: Lowering, name: str, value: Value, amount: Value, width: int) -> Value:
    """Shift by an i32 amount of any size: beyond the width, everything is shifted out."""
    if amount.op == "const" and isinstance(amount.attr, int):
        if amount.attr >= width and name != "ashr":
            return low.const(value.type, 0)
        return low.int_op(name, value, min(amount.attr, width - 1))
    bounded = low.int_op("umin", amount, width - 1)
    shifted = low.int_op(name, value, low.cast("zext" if width == 64 else "trunc", value.type, bounded))
    if name == "ashr":
        return shifted
    return low.select(low.compare("ult", amount, low.const("i32", width)), shifted, low.const(value.type, 0))


def funnel_shift(low: Lowering, instruction: Instruction) -> None:
    """``shf``."""
    (kind,), flags = low.split(instruction, {"l", "r", "wrap", "clamp"}, 1)
    _require(instruction, kind, "b32")
    if len(flags) != 2:
        raise instruction.error(".l or .r and .wrap or .clamp are needed")
    target, *rest = low.operands(instruction, 4)
    a, b, c = (low.value(instruction, operand, _U32) for operand in rest)
    pair = low.int_op("or", low.int_op("shl", low.cast("zext", "i64", b), 32), low.cast("zext", "i64", a))
    amount = low.int_op("and", c, 31) if "wrap" in flags else low.int_op("umin", c, 32)
    wide = low.cast("zext", "i64", amount)
    if "l" in flags:
        result = low.int_op("lshr", low.int_op("shl", pair, wide), 32)
    else:
        result = low.int_op("lshr", pair, wide)
    low.assign(instruction, target, low.cast("trunc", "i32", result))


def count_bits(low: Lowering, instruction: Instruction) -> None:
    """``popc``, ``clz`` and ``brev``."""
    (kind,), _ = low.split(instruction, set(), 1)
    _require(instruction, kind, "b32 b64")
    target, source = low.operands(instruction, 2)
    a = low.value(instruction, source, kind)
    name = {"popc": "ctpop", "clz": "ctlz", "brev": "bitreverse"}[instruction.opcode]
    result = low.op(name, a.type, a)
    low.assign(instruction, target, result if name == "bitreverse" else low.cast("trunc", "i32", result))


def find_leading(low: Lowering, instruction: Instruction) -> None:
    """``bfind``: position of the highest bit that is not a sign bit, or all ones."""
    (kind,), flags = low.split(instruction, {"shiftamt"}, 1)
    _require(instruction, kind, "u32 s32 u64 s64")
    target, source = low.operands(instruction, 2)
    a = low.value(instruction, source, kind)
    if kind.signed:
        a = low.int_op("xor", a, low.int_op("ashr", a, kind.bits - 1))
    zeros = low.cast("trunc", "i32", low.op("ctlz", a.type, a))
    result = zeros if "shiftamt" in flags else low.int_op("sub", low.const("i32", kind.bits - 1), zeros)
    none = low.compare("eq", a, low.const(a.type, 0))
    low.assign(instruction, target, low.select(none, low.const("i32", -1), result))


def extract_field(low: Lowering, instruction: Instruction) -> None:
    """``bfe``."""
    (kind,), _ = low.split(instruction, set(), 1)
    _require(instruction, kind, "u32 s32 u64 s64")
    target, source, position, length = low.operands(instruction, 4)
    a = low.value(instruction, source, kind)
    begin = low.int_op("and", low.value(instruction, position, _U32), 255)
    count = low.int_op("and", low.value(instruction, length, _U32), 255)
    # Move the field to the top, so that what lies beyond it falls off, then down with its sign.
    width = kind.bits
    end = low.int_op("umin", low.int_op("add", begin, count), width)
    inside = low.int_op("umin", begin, width)
    have = low.int_op("sub", end, inside)
    down = clamped_shift(low, "ashr" if kind.signed else "lshr", a, begin, width)
    if kind.signed:
        # The sign is bit min(begin + count - 1, width - 1) even where the field lies beyond the word.
        gap = low.int_op("sub", low.const("i32", width), have)
        raised = clamped_shift(low, "shl", down, gap, width)
        result = clamped_shift(low, "ashr", raised, gap, width)
        beyond = low.compare("eq", have, low.const("i32", 0))
        result = low.select(beyond, low.int_op("ashr", a, width - 1), result)
    else:
        gap = low.int_op("sub", low.const("i32", width), have)
        result = clamped_shift(low, "lshr", clamped_shift(low, "shl", down, gap, width), gap, width)
    nothing = low.compare("eq", count, low.const("i32", 0))
    low.assign(instruction, target, low.select(nothing, low.const(a.type, 0), result))


def insert_field(low: Lowering, instruction: Instruction) -> None:
    """``bfi``."""
    (kind,), _ = low.split(instruction, set(), 1)
    _require(instruction, kind, "b32 b64")
    target, source, base, position, length = low.operands(instruction, 5)
    a, b = low.value(instruction, source, kind), low.value(instruction, base, kind)
    begin = low.int_op("and", low.value(instruction, position, _U32), 255)
    count = low.int_op("and", low.value(instruction, length, _U32), 255)
    ones = low.const(a.type, -1)
    low_mask = low.invert(clamped_shift(low, "shl", ones, count, kind.bits))
    mask = clamped_shift(low, "shl", low_mask, begin, kind.bits)
    field = low.int_op("and", clamped_shift(low, "shl", a, begin, kind.bits), mask)
    low.assign(instruction, target, low.int_op("or", field, low.int_op("and", b, low.invert(mask))))


def permute(low: Lowering, instruction: Instruction) -> None:
    """``prmt`` in its default mode."""
    (kind,), _ = low.split(instruction, set(), 1)
    _require(instruction, kind, "b32")
    target, *rest = low.operands(instruction, 4)
    a, b, selector = (low.value(instruction, operand, _U32) for operand in rest)
    pair = low.int_op("or", low.int_op("shl", low.cast("zext", "i64", b), 32), low.cast("zext", "i64", a))
    result = low.const("i32", 0)
    for byte in range(4):
        choice = low.int_op("lshr", selector, 4 * byte)
        amount = low.int_op("shl", low.cast("zext", "i64", low.int_op("and", choice, 7)), 3)
        picked = low.cast("trunc", "i8", low.int_op("lshr", pair, amount))
        sign = low.int_op("ashr", picked, 7)
        repeat = low.compare("ne", low.int_op("and", choice, 8), low.const("i32", 0))
        chosen = low.cast("zext", "i32", low.select(repeat, sign, picked))
        result = low.int_op("or", result, low.int_op("shl", chosen, 8 * byte))
    low.assign(instruction, target, result)


def three_input_logic(low: Lowering, instruction: Instruction) -> None:
    """``lop3``: any function of three bits, by its truth table."""
    (kind,), _ = low.split(instruction, set(), 1)
    _require(instruction, kind, "b32")
    target, *rest, table_operand = low.operands(instruction, 5)
    a, b, c = (low.value(instruction, operand, kind) for operand in rest)
    table = low.value(instruction, table_operand, _U32)
    if table.op != "const" or not isinstance(table.attr, int) or table.attr > 255:
        raise instruction.error("the truth table must be a constant below 256")
    result = low.const("i32", 0)
    for row in range(8):
        if table.attr >> row & 1:
            terms = [
                value if row >> bit & 1 else low.invert(value) for value, bit in ((a, 2), (b, 1), (c, 0))
            ]
            minterm = low.int_op("and", low.int_op("and", terms[0], terms[1]), terms[2])
            result = low.int_op("or", result, minterm)
    low.assign(instruction, target, result)


def dot_product(low: Lowering, instruction: Instruction) -> None:
    """``dp4a``: four products of bytes, added to c."""
    (kind_a, kind_b), _ = low.split(instruction, set(), 2)
    _require(instruction, kind_a, "u32 s32")
    _require(instruction, kind_b, "u32 s32")
    target, *rest = low.operands(instruction, 4)
    a, b, result = (low.value(instruction, operand, _U32) for operand in rest)
    for byte in range(4):
        factors = [
            low.int_op("ashr" if kind.signed else "lshr", low.int_op("shl", value, 24 - 8 * byte), 24)
            for value, kind in ((a, kind_a), (b, kind_b))
        ]
        result = low.int_op("add", result, low.int_op("mul", factors[0], factors[1]))
    low.assign(instruction, target, result)


_SIGNED = {"lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge", "eq": "eq", "ne": "ne"}
_UNSIGNED = {
    "lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge", "eq": "eq", "ne": "ne",
    "lo": "ult", "ls": "ule", "hi": "ugt", "hs": "uge",
}  # fmt: skip
_FLOAT = {
    "eq": "oeq", "ne": "one", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "num": "ord", "nan": "uno",
    "equ": "ueq", "neu": "une", "ltu": "ult", "leu": "ule", "gtu": "ugt", "geu": "uge",
}  # fmt: skip
_BOOLEAN = {"and", "or", "xor"}


def _comparison(
    low: Lowering, instruction: Instruction, kind: ScalarType, flags: set[str], operands: list[Value]
) -> Value:
    table = _FLOAT if kind.floating else _SIGNED if kind.signed else _UNSIGNED
    names = flags - _BOOLEAN - {"ftz"}
    if len(names) != 1 or (name := names.pop()) not in table:
        raise instruction.error(f"a comparison of .{kind.name} is needed")
    return low.compare(table[name], operands[0], operands[1])


def set_predicate(low: Lowering, instruction: Instruction) -> None:
    """``setp``."""
    (kind,), flags = low.split(instruction, {*_FLOAT, *_UNSIGNED, *_BOOLEAN, "ftz"}, 1)
    joins = flags & _BOOLEAN
    operands = low.operands(instruction, 4 if joins else 3)
    _require(instruction, kind, "b16 b32 b64 u16 u32 u64 s16 s32 s64 f32 f64")
    values = [low.value(instruction, operand, kind) for operand in operands[1:3]]
    result = _comparison(low, instruction, kind, flags, values)
    first, second = low.pair(instruction, operands[0])
    inverse = low.invert(result) if second is not None else None
    if joins:
        other = low.predicate(instruction, operands[3])
        join = joins.pop()
        result = low.int_op(join, result, other)
        inverse = low.int_op(join, inverse, other) if inverse is not None else None
    low.assign(instruction, first, result)
    if second is not None and inverse is not None:
        low.assign(instruction, second, inverse)


def set_value(low: Lowering, instruction: Instruction) -> None:
    """``set``: a comparison whose result is all ones or 1.0."""
    (result_kind, kind), flags = low.split(instruction, {*_FLOAT, *_UNSIGNED, *_BOOLEAN, "ftz"}, 2)
    joins = flags & _BOOLEAN
    operands = low.operands(instruction, 4 if joins else 3)
    _require(instruction, result_kind, "u32 s32 f32")
    values = [low.value(instruction, operand, kind) for operand in operands[1:3]]
    result = _comparison(low, instruction, kind, flags, values)
    if joins:
        result = low.int_op(joins.pop(), result, low.predicate(instruction, operands[3]))
    if result_kind.floating:
        one, zero = low.const("float", 0x3F800000), low.const("float", 0)
        low.assign(instruction, operands[0], low.select(result, one, zero))
    else:
        low.assign(instruction, operands[0], low.cast("sext", "i32", result))


def select_by_predicate(low: Lowering, instruction: Instruction) -> None:
    """``selp``."""
    (kind,), _ = low.split(instruction, set(), 1)
    target, left, right, condition = low.operands(instruction, 4)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    low.assign(instruction, target, low.select(low.predicate(instruction, condition), a, b))


def select_by_sign(low: Lowering, instruction: Instruction) -> None:
    """``slct``: the first if the selector is not negative."""
    (kind, selector_kind), _ = low.split(instruction, {"ftz"}, 2)
    _require(instruction, selector_kind, "s32 f32")
    target, left, right, selector = low.operands(instruction, 4)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    c = low.value(instruction, selector, selector_kind)
    condition = low.compare("oge" if selector_kind.floating else "sge", c, low.const(c.type, 0))
    low.assign(instruction, target, low.select(condition, a, b))


def move(low: Lowering, instruction: Instruction) -> None:
    """``mov``, also packing and unpacking ``{a, b}``."""
    (kind,), _ = low.split(instruction, set(), 1)
    target, source = low.operands(instruction, 2)
    if isinstance(source, Group):
        part = _part(instruction, kind, source)
        packed = low.const(f"i{kind.bits}", 0)
        for index, member in enumerate(source.members):
            piece = low.cast("zext", packed.type, low.bits(low.value(instruction, member, part)))
            packed = low.int_op("or", packed, low.int_op("shl", piece, index * part.bits))
        low.assign(instruction, target, packed)
    elif isinstance(target, Group):
        part = _part(instruction, kind, target)
        whole = low.bits(low.value(instruction, source, kind))
        for index, member in enumerate(target.members):
            piece = low.cast("trunc", f"i{part.bits}", low.int_op("lshr", whole, index * part.bits))
            low.assign(instruction, member, piece)
    else:
        low.assign(instruction, target, low.value(instruction, source, kind))


def _part(instruction: Instruction, kind: ScalarType, group: Group) -> ScalarType:
    bits = kind.bits // len(group.members)
    part = SCALAR_TYPES.get(f"b{bits}")
    if part is None or bits * len(group.members) != kind.bits or kind.kind == "p":
        raise instruction.error("the members do not make up the whole")
    for member in group.members:
        if isinstance(member, Register) and member.type.bits != bits:
            raise instruction.error(f"members must have {bits} bits")
    return part


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "add": add_sub, "sub": add_sub, "addc": add_sub_carry, "subc": add_sub_carry,
    "mul": multiply, "mad": multiply, "mul24": multiply_24, "mad24": multiply_24, "rem": remainder,
    "sad": absolute_difference, "min": minimum, "max": minimum, "abs": absolute, "neg": absolute,
    "and": logic, "or": logic, "xor": logic, "not": complement, "cnot": complement,
    "shl": shift, "shr": shift, "shf": funnel_shift, "popc": count_bits, "clz": count_bits,
    "brev": count_bits,
    "bfind": find_leading, "bfe": extract_field, "bfi": insert_field, "prmt": permute,
    "lop3": three_input_logic, "dp4a": dot_product, "setp": set_predicate, "set": set_value,
    "selp": select_by_predicate, "slct": select_by_sign, "mov": move,
}  # fmt: skip
