"""Loads, stores, atomics and fences."""

from collections.abc import Callable

from logv.ptx._ir import Access, Value
from logv.ptx._lowering import Lowering
from logv.ptx._syntax import Address, Group, Instruction, Operand, Register, Symbol
from logv.ptx._types import ScalarType

_SPACES = {"global", "shared", "local", "const", "param", "shared::cta"}
_SCOPES = {"cta", "gpu", "sys"}
_ORDERS = {"weak", "relaxed", "acquire", "release", "volatile", "acq_rel"}
# How long a cache should keep the line: no meaning here.
_HINTS = {
    "nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::no_allocate", "L1::evict_last", "L1::evict_first",
    "L1::evict_normal", "L1::evict_unchanged", "L2::64B", "L2::128B", "L2::256B",
}  # fmt: skip
_ATOMIC_TYPES = {
    "add": "u32 s32 u64 f32 f64", "min": "u32 s32 u64 s64", "max": "u32 s32 u64 s64", "and": "b32 b64",
    "or": "b32 b64", "xor": "b32 b64", "exch": "b32 b64", "cas": "b32 b64", "inc": "u32", "dec": "u32",
}  # fmt: skip


def _space(instruction: Instruction, flags: set[str]) -> str:
    spaces = [flag.removesuffix("::cta") for flag in flags & _SPACES]
    if len(spaces) > 1:
        raise instruction.error("two state spaces")
    return spaces[0] if spaces else "generic"


def _address(low: Lowering, instruction: Instruction, operand: Operand, space: str) -> tuple[Value, int, str]:
    """Value and offset of an address, and its space if the operand settles it."""
    if not isinstance(operand, Address):
        raise instruction.error("an address in brackets is expected")
    base = operand.base
    if isinstance(base, Register):
        if base.type.bits not in (32, 64) or base.type.floating or base.negated:
            raise instruction.error("an address must be a 32-bit or 64-bit register")
        value = low.read(base.name, base.type.value_type)
        if base.type.bits == 32:
            if space not in ("shared", "local", "const"):
                raise instruction.error("a 32-bit register addresses .shared, .local or .const only")
            value = low.cast("zext", "i64", value)
        return value, operand.offset, space
    if isinstance(base, Symbol):
        place = low.place(base.name)
        if place is None:
            raise instruction.error(f"{base.name} is not declared")
        own, value = place
        # A table declared .global lives with the constants (see the parser).
        if space not in (own, "generic") and not (space == "global" and own == "const"):
            raise instruction.error(f"{base.name} is not in .{space} memory")
        return value, operand.offset, own
    return low.const("i64", base.value), operand.offset, space


def _members(instruction: Instruction, operand: Operand, flags: set[str]) -> tuple[Operand, ...]:
    count = 2 if "v2" in flags else 4 if "v4" in flags else 1
    members = operand.members if isinstance(operand, Group) else (operand,)
    if len(members) != count or (isinstance(operand, Group) and operand.separator != ","):
        raise instruction.error(f"{count} value(s) expected")
    return members


def _access(instruction: Instruction, space: str, kind: ScalarType, offset: int, flags: set[str]) -> Access:
    ordered = bool(flags & {"relaxed", "acquire", "release", "volatile"})
    return Access(space, kind.size, offset, ordered, "", instruction.line, instruction.text)


def load(low: Lowering, instruction: Instruction) -> None:
    """``ld``."""
    (kind,), flags = low.split(instruction, _SPACES | _SCOPES | _ORDERS | _HINTS | {"v2", "v4"}, 1)
    target, source = low.operands(instruction, 2)
    if kind.kind == "p" or flags & {"release", "acq_rel"}:
        raise instruction.error("this form of ld is not supported")
    address, offset, space = _address(low, instruction, source, _space(instruction, flags))
    memory_type = kind.value_type
    for index, member in enumerate(_members(instruction, target, flags)):
        access = _access(instruction, space, kind, offset + index * kind.size, flags)
        if space == "param" and address.op == "const" and isinstance(address.attr, int):
            place = address.attr + access.offset
            if not 0 <= place <= low.entry.parameter_bytes - kind.size:
                raise instruction.error("a load beyond the parameters")
            value = low.op("param", memory_type, attr=place)
        else:
            value = low.op("load", memory_type, address, attr=access)
        low.assign(instruction, member, value, signed=kind.signed)
    if "acquire" in flags:
        low.op("fence", "")


def store(low: Lowering, instruction: Instruction) -> None:
    """``st``."""
    (kind,), flags = low.split(instruction, _SPACES | _SCOPES | _ORDERS | _HINTS | {"v2", "v4"}, 1)
    target, source = low.operands(instruction, 2)
    if kind.kind == "p" or flags & {"acquire", "acq_rel", "nc"}:
        raise instruction.error("this form of st is not supported")
    address, offset, space = _address(low, instruction, target, _space(instruction, flags))
    if space in ("const", "param"):
        raise instruction.error(f".{space} memory is read-only")
    if "release" in flags:
        low.op("fence", "")
    for index, member in enumerate(_members(instruction, source, flags)):
        access = _access(instruction, space, kind, offset + index * kind.size, flags)
        value = low.value(instruction, member, kind, wider=True)
        low.op("store", "", address, value, attr=access)


def atomic(low: Lowering, instruction: Instruction) -> None:
    """``atom`` and ``red``."""
    (kind,), flags = low.split(
        instruction, {"global", "shared", "shared::cta"} | _SCOPES | _ORDERS | set(_ATOMIC_TYPES), 1
    )
    returns = instruction.opcode == "atom"
    names = flags & set(_ATOMIC_TYPES)
    if len(names) != 1 or flags & {"weak", "volatile"}:
        raise instruction.error("one atomic operation is needed")
    name = names.pop()
    if kind.name not in _ATOMIC_TYPES[name].split() or (not returns and name in ("exch", "cas")):
        raise instruction.error(f"{instruction.opcode}.{name}.{kind.name} is not supported")
    operands = low.operands(instruction, 2 + returns + (name == "cas"))
    address, offset, space = _address(low, instruction, operands[int(returns)], _space(instruction, flags))
    values = [low.value(instruction, operand, kind) for operand in operands[1 + returns :]]
    if kind.signed and name in ("min", "max"):
        name = "s" + name
    elif name in ("min", "max"):
        name = "u" + name
    elif kind.floating:
        name = "fadd"
    access = Access(space, kind.size, offset, True, name, instruction.line, instruction.text)
    if flags & {"release", "acq_rel"}:
        low.op("fence", "")
    result = low.op("atom", kind.value_type, address, *values, attr=access)
    if flags & {"acquire", "acq_rel"}:
        low.op("fence", "")
    if returns:
        low.assign(instruction, operands[0], result)


def fence(low: Lowering, instruction: Instruction) -> None:
    """``membar`` and ``fence``."""
    _, flags = low.split(instruction, {"gl", "cta", "gpu", "sys", "sc", "acq_rel"}, 0)
    low.operands(instruction, 0)
    # Threads of a block run on one host thread: only other blocks and the CPU can tell.
    if not flags & {"cta"}:
        low.op("fence", "")


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "ld": load, "ldu": load, "st": store, "atom": atomic, "red": atomic, "membar": fence, "fence": fence,
}  # fmt: skip
