"""Finds out which variables are tables: only ever loaded from, so that kernels can have them compiled in."""

from collections.abc import Iterable
from dataclasses import replace

from logv.ptx._inline import symbols_of
from logv.ptx._syntax import Address, Group, Instruction, Label, Register

# What may be done with a table's address on its way to a load. The compiler follows it through these.
_DERIVE = {"mov", "add", "cvta"}


def table_registers(statements: Iterable[Instruction | Label], tables: frozenset[str]) -> set[str] | None:
    """Return the registers that hold addresses of tables, if something is loaded there and no more.

    Parameters
    ----------
    statements : iterable of Instruction or Label
        Of an entry, with calls inlined.
    tables : frozenset of str
        Names of variables.

    Returns
    -------
    set of str or None
        Each of the registers is only ever written from a table's address. None if something else happens
        to one.
    """
    users: dict[str, list[Instruction]] = {}
    writers: dict[str, list[Instruction]] = {}
    pending: list[Instruction] = []
    for statement in statements:
        if isinstance(statement, Label):
            continue
        names = {name for operand in statement.operands for name in symbols_of(operand)}
        if not names.isdisjoint(tables):
            pending.append(statement)
        for register in _sources(statement):
            users.setdefault(register, []).append(statement)
        for register in _targets(statement):
            writers.setdefault(register, []).append(statement)
    seen: set[int] = {id(statement) for statement in pending}
    addresses: set[str] = set()
    while pending:
        statement = pending.pop()
        if statement.opcode in ("ld", "ldu"):
            continue
        targets = _targets(statement)
        if statement.opcode not in _DERIVE or len(targets) != 1:
            return None
        if targets[0] not in addresses:
            addresses.add(targets[0])
            for user in users.get(targets[0], ()):
                if id(user) not in seen:
                    seen.add(id(user))
                    pending.append(user)
    # A register that holds a table's address here and another address there is followed nowhere.
    followed = all(id(writer) in seen for register in addresses for writer in writers[register])
    return addresses if followed else None


def join_spaces(statements: list[Instruction | Label], registers: set[str]) -> None:
    """Turn ``cvta`` of tables' addresses into ``mov``: compiled in, a table is no longer in ``.global``."""
    for position, statement in enumerate(statements):
        if isinstance(statement, Label) or statement.opcode != "cvta":
            continue
        if not registers.isdisjoint(_targets(statement)):
            statements[position] = replace(statement, opcode="mov", modifiers=("u64",))


def _targets(instruction: Instruction) -> list[str]:
    if not instruction.operands:
        return []
    first = instruction.operands[0]
    members = first.members if isinstance(first, Group) else (first,)
    return [member.name for member in members if isinstance(member, Register)]


def _sources(instruction: Instruction) -> list[str]:
    found = []
    for position, operand in enumerate(instruction.operands):
        members = operand.members if isinstance(operand, Group) else (operand,)
        for member in members:
            if isinstance(member, Address) and isinstance(member.base, Register):
                found.append(member.base.name)
            elif isinstance(member, Register) and position:
                found.append(member.name)
    return found
