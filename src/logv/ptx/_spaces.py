"""Finds the memory that a generic address means, and tables of constants behind global addresses."""

from collections.abc import Iterable
from dataclasses import replace

from logv.errors import PtxError
from logv.ptx._ir import Access, Block, Function, Value

# Where the other memories stand among generic addresses: beyond everything that is global. Each window
# begins at a multiple of its size, so the lower bits of a generic address are the address within.
WINDOW_BITS = 32
WINDOWS = {
    "shared": 0x0001_0000_0000_0000,
    "local": 0x0002_0000_0000_0000,
    "const": 0x0003_0000_0000_0000,
    "param": 0x0004_0000_0000_0000,
}
_THROUGH = frozenset({"add", "sub", "and", "or"})
_MERGES = frozenset({"phi", "select"})
_READ_ONLY = frozenset({"const", "param"})
# Nobody can make a pointer from the result; of `trunc`, because the window is in the upper half.
_HARMLESS = frozenset({"icmp", "trunc"})
# Part of a merge is a pointer that came from somewhere else.
_UNKNOWN = "unknown"

_Spaces = dict[Value, frozenset[str]]


def resolve_generic(function: Function) -> None:
    """Give every generic access its space, or the spaces that are told apart when it runs.

    An address is followed back to where it was made generic. One that came through memory, or as a
    parameter, may be global or in any space whose addresses the kernel lets out of sight.

    Raises
    ------
    PtxError
        A store or atomic that can only reach read-only memory.
    """
    accesses = [
        (block, value)
        for block in function.blocks
        for value in block.ops
        if isinstance(value.attr, Access) and value.attr.space in ("generic", "global")
    ]
    if not accesses:
        return
    users = _users(function)
    spaces = _propagate(function, users)
    anywhere = frozenset({"global"}) | _escaped(spaces, users)
    for _, value in accesses:
        access = value.attr
        assert isinstance(access, Access)
        found = spaces.get(value.args[0], frozenset({_UNKNOWN}))
        if access.space == "global":
            # Only a table that lives with the constants is elsewhere.
            others = frozenset() if found == {"const"} else frozenset({"global"})
            found = found & {"const"} | others
        elif _UNKNOWN in found:
            found = found - {_UNKNOWN} | anywhere
        if value.op != "load":
            if found <= _READ_ONLY:
                space = min(found)
                raise PtxError(f".{space} memory is read-only", line=access.line, instruction=access.text)
            found -= _READ_ONLY
        if len(found) == 1:
            value.attr = replace(access, space=min(found))
            continue
        value.attr = replace(access, space="generic", candidates=tuple(sorted(found)))
    for block in {block for block, value in accesses if value.op == "atom"}:
        block.ops = _aligned(block)


def _users(function: Function) -> dict[Value, list[Value]]:
    users: dict[Value, list[Value]] = {}
    for block in function.blocks:
        for value in (*block.phis, *block.ops):
            for arg in value.args:
                users.setdefault(arg, []).append(value)
    return users


def _propagate(function: Function, users: dict[Value, list[Value]]) -> _Spaces:
    """Which spaces' addresses each value may be; values that no ``cvta`` leads to are not named."""
    values = [value for block in function.blocks for value in (*block.phis, *block.ops)]
    made = [value for value in values if value.op == "cvta"]
    spaces = {value: frozenset({str(value.attr)}) for value in made if value.attr != "global"}
    _spread(spaces, list(spaces), users)
    # A table's address stays that of a constant.
    other = {value: frozenset({"global"}) for value in made if value not in spaces}
    spaces.update(other)
    _spread(spaces, other, users)
    mixed: _Spaces = {}
    for value in values:
        if value.op in _MERGES and value in spaces:
            args = value.args[1:] if value.op == "select" else value.args
            # A null pointer is not followed.
            if any(arg not in spaces and not (arg.op == "const" and arg.attr == 0) for arg in args):
                mixed[value] = spaces[value] | {_UNKNOWN}
    spaces.update(mixed)
    _spread(spaces, mixed, users)
    return spaces


def _spread(spaces: _Spaces, begin: Iterable[Value], users: dict[Value, list[Value]]) -> None:
    pending = list(begin)
    while pending:
        value = pending.pop()
        for user in users.get(value, ()):
            if not _carries(value, user):
                continue
            joined = spaces.get(user, frozenset()) | spaces[value]
            if joined != spaces.get(user):
                spaces[user] = joined
                pending.append(user)


def _carries(value: Value, user: Value) -> bool:
    """Whether an address goes into the result of an operation on it."""
    if user.op == "select":
        return value in user.args[1:]
    if user.op == "sub":
        # The difference of two addresses is none, nor is one without its window.
        other = user.args[1]
        return value is user.args[0] and not (other.op == "const" and other.attr in WINDOWS.values())
    return user.op in _THROUGH or user.op == "phi" or (user.op == "cvta" and user.attr == "global")


def _escaped(spaces: _Spaces, users: dict[Value, list[Value]]) -> frozenset[str]:
    """Spaces of which an address goes where it is not followed: into memory, or into bits."""
    found: set[str] = set()
    for value, own in spaces.items():
        for user in users.get(value, ()):
            if user.op in ("load", "store", "atom"):
                escapes = value in user.args[1:]
            else:
                escapes = user.op not in _THROUGH | _MERGES | _HARMLESS | {"cvta"}
            if escapes:
                found |= own
                break
    return frozenset(found - {_UNKNOWN})


def _aligned(block: Block) -> list[Value]:
    """Return a block's operations, with the addresses of generic atomics aligned as the host's need them."""
    ops: list[Value] = []
    for value in block.ops:
        access = value.attr
        if value.op == "atom" and isinstance(access, Access) and access.space == "generic":
            offset = Value("const", "i64", [], access.offset % (1 << 64))
            place = Value("add", "i64", [value.args[0], offset])
            aligned = Value("and", "i64", [place, Value("const", "i64", [], (1 << 64) - access.size)])
            place.block = aligned.block = block
            ops += [place, aligned]
            value.args[0] = aligned
            value.attr = replace(access, offset=0)
        ops.append(value)
    return ops
