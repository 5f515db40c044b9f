"""Atomics, and the fences that order them."""

from collections.abc import Callable

from logv.ptx import _half
from logv.ptx._ir import Access, Value
from logv.ptx._lower_memory import CACHE_POLICY, ORDERS, SCOPES, address_of, space_of, without_policy
from logv.ptx._lowering import Lowering
from logv.ptx._syntax import Instruction
from logv.ptx._types import ScalarType

_TYPES = {
    "add": "u32 s32 u64 s64 f32 f64 f16 f16x2 bf16 bf16x2",
    "min": "u32 s32 u64 s64", "max": "u32 s32 u64 s64",
    "and": "b32 b64", "or": "b32 b64", "xor": "b32 b64", "exch": "b32 b64", "cas": "b16 b32 b64",
    "inc": "u32", "dec": "u32",
}  # fmt: skip
# Holds the value found last, in the loop that adds to a half.
_FOUND = "%found"


def atomic(low: Lowering, instruction: Instruction) -> None:
    """``atom`` and ``red``."""
    spaces = {"global", "shared", "shared::cta"}
    allowed = spaces | SCOPES | (ORDERS - {"weak", "volatile"}) | set(_TYPES) | {"noftz", CACHE_POLICY}
    (kind,), flags = low.split(instruction, allowed, 1)
    returns = instruction.opcode == "atom"
    names = flags & set(_TYPES)
    if len(names) != 1:
        raise instruction.error("one atomic operation is needed")
    name = names.pop()
    if kind.name not in _TYPES[name].split() or (not returns and name in ("exch", "cas")):
        raise instruction.error(f"{instruction.opcode}.{name}.{kind.name} is not supported")
    if ("noftz" in flags) != (kind.kind == "h"):
        raise instruction.error(".noftz goes with half precision")
    operands = without_policy(low, instruction, flags, 2 + returns + (name == "cas"))
    address, offset, space = address_of(
        low, instruction, operands[int(returns)], space_of(instruction, flags)
    )
    values = [low.value(instruction, operand, kind) for operand in operands[1 + returns :]]
    if name in ("min", "max"):
        name = ("s" if kind.signed else "u") + name
    elif kind.floating:
        name = "fadd"
    access = Access(space, kind.size, offset, True, name, instruction.line, instruction.text)
    if flags & {"release", "acq_rel"}:
        low.op("fence", "")
    if kind.kind == "h":
        result = _add_half(low, kind, address, access, values[0])
    else:
        result = low.op("atom", kind.value_type, address, *values, attr=access)
    if flags & {"acquire", "acq_rel"}:
        low.op("fence", "")
    if returns:
        low.assign(instruction, operands[0], result)


def _add_half(low: Lowering, kind: ScalarType, address: Value, access: Access, addend: Value) -> Value:
    """Add by compare and swap: hosts have no atomics on halves."""
    place = (access.space, access.size, access.offset, True)
    where = (access.line, access.text)
    # A register has one type.
    register = f"{_FOUND}.{kind.value_type}"
    low.write(register, low.op("load", kind.value_type, address, attr=Access(*place, "", *where)))
    head, after = low.new_block(), low.new_block()
    low.jump(head)
    low.block = head
    old = low.read(register, kind.value_type)
    sums = []
    for pair in zip(_half.lanes(low, kind, old), _half.lanes(low, kind, addend), strict=True):
        left, right = (_half.widen(low, kind, bits) for bits in pair)
        sums.append(_half.shorten(low, kind, _half.add(low, left, right)))
    new = _half.joined(low, sums)
    found = low.op("atom", kind.value_type, address, old, new, attr=Access(*place, "cas", *where))
    low.write(register, found)
    low.branch(low.compare("eq", found, old), after, head)
    low.block = after
    return old


def fence(low: Lowering, instruction: Instruction) -> None:
    """``membar`` and ``fence``."""
    levels = {"gl", "cta", "sys"} if instruction.opcode == "membar" else SCOPES | {"sc", "acq_rel"}
    _, flags = low.split(instruction, levels, 0)
    low.operands(instruction, 0)
    if len(flags - {"sc", "acq_rel"}) != 1:
        raise instruction.error("one scope is needed")
    # Threads of a block run on one host thread: only other blocks and the CPU can tell.
    if "cta" not in flags:
        low.op("fence", "")


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "atom": atomic,
    "red": atomic,
    "membar": fence,
    "fence": fence,
}
