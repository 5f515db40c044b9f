"""Gives the variables of a module their places: compiled into kernels, or in memory of the loader's."""

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from logv.errors import PtxError
from logv.ptx._declarations import MAX_DATA_BYTES, align_up
from logv.ptx._inline import BRANCHES, Flat
from logv.ptx._source import Declaration
from logv.ptx._syntax import Address, Immediate, Instruction, Label, Operand, Register, Symbol, Variable
from logv.ptx._tables import join_spaces, table_registers
from logv.ptx._types import SCALAR_TYPES
from logv.ptx.module import Data, DataSymbol, Relocation

MAX_CONSTANT_BYTES = 65536
_BASE = Register("/data", SCALAR_TYPES["b64"])
# Names that C reserves for the compiler or cannot spell. No program can ask for such a variable, so
# nobody but the kernels can write it.
_RESERVED = ("__", "$")
_SPACES = {"global", "const", "shared", "local", "param"}
_READ = {"ld", "ldu", "cvta", "isspacep"}
_MEMORY = {"ld", "ldu", "st", "atom", "red", "prefetch", "prefetchu", "cp"}


class ModuleVariables:
    """Decides where each variable of a module lies.

    A table that the compiler's library brings, and that kernels only load from, is compiled into the
    kernels: LLVM then knows the contents. Everything else lies in the module's data. If a ``.const``
    variable does, all of them do, and ``.const`` means ``.global`` throughout.

    Parameters
    ----------
    variables : dict of str to Declaration
        Of the module.
    entries : iterable of Flat
        All of its entries.

    Attributes
    ----------
    constants : bytes
    tables : dict of str to Variable
        Where the compiled-in tables lie in `constants`.
    data : Data
    const_is_global : bool

    Raises
    ------
    PtxError
        More data than can be.
    """

    def __init__(self, variables: dict[str, Declaration], entries: Iterable[Flat]) -> None:
        self._variables = {
            name: variable for name, variable in variables.items() if variable.space in ("global", "const")
        }
        self._unusable: dict[str, str] = {}
        tables, unused = self._tables(list(entries))
        constants = bytearray()
        self.tables: dict[str, Variable] = {}
        for name in tables:
            variable = self._variables[name]
            constants += bytes(align_up(len(constants), variable.align) - len(constants))
            self.tables[name] = Variable(name, "const", len(constants), variable.size)
            constants += (variable.values or b"").ljust(variable.size, b"\0")
        self.constants = bytes(constants)
        elsewhere = {*tables, *unused}
        self.data = self._place([each for each in self._variables.values() if each.name not in elsewhere])
        self.const_is_global = any(symbol.space == "const" for symbol in self.data.symbols.values())

    def _tables(self, entries: list[Flat]) -> tuple[list[str], list[str]]:
        """Return the variables to compile in, and those that need no place at all."""
        referred = {each.name for variable in self._variables.values() for each in variable.references}
        reserved = {
            name
            for name, variable in self._variables.items()
            if name.startswith(_RESERVED)
            and variable.values is not None
            and not variable.references
            and not variable.linkage
            and name not in referred
        }
        if any(v.space == "const" and v.name not in reserved for v in self._variables.values()):
            reserved = {name for name in reserved if self._variables[name].space == "global"}
        used = {name for flat in entries for name in flat.symbols()}
        tables = [name for name in self._variables if name in reserved and name in used]
        total = sum(self._variables[name].size + self._variables[name].align for name in tables)
        unused = [name for name in reserved if name not in used]
        if total > MAX_CONSTANT_BYTES:
            return [], unused
        names = frozenset(tables)
        found = [table_registers(flat.statements, names) for flat in entries]
        if None in found:
            return [], unused
        for flat, registers in zip(entries, found, strict=True):
            if registers:
                join_spaces(flat.statements, registers)
        return tables, unused

    def _place(self, variables: list[Declaration]) -> Data:
        size, align = 0, 1
        pieces: list[tuple[int, bytes]] = []
        symbols: dict[str, DataSymbol] = {}
        for variable in variables:
            if variable.linkage == "extern":
                self._unusable[variable.name] = f"{variable.name} is only declared: another module defines it"
                continue
            size = align_up(size, variable.align)
            align = max(align, variable.align)
            symbols[variable.name] = DataSymbol(size, variable.size, variable.space)
            if variable.values:
                pieces.append((size, variable.values))
            size += variable.size
            if size > MAX_DATA_BYTES:
                raise PtxError(f"more than {MAX_DATA_BYTES} bytes of module variables", line=variable.line)
        relocations: list[Relocation] = []
        for variable in variables:
            for each in variable.references:
                target = symbols.get(each.name)
                if target is None:
                    self._unusable[variable.name] = (
                        f"{variable.name} holds the address of {each.name}, which is no .global or .const "
                        "variable of this module"
                    )
                    break
                relocations.append(
                    Relocation(
                        symbols[variable.name].offset + each.offset,
                        each.size,
                        each.shift,
                        target.offset + each.addend,
                    )
                )
        return Data(size, align, tuple(pieces), tuple(relocations), MappingProxyType(symbols))

    def reach(self, flat: Flat, own: set[str], data_offset: int) -> bool:
        """Let an entry reach the module's data by its address; return whether it needs it.

        Parameters
        ----------
        flat : Flat
            Is changed: it loads the address into a register first of all, and adds offsets to it.
        own : set of str
            Names that the entry gives to something else.
        data_offset : int
            Of the address in the parameter block.

        Raises
        ------
        PtxError
            A variable that cannot be used.
        """
        if not self._variables:
            return False
        rewriter = _Rewriter(self, own)
        statements: list[Instruction | Label] = []
        for statement in flat.statements:
            if isinstance(statement, Label) or statement.opcode in BRANCHES:
                statements.append(statement)
            else:
                statements += rewriter.rewrite(statement)
        if rewriter.needed:
            statements.insert(
                0,
                Instruction(0, "", "ld", ("param", "u64"), [_BASE, Address(Immediate(data_offset), 0)]),
            )
        flat.statements = statements
        return rewriter.needed

    def find(self, instruction: Instruction, name: str) -> DataSymbol | None:
        """Return where a variable lies in the data; None for what is none of it."""
        if name in self._unusable:
            raise instruction.error(self._unusable[name])
        return self.data.symbols.get(name)


class _Rewriter:
    """Replaces variables of the module's data by addresses in the statements of one entry."""

    def __init__(self, variables: ModuleVariables, own: set[str]) -> None:
        self._variables = variables
        self._own = own
        self._temporaries = 0
        self.needed = False

    def rewrite(self, instruction: Instruction) -> list[Instruction]:
        """Return what an instruction becomes."""
        before: list[Instruction] = []
        operands = [self._operand(instruction, operand, before) for operand in instruction.operands]
        modifiers = instruction.modifiers
        if self._variables.const_is_global and "const" in modifiers and instruction.opcode in _READ:
            modifiers = tuple("global" if word == "const" else word for word in modifiers)
        if operands == instruction.operands and modifiers is instruction.modifiers:
            return [instruction]
        return [*before, replace(instruction, operands=operands, modifiers=modifiers)]

    def _operand(self, instruction: Instruction, operand: Operand, before: list[Instruction]) -> Operand:
        base = operand.base if isinstance(operand, Address) else operand
        if not isinstance(base, Symbol) or base.name in self._own:
            return operand
        found = self._variables.find(instruction, base.name)
        if found is None:
            return operand
        self.needed = True
        offset = found.offset + (operand.offset if isinstance(operand, Address) else 0)
        if isinstance(operand, Address) and instruction.opcode in _MEMORY:
            for word in instruction.modifiers:
                if word.partition("::")[0] in _SPACES and word != found.space:
                    raise instruction.error(f"{base.name} is not in .{word} memory")
            return Address(_BASE, offset)
        self._temporaries += 1
        address = Register(f"/address{self._temporaries}", _BASE.type)
        before.append(
            Instruction(
                instruction.line, instruction.text, "add", ("u64",), [address, _BASE, Immediate(offset)]
            )
        )
        return address
