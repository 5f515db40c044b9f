"""``cp.async`` from global to shared memory: copied at once, which no program that waits for it can tell."""

from collections.abc import Callable

from logv.ptx._ir import Access, Value
from logv.ptx._lower_memory import CACHE_POLICY, PREFETCH_SIZES, address_of, without_policy
from logv.ptx._lowering import PREDICATE, Lowering
from logv.ptx._syntax import Immediate, Instruction, Operand, Register
from logv.ptx._types import SCALAR_TYPES

_WAITS = {"commit_group": 0, "wait_group": 1, "wait_all": 0}
_U32 = SCALAR_TYPES["u32"]
_PIECE = "%piece"


def copy(low: Lowering, instruction: Instruction) -> None:
    """``cp.async`` in its forms without a barrier object."""
    if instruction.modifiers[:1] != ("async",):
        raise instruction.error("only cp.async is supported")
    if len(instruction.modifiers) > 1 and instruction.modifiers[1] in _WAITS:
        low.split(instruction, {"async", *_WAITS}, 0)
        low.operands(instruction, _WAITS[instruction.modifiers[1]])
        return
    spaces = {"shared", "shared::cta", "global"}
    _, flags = low.split(instruction, {"async", "ca", "cg", CACHE_POLICY} | spaces | PREFETCH_SIZES, 0)
    if len(flags & {"ca", "cg"}) != 1 or "global" not in flags or len(flags & spaces) != 2:
        raise instruction.error("cp.async copies from .global to .shared, .ca or .cg")
    count = len(instruction.operands) - (CACHE_POLICY in flags)
    target, source, size_operand, *limits = without_policy(low, instruction, flags, min(max(count, 3), 4))
    size = size_operand.value if isinstance(size_operand, Immediate) else 0
    if size not in ((16,) if "cg" in flags else (4, 8, 16)):
        raise instruction.error("the size must be 4, 8 or 16, with .cg 16")
    to, to_offset, _ = address_of(low, instruction, target, "shared")
    begin, begin_offset, _ = address_of(low, instruction, source, "global")
    valid = _valid_bytes(low, instruction, limits[0], size) if limits else None
    step = min(size, 8)
    kind = f"i{8 * step}"
    where = (instruction.line, instruction.text)
    for place in range(0, size, step):
        access = Access("global", step, begin_offset + place, False, "", *where)
        if valid is None:
            piece = low.op("load", kind, begin, attr=access)
        else:
            piece = _partial(low, kind, begin, access, low.int_op("sub", valid, place))
        low.op("store", "", to, piece, attr=Access("shared", step, to_offset + place, False, "", *where))


def _valid_bytes(low: Lowering, instruction: Instruction, operand: Operand, size: int) -> Value | None:
    """Return how many bytes are read, the rest being zeros; None if that is all of them."""
    if isinstance(operand, Register) and operand.type.kind == "p":
        ignored = low.value(instruction, operand, PREDICATE)
        return low.select(ignored, low.const("i32", 0), low.const("i32", size))
    valid = low.int_op("umin", low.value(instruction, operand, _U32), size)
    constant = isinstance(operand, Immediate) and operand.value == size
    return None if constant else valid


def _partial(low: Lowering, kind: str, begin: Value, access: Access, valid: Value) -> Value:
    """Read the first bytes of a word, and none at all if `valid` is not positive."""
    register = f"{_PIECE}.{kind}"
    low.write(register, low.const(kind, 0))
    inside, after = low.new_block(), low.new_block()
    low.branch(low.compare("sgt", valid, low.const("i32", 0)), inside, after)
    low.block = inside
    whole = low.op("load", kind, begin, attr=access)
    missing = low.int_op("smax", low.int_op("sub", low.const("i32", access.size), valid), 0)
    amount = low.cast("zext", kind, low.int_op("mul", missing, 8))
    low.write(register, low.int_op("and", whole, low.int_op("lshr", low.const(kind, -1), amount)))
    low.jump(after)
    low.block = after
    return low.read(register, kind)


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {"cp": copy}
