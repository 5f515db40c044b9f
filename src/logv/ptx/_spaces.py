"""Finds the memory that a generic address means, and tables of constants behind global addresses."""

from dataclasses import replace

from logv.errors import PtxError
from logv.ptx._ir import Access, Function, Value

_THROUGH = frozenset({"add", "sub", "and", "or"})


def resolve_generic(function: Function) -> None:
    """Give every generic access its space.

    A generic address is global unless it is made from the address of a shared, local or constant
    variable. One that may be either is refused.

    Raises
    ------
    PtxError
        An access whose space cannot be told.
    """
    accesses = [
        value
        for block in function.blocks
        for value in block.ops
        if isinstance(value.attr, Access) and value.attr.space in ("generic", "global")
    ]
    if not accesses:
        return
    spaces = _propagate(function)
    for value in accesses:
        access = value.attr
        assert isinstance(access, Access)
        found = spaces.get(value.args[0], frozenset()) - {"global"}
        if access.space == "global" and found != {"const"}:
            continue
        if len(found) > 1 or (found and "global" in spaces[value.args[0]]):
            raise PtxError(
                "a generic address that may lie in more than one memory is not supported",
                line=access.line,
                instruction=access.text,
            )
        space = next(iter(found), "global")
        if space in ("const", "param") and value.op != "load":
            raise PtxError(f".{space} memory is read-only", line=access.line, instruction=access.text)
        if space == "local" and value.op == "atom":
            raise PtxError(
                "atomics on local memory are not supported", line=access.line, instruction=access.text
            )
        value.attr = replace(access, space=space)


def _propagate(function: Function) -> dict[Value, frozenset[str]]:
    """Which spaces' addresses each value may be made from."""
    users: dict[Value, list[Value]] = {}
    pending: list[Value] = []
    spaces: dict[Value, frozenset[str]] = {}
    for block in function.blocks:
        for value in (*block.phis, *block.ops):
            if value.op == "cvta":
                spaces[value] = frozenset({str(value.attr)})
                pending.append(value)
            elif value.op in _THROUGH or value.op in ("phi", "select"):
                for arg in value.args:
                    users.setdefault(arg, []).append(value)
    while pending:
        value = pending.pop()
        for user in users.get(value, ()):
            joined = spaces.get(user, frozenset()) | spaces[value]
            if joined != spaces.get(user):
                spaces[user] = joined
                pending.append(user)
    return spaces
