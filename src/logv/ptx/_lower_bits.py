"""Logic, shifts and bit fields."""

from collections.abc import Callable

from logv.ptx._ir import Value
from logv.ptx._lowering import Lowering, require_type
from logv.ptx._syntax import Instruction, Operand
from logv.ptx._types import SCALAR_TYPES

_U32 = SCALAR_TYPES["u32"]


def logic(low: Lowering, instruction: Instruction) -> None:
    """``and``, ``or`` and ``xor``."""
    (kind,), _ = low.split(instruction, set(), 1)
    require_type(instruction, kind, "pred b16 b32 b64")
    target, left, right = low.operands(instruction, 3)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    low.assign(instruction, target, low.int_op(instruction.opcode, a, b))


def complement(low: Lowering, instruction: Instruction) -> None:
    """``not`` and ``cnot``."""
    (kind,), _ = low.split(instruction, set(), 1)
    require_type(instruction, kind, "pred b16 b32 b64" if instruction.opcode == "not" else "b16 b32 b64")
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
    require_type(
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
    require_type(instruction, kind, "b32")
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
    require_type(instruction, kind, "b32 b64")
    target, source = low.operands(instruction, 2)
    a = low.value(instruction, source, kind)
    name = {"popc": "ctpop", "clz": "ctlz", "brev": "bitreverse"}[instruction.opcode]
    result = low.op(name, a.type, a)
    low.assign(instruction, target, result if name == "bitreverse" else low.cast("trunc", "i32", result))


def find_leading(low: Lowering, instruction: Instruction) -> None:
    """``bfind``: position of the highest bit that is not a sign bit, or all ones."""
    (kind,), flags = low.split(instruction, {"shiftamt"}, 1)
    require_type(instruction, kind, "u32 s32 u64 s64")
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
    require_type(instruction, kind, "u32 s32 u64 s64")
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
    require_type(instruction, kind, "b32 b64")
    target, source, base, position, length = low.operands(instruction, 5)
    a, b = low.value(instruction, source, kind), low.value(instruction, base, kind)
    begin = low.int_op("and", low.value(instruction, position, _U32), 255)
    count = low.int_op("and", low.value(instruction, length, _U32), 255)
    ones = low.const(a.type, -1)
    low_mask = low.invert(clamped_shift(low, "shl", ones, count, kind.bits))
    mask = clamped_shift(low, "shl", low_mask, begin, kind.bits)
    field = low.int_op("and", clamped_shift(low, "shl", a, begin, kind.bits), mask)
    low.assign(instruction, target, low.int_op("or", field, low.int_op("and", b, low.invert(mask))))


# Byte selectors of the modes of ``prmt``, for a control number of 0 to 3.
_PERMUTATIONS = {
    "f4e": (0x3210, 0x4321, 0x5432, 0x6543),
    "b4e": (0x5670, 0x6701, 0x7012, 0x0123),
    "rc8": (0x0000, 0x1111, 0x2222, 0x3333),
    "ecl": (0x3210, 0x3211, 0x3222, 0x3333),
    "ecr": (0x0000, 0x1110, 0x2210, 0x3210),
    "rc16": (0x1010, 0x3232, 0x1010, 0x3232),
}


def permute(low: Lowering, instruction: Instruction) -> None:
    """``prmt``: any four of eight bytes."""
    (kind,), flags = low.split(instruction, set(_PERMUTATIONS), 1)
    require_type(instruction, kind, "b32")
    if len(flags) > 1:
        raise instruction.error("two modes")
    target, *rest = low.operands(instruction, 4)
    a, b, selector = (low.value(instruction, operand, _U32) for operand in rest)
    pair = low.int_op("or", low.int_op("shl", low.cast("zext", "i64", b), 32), low.cast("zext", "i64", a))
    for mode in flags:
        # The four selectors of a mode make one 64-bit table.
        table = sum(entry << 16 * index for index, entry in enumerate(_PERMUTATIONS[mode]))
        place = low.int_op("shl", low.int_op("and", selector, 3), 4)
        looked_up = low.int_op("lshr", low.const("i64", table), low.cast("zext", "i64", place))
        selector = low.cast("trunc", "i32", looked_up)
    result = low.const("i32", 0)
    for byte in range(4):
        choice = low.int_op("lshr", selector, 4 * byte)
        amount = low.int_op("shl", low.cast("zext", "i64", low.int_op("and", choice, 7)), 3)
        picked = low.cast("trunc", "i8", low.int_op("lshr", pair, amount))
        if not flags:
            sign = low.int_op("ashr", picked, 7)
            repeat = low.compare("ne", low.int_op("and", choice, 8), low.const("i32", 0))
            picked = low.select(repeat, sign, picked)
        result = low.int_op("or", result, low.int_op("shl", low.cast("zext", "i32", picked), 8 * byte))
    low.assign(instruction, target, result)


def three_input_logic(low: Lowering, instruction: Instruction) -> None:
    """``lop3``: any function of three bits, by its truth table; maybe with a predicate of the result."""
    (kind,), flags = low.split(instruction, {"and", "or"}, 1)
    require_type(instruction, kind, "b32")
    target, *rest = low.operands(instruction, 6 if flags else 5)
    a, b, c = (low.value(instruction, operand, kind) for operand in rest[:3])
    table = low.value(instruction, rest[3], _U32)
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
    word, predicate = low.pair(instruction, target)
    if (predicate is None) == bool(flags) or len(flags) > 1:
        raise instruction.error("a destination d|p goes with .and or .or")
    if predicate is not None:
        some = low.compare("ne", result, low.const("i32", 0))
        joined = low.int_op(flags.pop(), some, low.predicate(instruction, rest[4]))
        low.assign(instruction, predicate, joined)
    low.assign(instruction, word, result)


def find_nth_set(low: Lowering, instruction: Instruction) -> None:
    """``fns``: position of the n-th bit set, counted from a base upwards (n > 0) or downwards (n < 0)."""
    (kind,), _ = low.split(instruction, set(), 1)
    require_type(instruction, kind, "b32")
    target, *rest = low.operands(instruction, 4)
    mask, base, offset = (low.value(instruction, operand, _U32) for operand in rest)
    zero, none = low.const("i32", 0), low.const("i32", -1)
    inside = low.compare("ult", base, low.const("i32", 32))
    place = low.int_op("and", base, 31)
    upwards = low.compare("sgt", offset, zero)
    # Downwards is upwards in the mirror image.
    start = low.select(upwards, place, low.int_op("sub", low.const("i32", 31), place))
    word = low.select(upwards, mask, low.op("bitreverse", "i32", mask))
    left = low.int_op("and", word, low.int_op("shl", none, start))
    count = low.op("abs", "i32", offset)
    # Of the lowest 16, 8, 4, 2, 1 bits that are left: do they hold the wanted one, or is it above them?
    found = zero
    for width in (16, 8, 4, 2, 1):
        lower = low.op("ctpop", "i32", low.int_op("and", low.int_op("lshr", left, found), (1 << width) - 1))
        above = low.compare("ugt", count, lower)
        count = low.select(above, low.int_op("sub", count, lower), count)
        found = low.select(above, low.int_op("add", found, width), found)
    there = low.int_op("and", low.int_op("lshr", left, found), 1)
    hit = low.int_op("and", low.compare("eq", count, low.const("i32", 1)), low.compare("ne", there, zero))
    back = low.select(upwards, found, low.int_op("sub", low.const("i32", 31), found))
    result = low.select(low.int_op("and", hit, inside), back, none)
    # n = 0 asks whether the bit at the base itself is set.
    own = low.compare("ne", low.int_op("and", low.int_op("lshr", mask, place), 1), zero)
    at_base = low.select(low.int_op("and", own, inside), place, none)
    low.assign(instruction, target, low.select(low.compare("eq", offset, zero), at_base, result))


def _amount(low: Lowering, instruction: Instruction, flags: set[str], operand: Operand) -> Value:
    """Return an amount modulo 32 (``.wrap``) or at most 32 (``.clamp``)."""
    if len(flags) != 1:
        raise instruction.error(".wrap or .clamp is needed")
    value = low.value(instruction, operand, _U32)
    return low.int_op("and", value, 31) if "wrap" in flags else low.int_op("umin", value, 32)


def extend_sign(low: Lowering, instruction: Instruction) -> None:
    """``szext``: the lowest bits, extended by zeros or their sign."""
    (kind,), flags = low.split(instruction, {"wrap", "clamp"}, 1)
    require_type(instruction, kind, "u32 s32")
    target, source, bits = low.operands(instruction, 3)
    a = low.value(instruction, source, _U32)
    gap = low.int_op("sub", low.const("i32", 32), _amount(low, instruction, flags, bits))
    raised = clamped_shift(low, "shl", a, gap, 32)
    low.assign(instruction, target, clamped_shift(low, "ashr" if kind.signed else "lshr", raised, gap, 32))


def bit_mask(low: Lowering, instruction: Instruction) -> None:
    """``bmsk``: a number of ones from a position on."""
    (kind,), flags = low.split(instruction, {"wrap", "clamp"}, 1)
    require_type(instruction, kind, "b32")
    target, *rest = low.operands(instruction, 3)
    position, width = (_amount(low, instruction, flags, operand) for operand in rest)
    ones = low.invert(clamped_shift(low, "shl", low.const("i32", -1), width, 32))
    low.assign(instruction, target, clamped_shift(low, "shl", ones, position, 32))


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "and": logic, "or": logic, "xor": logic, "not": complement, "cnot": complement,
    "shl": shift, "shr": shift, "shf": funnel_shift, "popc": count_bits, "clz": count_bits,
    "brev": count_bits, "bfind": find_leading, "bfe": extract_field, "bfi": insert_field, "prmt": permute,
    "lop3": three_input_logic, "fns": find_nth_set, "szext": extend_sign, "bmsk": bit_mask,
}  # fmt: skip
