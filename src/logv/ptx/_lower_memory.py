"""Loads and stores."""

from collections.abc import Callable

from logv.ptx._ir import Access, Value
from logv.ptx._lowering import Lowering
from logv.ptx._syntax import Address, Group, Instruction, Operand, Register, Symbol
from logv.ptx._types import SCALAR_TYPES, ScalarType

_SPACES = {"global", "shared", "local", "const", "param", "shared::cta", "param::entry"}
SCOPES = {"cta", "cluster", "gpu", "sys"}
ORDERS = {"weak", "relaxed", "acquire", "release", "volatile", "acq_rel"}
CACHE_POLICY = "L2::cache_hint"
PREFETCH_SIZES = {"L2::64B", "L2::128B", "L2::256B"}
# How long a cache should keep the line: no meaning here.
_HINTS = {"nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::no_allocate", CACHE_POLICY} | PREFETCH_SIZES
_HINTS |= {
    f"{level}::evict_{how}" for level in ("L1", "L2") for how in ("last", "first", "normal", "unchanged")
}
_ALLOWED = _SPACES | SCOPES | ORDERS | _HINTS | {"v2", "v4", "mmio"}


def space_of(instruction: Instruction, flags: set[str]) -> str:
    """Return the space that the flags name; ``generic`` if they name none."""
    spaces = [flag.partition("::")[0] for flag in flags & _SPACES]
    if len(spaces) > 1:
        raise instruction.error("two state spaces")
    return spaces[0] if spaces else "generic"


def address_of(
    low: Lowering, instruction: Instruction, operand: Operand, space: str
) -> tuple[Value, int, str]:
    """Return value and offset of an address, and its space if the operand settles it."""
    if not isinstance(operand, Address):
        raise instruction.error("an address in brackets is expected")
    base = operand.base
    if isinstance(base, Register):
        if base.type.bits not in (32, 64) or base.type.kind in "fh" or base.negated:
            raise instruction.error("an address must be a 32-bit or 64-bit register")
        value = low.read(base.name, base.type.value_type)
        if base.type.bits == 32:
            if space not in ("shared", "local", "const"):
                raise instruction.error("a 32-bit register addresses .shared, .local or .const only")
            # Registers hold 32 bits of an address that an offset may bring back: [%r+72] with %r = -68.
            value = low.cast("sext", "i64", value)
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
    (kind,), flags = low.split(instruction, _ALLOWED, 1)
    target, source = without_policy(low, instruction, flags, 2)
    if kind.kind in "ph" or flags & {"release", "acq_rel", "wb", "wt"}:
        raise instruction.error("this form of ld is not supported")
    address, offset, space = address_of(low, instruction, source, space_of(instruction, flags))
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
    (kind,), flags = low.split(instruction, _ALLOWED, 1)
    target, source = without_policy(low, instruction, flags, 2)
    if kind.kind in "ph" or flags & ({"acquire", "acq_rel", "nc", "ca", "lu", "cv"} | PREFETCH_SIZES):
        raise instruction.error("this form of st is not supported")
    address, offset, space = address_of(low, instruction, target, space_of(instruction, flags))
    if space in ("const", "param"):
        raise instruction.error(f".{space} memory is read-only")
    if "release" in flags:
        low.op("fence", "")
    for index, member in enumerate(_members(instruction, source, flags)):
        access = _access(instruction, space, kind, offset + index * kind.size, flags)
        value = low.value(instruction, member, kind, wider=True)
        low.op("store", "", address, value, attr=access)


def without_policy(low: Lowering, instruction: Instruction, flags: set[str], count: int) -> list[Operand]:
    """Return `count` operands; the one more that ``.L2::cache_hint`` brings means nothing here."""
    if CACHE_POLICY not in flags:
        return low.operands(instruction, count)
    *operands, policy = low.operands(instruction, count + 1)
    low.value(instruction, policy, SCALAR_TYPES["b64"])
    return operands


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {"ld": load, "ldu": load, "st": store}
