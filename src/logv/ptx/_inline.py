"""Puts a copy of each function in the place of its calls, so that an entry is one list of statements."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from logv.ptx._source import Code, Declaration, EntrySource, Formal, FunctionSource, Source
from logv.ptx._syntax import Address, Group, Immediate, Instruction, Label, Operand, Register, Symbol

# Bounds what all copies of functions in a module add up to: calls of calls grow exponentially.
MAX_INLINED = 100_000
# Their operands name labels and branch tables, which a variable's name cannot hide.
BRANCHES = {"bra", "brx"}
# What a failed assert() calls; it does not come back.
_ASSERT = "__assertfail"

# In the names of a copy's registers, labels and variables; no name in a text has it.
COPY_MARK = "/"


@dataclass(slots=True)
class Frame:
    """The variables of one copy of a function, or of the entry.

    Attributes
    ----------
    caller : int
        Number of the caller's frame; -1 of the entry.
    variables : list of Declaration
        ``.local`` and ``.param`` ones, renamed.
    """

    caller: int
    variables: list[Declaration] = field(default_factory=list)


@dataclass(slots=True)
class Flat:
    """An entry without calls.

    Attributes
    ----------
    statements, branch_tables
        As in :class:`logv.ptx._syntax.Body`, but for ``.param`` variables and those of the module.
    frames : list of Frame
        Callers before what they call; the entry's first.
    shared : dict of str to Declaration
        Shared variables that functions and the entry declare.
    passed : list of (str, str, Instruction)
        Pairs of ``.param`` variables that are one: a caller's, and the parameter of the function; and
        the call.
    """

    statements: list[Instruction | Label] = field(default_factory=list)
    branch_tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    shared: dict[str, Declaration] = field(default_factory=dict)
    passed: list[tuple[str, str, Instruction]] = field(default_factory=list)

    def symbols(self) -> set[str]:
        """Return the names that instructions use for what is no register or label."""
        found: set[str] = set()
        for statement in self.statements:
            if isinstance(statement, Instruction) and statement.opcode not in BRANCHES:
                for operand in statement.operands:
                    found.update(symbols_of(operand))
        return found


class _Copy:
    """One copy of a function while its statements are taken over; ``suffix`` is empty for the entry."""

    def __init__(self, name: str, code: Code, suffix: str, frame: int, formals: tuple[Formal, ...]) -> None:
        self.name = name
        self.suffix = suffix
        self.frame = frame
        self.formals = formals
        self.statements: Iterator[Instruction | Label] = iter(code.statements)
        self.at_end: list[Instruction | Label] = []
        self._variables = {formal.name: formal.name + suffix for formal in formals}
        for variable in code.variables.values():
            # A shared variable is one for all copies.
            own = f"{variable.name}/{name}" if variable.space == "shared" else variable.name + suffix
            self._variables[variable.name] = own if suffix else variable.name
        self._registers: dict[tuple[str, bool], Register] = {}

    def variable(self, name: str) -> str:
        """Return what a variable is called from now on; names that are not the function's stay."""
        return self._variables.get(name, name)

    def register(self, register: Register) -> Register:
        """Return the copy's own register."""
        key = register.name, register.negated
        found = self._registers.get(key)
        if found is None:
            found = self._registers[key] = replace(register, name=register.name + self.suffix)
        return found

    def operand(self, operand: Operand) -> Operand:
        """Return an operand of the copy."""
        if isinstance(operand, Register):
            return self.register(operand)
        if isinstance(operand, Symbol):
            return Symbol(self.variable(operand.name))
        if isinstance(operand, Address):
            base = self.operand(operand.base)
            assert isinstance(base, Register | Symbol | Immediate)
            return Address(base, operand.offset)
        if isinstance(operand, Group):
            return Group(tuple(self.operand(member) for member in operand.members), operand.separator)
        return operand

    def instruction(self, instruction: Instruction) -> Instruction:
        """Return an instruction of the copy."""
        if not self.suffix:
            return instruction
        guard = None if instruction.guard is None else self.register(instruction.guard)
        if instruction.opcode in BRANCHES:
            operands: list[Operand] = [
                Symbol(operand.name + self.suffix) if isinstance(operand, Symbol) else self.operand(operand)
                for operand in instruction.operands
            ]
        else:
            operands = [self.operand(operand) for operand in instruction.operands]
        return replace(instruction, operands=operands, guard=guard)


class Inliner:
    """Inlines calls in the entries of a module.

    A copy of a function ends at a label; a ``ret`` in it becomes a branch there, so that all threads
    that return meet again. A call with a guard becomes a branch around the copy.

    Parameters
    ----------
    source : Source
    """

    def __init__(self, source: Source) -> None:
        self._functions = source.functions
        self._variables = source.variables
        self._hidden: set[str] = set()
        self._left = MAX_INLINED
        self._flat = Flat()
        self._stack: list[_Copy] = []
        self._active: set[str] = set()

    def flatten(self, entry: EntrySource) -> Flat:
        """Return an entry without calls.

        Raises
        ------
        PtxError
            A call of what is no function of the module, recursion, or too much to inline.
        """
        flat = self._flat = Flat()
        self._active = set()
        self._stack = []
        names = [*entry.code.variables, *(parameter.name for parameter in entry.parameters)]
        self._hidden = {name for name in names if name in self._variables}
        self._enter(_Copy("", entry.code, "", 0, ()), entry.code, -1)
        while self._stack:
            copy = self._stack[-1]
            for statement in copy.statements:
                if isinstance(statement, Label):
                    own = Label(statement.name + copy.suffix, statement.line) if copy.suffix else statement
                    flat.statements.append(own)
                elif statement.opcode == "call":
                    self._call(copy, statement)
                    break
                elif statement.opcode == "ret" and copy.suffix:
                    guard = None if statement.guard is None else copy.register(statement.guard)
                    flat.statements.append(
                        replace(statement, opcode="bra", operands=[Symbol(copy.suffix)], guard=guard)
                    )
                else:
                    flat.statements.append(copy.instruction(statement))
            else:
                self._stack.pop()
                self._active.discard(copy.name)
                flat.statements += copy.at_end
        return flat

    def _enter(self, copy: _Copy, code: Code, caller: int) -> None:
        """Begin a copy: give its variables and branch tables their names."""
        flat, suffix = self._flat, copy.suffix
        frame = Frame(caller)
        for formal in copy.formals:
            if formal.register is None:
                frame.variables.append(
                    Declaration(formal.name + suffix, "param", formal.size, formal.align, None, (), "", 0)
                )
        for variable in code.variables.values():
            own = replace(variable, name=copy.variable(variable.name))
            if variable.space == "shared":
                flat.shared[own.name] = own
            else:
                frame.variables.append(own)
        for name, targets in code.branch_tables.items():
            flat.branch_tables[name + suffix] = tuple(target + suffix for target in targets)
        flat.frames.append(frame)
        self._stack.append(copy)
        self._active.add(copy.name)

    def _call(self, caller: _Copy, call: Instruction) -> None:
        flat = self._flat
        results, name, arguments = self._parts(call)
        guard = None if call.guard is None else caller.register(call.guard)
        if name == _ASSERT:
            flat.statements.append(replace(call, opcode="trap", modifiers=(), operands=[], guard=guard))
            return
        function = self._callee(call, name, results, arguments)
        code = function.code
        assert code is not None
        formals = (*function.returns, *function.parameters)
        self._left -= 1 + len(code.statements) + len(code.variables) + len(formals)
        self._left -= sum(map(len, code.branch_tables.values()))
        if self._left < 0:
            raise call.error(f"inlining all calls makes more than {MAX_INLINED} instructions")
        if self._hidden:
            self._check_hidden(call, function, code)
        suffix = f"{COPY_MARK}{len(flat.frames)}"
        copy = _Copy(name, code, suffix, len(flat.frames), formals)
        if guard is not None:
            around = replace(guard, negated=not guard.negated)
            flat.statements.append(
                replace(call, opcode="bra", modifiers=(), operands=[Symbol("/" + suffix)], guard=around)
            )
        copy.at_end.append(Label(suffix, call.line))
        for formal, actual in zip(function.parameters, arguments, strict=True):
            self._pass(call, caller, copy, formal, actual, flat.statements, into=True)
        for formal, actual in zip(function.returns, results, strict=True):
            self._pass(call, caller, copy, formal, actual, copy.at_end, into=False)
        if guard is not None:
            copy.at_end.append(Label("/" + suffix, call.line))
        self._enter(copy, code, caller.frame)

    def _check_hidden(self, call: Instruction, function: FunctionSource, code: Code) -> None:
        """Refuse a function that uses a variable of the module whose name the entry gives to its own."""
        formals = {formal.name for formal in (*function.returns, *function.parameters)}
        for statement in code.statements:
            if isinstance(statement, Instruction) and statement.opcode not in {*BRANCHES, "call"}:
                for name in (name for operand in statement.operands for name in symbols_of(operand)):
                    if name in self._hidden and name not in code.variables and name not in formals:
                        raise call.error(
                            f"{function.name} uses the module's {name}, and the entry has a {name} of its "
                            "own: rename one"
                        )

    @staticmethod
    def _parts(call: Instruction) -> tuple[tuple[Operand, ...], str, tuple[Operand, ...]]:
        """Split ``call (results), name, (arguments)``."""
        operands = list(call.operands)
        results: tuple[Operand, ...] = ()
        arguments: tuple[Operand, ...] = ()
        if call.modifiers not in ((), ("uni",)):
            raise call.error(f"call.{'.'.join(call.modifiers)} is not supported")
        if operands and isinstance(operands[0], Group) and operands[0].separator == "()":
            results = operands[0].members
            del operands[0]
        if not operands or not isinstance(operands[0], Symbol):
            raise call.error(
                "calls through a register are not supported: a call must name its function "
                "(no function pointers, no virtual functions)"
            )
        name = operands[0].name
        if len(operands) > 1 and isinstance(operands[1], Group) and operands[1].separator == "()":
            arguments = operands[1].members
            del operands[1]
        if len(operands) > 1:
            raise call.error("call (results), function, (arguments) is expected")
        return results, name, arguments

    def _callee(
        self, call: Instruction, name: str, results: tuple[Operand, ...], arguments: tuple[Operand, ...]
    ) -> FunctionSource:
        function = self._functions.get(name)
        if function is None:
            raise call.error(f"there is no function {name}")
        if function.code is None:
            raise call.error(
                f"{name} is only declared: neither functions that the CUDA driver brings (printf, malloc) "
                "nor those of another module can be called"
            )
        if name in self._active:
            raise call.error(f"recursion is not supported: {name} calls itself, or what calls it")
        if (len(function.returns), len(function.parameters)) != (len(results), len(arguments)):
            raise call.error(
                f"{name} takes {len(function.parameters)} arguments and returns {len(function.returns)} "
                f"values, not {len(arguments)} and {len(results)}"
            )
        return function

    def _pass(
        self,
        call: Instruction,
        caller: _Copy,
        copy: _Copy,
        formal: Formal,
        actual: Operand,
        statements: list[Instruction | Label],
        *,
        into: bool,
    ) -> None:
        """Pass an argument into a copy or a result out of it: a register is moved, a variable shared."""
        if formal.register is not None:
            inner: Operand = copy.register(formal.register)
            outer = caller.operand(actual)
            if not isinstance(outer, Register | Immediate):
                raise call.error(f"parameter {formal.name} of {copy.name} takes a register or a number")
            statements.append(
                Instruction(
                    call.line,
                    call.text,
                    "mov",
                    (formal.register.type.name,),
                    [inner, outer] if into else [outer, inner],
                )
            )
        elif isinstance(actual, Symbol) and (actual.name != "_" or into):
            self._flat.passed.append((caller.variable(actual.name), formal.name + copy.suffix, call))
        elif not isinstance(actual, Symbol):
            raise call.error(f"parameter {formal.name} of {copy.name} takes a .param variable")


def symbols_of(operand: Operand) -> Iterator[str]:
    """Yield the names in an operand that are no registers."""
    if isinstance(operand, Symbol):
        yield operand.name
    elif isinstance(operand, Address) and isinstance(operand.base, Symbol):
        yield operand.base.name
    elif isinstance(operand, Group):
        for member in operand.members:
            yield from symbols_of(member)
