"""Comparisons, selections and moves."""

from collections.abc import Callable

from logv.ptx._ir import Value
from logv.ptx._lower_float import check_flush, flush
from logv.ptx._lowering import FLOAT_TYPES, Lowering, require_type
from logv.ptx._syntax import Group, Instruction, Register
from logv.ptx._types import SCALAR_TYPES, ScalarType

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
COMPARISONS = frozenset({*_FLOAT, *_UNSIGNED, *_BOOLEAN, "ftz"})


def comparison(
    low: Lowering, instruction: Instruction, kind: ScalarType, flags: set[str], operands: list[Value]
) -> Value:
    """Compare two numbers of a type as the flags say."""
    table = _FLOAT if operands[0].type in FLOAT_TYPES else _SIGNED if kind.signed else _UNSIGNED
    names = flags - _BOOLEAN - {"ftz"}
    if len(names) != 1 or (name := names.pop()) not in table:
        raise instruction.error(f"a comparison of .{kind.name} is needed")
    return low.compare(table[name], operands[0], operands[1])


def set_predicate(low: Lowering, instruction: Instruction) -> None:
    """``setp``."""
    (kind,), flags = low.split(instruction, COMPARISONS, 1)
    operands = low.operands(instruction, 4 if flags & _BOOLEAN else 3)
    require_type(instruction, kind, "b16 b32 b64 u16 u32 u64 s16 s32 s64 f32 f64")
    check_flush(instruction, kind, flags)
    values = [flush(low, low.value(instruction, operand, kind), flags) for operand in operands[1:3]]
    result = comparison(low, instruction, kind, flags, values)
    assign_predicates(low, instruction, flags, result)


def assign_predicates(
    low: Lowering, instruction: Instruction, flags: set[str], result: Value, other: Value | None = None
) -> None:
    """Write ``p`` or ``p|q``, each joined with the instruction's last operand if the flags say so.

    Without `other`, ``q`` is about the opposite of the result.
    """
    first, second = low.pair(instruction, instruction.operands[0])
    results = [(first, result)]
    if second is not None:
        results.append((second, low.invert(result) if other is None else other))
    joins = flags & _BOOLEAN
    if joins:
        join, last = joins.pop(), low.predicate(instruction, instruction.operands[3])
        results = [(target, low.int_op(join, value, last)) for target, value in results]
    for target, value in results:
        low.assign(instruction, target, value)


def set_value(low: Lowering, instruction: Instruction) -> None:
    """``set``: a comparison whose result is all ones or 1.0."""
    (result_kind, kind), flags = low.split(instruction, COMPARISONS, 2)
    joins = flags & _BOOLEAN
    operands = low.operands(instruction, 4 if joins else 3)
    require_type(instruction, result_kind, "u32 s32 f32")
    require_type(instruction, kind, "b16 b32 b64 u16 u32 u64 s16 s32 s64 f32 f64")
    check_flush(instruction, kind, flags)
    values = [flush(low, low.value(instruction, operand, kind), flags) for operand in operands[1:3]]
    result = comparison(low, instruction, kind, flags, values)
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
    (kind, selector_kind), flags = low.split(instruction, {"ftz"}, 2)
    require_type(instruction, selector_kind, "s32 f32")
    check_flush(instruction, selector_kind, flags)
    target, left, right, selector = low.operands(instruction, 4)
    a, b = low.value(instruction, left, kind), low.value(instruction, right, kind)
    c = flush(low, low.value(instruction, selector, selector_kind), flags)
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
    "setp": set_predicate, "set": set_value, "selp": select_by_predicate, "slct": select_by_sign,
    "mov": move,
}  # fmt: skip
