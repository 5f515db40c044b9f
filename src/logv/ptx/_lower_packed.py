"""Instructions on several small integers in one word: dot products, pairs, and SIMD video instructions."""

from collections.abc import Callable

from logv.ptx._ir import Value
from logv.ptx._lowering import Lowering, require_type
from logv.ptx._syntax import Instruction, Operand
from logv.ptx._types import SCALAR_TYPES, ScalarType

PAIRS = frozenset({"u16x2", "s16x2"})
_U32 = SCALAR_TYPES["u32"]
_COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}


def _unpack(low: Lowering, instruction: Instruction, operand: Operand, bits: int) -> list[Value]:
    """Split a word into integers, the lowest first."""
    value = low.value(instruction, operand, _U32)
    return [low.cast("trunc", f"i{bits}", low.int_op("lshr", value, at)) for at in range(0, 32, bits)]


def _pack(low: Lowering, parts: list[Value]) -> Value:
    """Put integers that make up a word together."""
    result = low.const("i32", 0)
    for place, part in enumerate(parts):
        wide = low.cast("zext", "i32", part)
        result = low.int_op("or", result, low.int_op("shl", wide, place * (32 // len(parts))))
    return result


def _extended(
    low: Lowering, instruction: Instruction, operand: Operand, bits: int, kind: ScalarType
) -> list[Value]:
    """Split a word into integers, and extend each to a word of its own."""
    extend = "sext" if kind.signed else "zext"
    return [low.cast(extend, "i32", part) for part in _unpack(low, instruction, operand, bits)]


def _pair(low: Lowering, instruction: Instruction, allowed: set[str]) -> tuple[list[list[Value]], set[str]]:
    """Return both operands' 16-bit parts, and the flags."""
    _, flags = low.split(instruction, PAIRS | allowed, 0)
    if len(flags & PAIRS) != 1:
        raise instruction.error("two types")
    rows = [_unpack(low, instruction, operand, 16) for operand in low.operands(instruction, 3)[1:]]
    return [list(lane) for lane in zip(*rows, strict=True)], flags


def packed_add(low: Lowering, instruction: Instruction) -> None:
    """``add`` of two pairs of 16-bit integers."""
    if instruction.opcode != "add":
        raise instruction.error(f"{instruction.opcode} is not for pairs of integers")
    lanes, _ = _pair(low, instruction, set())
    low.assign(instruction, instruction.operands[0], _pack(low, [low.int_op("add", a, b) for a, b in lanes]))


def packed_minimum(low: Lowering, instruction: Instruction) -> None:
    """``min`` and ``max`` of two pairs of 16-bit integers."""
    lanes, flags = _pair(low, instruction, {"relu"})
    sign = "s" if "s16x2" in flags else "u"
    if "relu" in flags and sign == "u":
        raise instruction.error(".relu is for signed integers")
    results = [low.int_op(sign + instruction.opcode, a, b) for a, b in lanes]
    if "relu" in flags:
        results = [low.int_op("smax", result, 0) for result in results]
    low.assign(instruction, instruction.operands[0], _pack(low, results))


def dot_product(low: Lowering, instruction: Instruction) -> None:
    """``dp4a`` and ``dp2a``: products of parts, added to c."""
    pairs = instruction.opcode == "dp2a"
    (kind_a, kind_b), flags = low.split(instruction, {"lo", "hi"} if pairs else set(), 2)
    require_type(instruction, kind_a, "u32 s32")
    require_type(instruction, kind_b, "u32 s32")
    target, a, b, c = low.operands(instruction, 4)
    left = _extended(low, instruction, a, 16 if pairs else 8, kind_a)
    right = _extended(low, instruction, b, 8, kind_b)
    if pairs:
        if len(flags) != 1:
            raise instruction.error(".lo or .hi is needed")
        right = right[:2] if "lo" in flags else right[2:]
    result = low.value(instruction, c, _U32)
    for x, y in zip(left, right, strict=True):
        result = low.int_op("add", result, low.int_op("mul", x, y))
    low.assign(instruction, target, result)


def video(low: Lowering, instruction: Instruction) -> None:
    """``vadd2 vadd4 vsub2 vabsdiff4 vset4 ...``, without masks and selectors of parts.

    The parts of a and b are taken as signed or unsigned as each one's type says, the result is saturated
    to the destination's type or cut off, and ``.add`` sums the parts of the result up, together with c.
    """
    name, lanes = instruction.opcode[:-1], int(instruction.opcode[-1])
    compares = name == "vset"
    allowed = {"add"} | (_COMPARISONS if compares else {"sat"})
    kinds, flags = low.split(instruction, allowed, 2 if compares else 3)
    to, kind_a, kind_b = [_U32, *kinds] if compares else kinds
    for kind in (to, kind_a, kind_b):
        require_type(instruction, kind, "u32 s32")
    target, a, b, c = low.operands(instruction, 4)
    bits = 32 // lanes
    left = _extended(low, instruction, a, bits, kind_a)
    right = _extended(low, instruction, b, bits, kind_b)
    if compares:
        parts = _compared(low, instruction, flags, left, right)
    else:
        parts = [_part(low, name, x, y) for x, y in zip(left, right, strict=True)]
    if "sat" in flags:
        least = -(1 << (bits - 1)) if to.signed else 0
        most = (1 << (bits - 1)) - 1 if to.signed else (1 << bits) - 1
        parts = [low.int_op("smax", low.int_op("smin", part, most), least) for part in parts]
    narrow = [low.cast("trunc", f"i{bits}", part) for part in parts]
    result = _pack(low, narrow)
    if "add" in flags:
        result = low.value(instruction, c, _U32)
        for part in narrow:
            result = low.int_op("add", result, low.cast("sext" if to.signed else "zext", "i32", part))
    low.assign(instruction, target, result)


def _compared(
    low: Lowering, instruction: Instruction, flags: set[str], left: list[Value], right: list[Value]
) -> list[Value]:
    names = flags & _COMPARISONS
    if len(names) != 1:
        raise instruction.error("one comparison is needed")
    name = names.pop()
    # The parts are smaller than the words they stand in, so a signed comparison does for all.
    predicate = name if name in ("eq", "ne") else "s" + name
    return [low.cast("zext", "i32", low.compare(predicate, x, y)) for x, y in zip(left, right, strict=True)]


def _part(low: Lowering, name: str, x: Value, y: Value) -> Value:
    if name in ("vadd", "vsub"):
        return low.int_op(name[1:], x, y)
    if name in ("vmin", "vmax"):
        return low.int_op("s" + name[1:], x, y)
    if name == "vabsdiff":
        return low.op("abs", "i32", low.int_op("sub", x, y))
    # The average is rounded up.
    return low.int_op("ashr", low.int_op("add", low.int_op("add", x, y), 1), 1)


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "dp4a": dot_product,
    "dp2a": dot_product,
    **{
        f"{name}{lanes}": video
        for name in ("vadd", "vsub", "vabsdiff", "vmin", "vmax", "vavrg", "vset")
        for lanes in (2, 4)
    },
}
