"""PTX text to syntax: directives, register scopes and statements of each entry and function."""

from dataclasses import replace

from logv.errors import PtxError
from logv.ptx._declarations import SPACES, DeclarationParser
from logv.ptx._refusals import reason_to_refuse
from logv.ptx._source import Code, EntrySource, Formal, FunctionSource, Source
from logv.ptx._syntax import Address, Group, Immediate, Instruction, Label, Operand, Register, Symbol
from logv.ptx._types import ScalarType

# Each bounds what hostile text can make the compiler store or walk.
MAX_INSTRUCTIONS = 200_000
MAX_REGISTERS = 200_000
MAX_SCOPE_DEPTH = 64
MAX_ENTRIES = 1024

_LINKAGE = {".visible", ".extern", ".weak", ".common"}
_SKIPPED_STATEMENTS = {".version", ".target", ".address_size", ".file", ".loc", ".pragma", ".alias"}
_TUNING = {".maxntid", ".reqntid", ".minnctapersm", ".maxnctapersm", ".maxnreg", ".noreturn"}


class _Scope:
    """Names of registers, variables and labels; PTX lets an inner ``{}`` hide the outer one's."""

    def __init__(self) -> None:
        self.registers: dict[str, Register] = {}
        self.ranges: dict[str, tuple[ScalarType, int, str]] = {}
        self.variables: dict[str, str] = {}
        self.labels: dict[str, str] = {}


class Parser(DeclarationParser):
    """Recursive-descent parser without the recursion: PTX nests only in ``{}``, which is a stack here.

    Parameters
    ----------
    text : str
        PTX.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._source = Source()
        self._count = 0
        self._registers = 0

    # -- module -------------------------------------------------------------------------------------

    def parse(self) -> Source:
        """Parse the whole text."""
        source = self._source
        linkage = ""
        while self.peek().kind != "end":
            token = self.peek()
            self.statement_begin = token.position
            if token.text in _LINKAGE:
                linkage = self.take().text[1:]
                continue
            if token.text == ";":
                self.take()
            elif token.text == ".entry":
                entry = self._entry()
                if entry.name in source.entries:
                    raise self.error(f"entry {entry.name} is defined twice")
                if len(source.entries) >= MAX_ENTRIES:
                    raise self.error(f"more than {MAX_ENTRIES} entries")
                source.entries[entry.name] = entry
            elif token.text == ".func":
                self._function()
            elif token.text in SPACES:
                for variable in self.variables(linkage):
                    known = source.variables.get(variable.name)
                    if known is not None and "extern" not in (known.linkage, linkage):
                        raise self.error(f"{variable.name} is declared twice")
                    if known is None or linkage != "extern":
                        source.variables[variable.name] = variable
            elif token.text == ".section":
                self._section()
            elif token.text in _SKIPPED_STATEMENTS:
                self._directive(token.text)
            else:
                self.take()
                raise self.error(f"unexpected {token.text!r} at module level")
            linkage = ""
        if not source.version:
            self.statement_begin = 0
            raise PtxError("this is not PTX: the .version directive is missing", line=1)
        return source

    def _directive(self, name: str) -> None:
        words = self._skip_line()
        if name == ".version":
            self._source.version = words
        elif name == ".target":
            self._source.target = words
        elif name == ".address_size" and words != "64":
            raise self.error("only .address_size 64 is supported")

    def _skip_line(self) -> str:
        first = self.take()
        line = self.lexer.line(first.position)
        words = []
        while self.peek().kind != "end" and self.lexer.line(self.peek().position) == line:
            if (word := self.take().text) != ";":
                words.append(word)
        return "".join(words)

    def _section(self) -> None:
        while self.peek().kind != "end" and self.peek().text != "{":
            self.take()
        self.expect("{")
        while self.peek().kind != "end" and self.peek().text != "}":
            self.take()
        self.expect("}")

    # -- entries ------------------------------------------------------------------------------------

    def _entry(self) -> EntrySource:
        self.expect(".entry")
        name = self.name("the entry's name")
        parameters, parameter_bytes = self.parameters() if self.peek().text == "(" else ((), 0)
        max_threads: int | None = None
        required: tuple[int, int, int] | None = None
        while self.peek().text in _TUNING:
            directive = self.take().text
            if directive == ".noreturn":
                continue
            numbers = [self.integer()]
            while self.accept(","):
                numbers.append(self.integer())
            if directive in (".maxntid", ".reqntid") and (len(numbers) > 3 or min(numbers) < 1):
                raise self.error("block dimensions must be one to three positive numbers")
            if directive == ".maxntid":
                max_threads = 1
                for number in numbers:
                    max_threads *= number
            elif directive == ".reqntid":
                x, y, z = [*numbers, 1, 1][:3]
                required = (x, y, z)
        code = self._code({parameter.name for parameter in parameters})
        return EntrySource(name, parameters, parameter_bytes, max_threads, required, code)

    def _function(self) -> None:
        """Parse a function, or its declaration ahead of it."""
        self.expect(".func")
        returns = self.formals() if self.peek().text == "(" else ()
        name = self.name("the function's name")
        parameters = self.formals() if self.peek().text == "(" else ()
        while self.peek().text in _TUNING:
            if self.take().text != ".noreturn":
                self.integer()
        known = self._source.functions.get(name)
        code = None
        if not self.accept(";"):
            if known is not None and known.code is not None:
                raise self.error(f"function {name} is defined twice")
            code = self._code({formal.name for formal in (*returns, *parameters)}, (*returns, *parameters))
        if known is None or code is not None:
            self._source.functions[name] = FunctionSource(name, returns, parameters, code)

    def _code(self, names: set[str], formals: tuple[Formal, ...] = ()) -> Code:
        """Parse what stands between braces; `names` are taken by parameters."""
        begin = self.expect("{")
        code = Code()
        scopes = [_Scope()]
        for formal in formals:
            if formal.register is not None:
                scopes[0].registers[formal.name] = formal.register
        unresolved: list[tuple[Instruction, list[_Scope]]] = []
        tables: list[tuple[str, list[_Scope]]] = []
        while scopes:
            token = self.peek()
            self.statement_begin = token.position
            if token.kind == "end":
                self.statement_begin = begin.position
                raise self.error("the body is not closed: a '}' is missing")
            if self.accept("{"):
                scopes.append(_Scope())
                if len(scopes) > MAX_SCOPE_DEPTH:
                    raise self.error(f"scopes nest deeper than {MAX_SCOPE_DEPTH}")
            elif self.accept("}"):
                scopes.pop()
            elif self.accept(";"):
                continue
            elif token.text == ".reg":
                self._register_declaration(scopes)
            elif token.text in (".loc", ".file", ".pragma"):
                self._skip_line()
            elif token.text in SPACES:
                self._own_variables(code, scopes, names)
            elif token.kind == "name" and self.peek(1).text == ":":
                table = self._label(code, scopes)
                if table:
                    tables.append((table, list(scopes)))
            else:
                self._count += 1
                if self._count > MAX_INSTRUCTIONS:
                    raise self.error(f"more than {MAX_INSTRUCTIONS} instructions")
                instruction = self._instruction(scopes)
                code.statements.append(instruction)
                unresolved.append((instruction, list(scopes)))
        for instruction, visible in unresolved:
            instruction.operands = [_resolve_label(operand, visible) for operand in instruction.operands]
        for name, visible in tables:
            targets = (_resolve_label(Symbol(target), visible) for target in code.branch_tables[name])
            code.branch_tables[name] = tuple(each.name for each in targets if isinstance(each, Symbol))
        return code

    def _own_variables(self, code: Code, scopes: list[_Scope], parameters: set[str]) -> None:
        space = self.peek().text
        for variable in self.variables(""):
            if variable.name in scopes[-1].variables:
                raise self.error(f"{variable.name} is declared twice")
            if variable.name in parameters:
                raise self.error(f"{variable.name} is both a parameter and a variable")
            if space in (".const", ".global"):
                raise self.error(f"variables in {space} memory are declared at module level")
            self._count += 1
            unique = variable.name
            if unique in code.variables:
                unique = f"{variable.name}@{self._count}"
            scopes[-1].variables[variable.name] = unique
            code.variables[unique] = replace(variable, name=unique)

    def _label(self, code: Code, scopes: list[_Scope]) -> str:
        """Parse a label, or a table or prototype with a name; returns the name of a branch table."""
        token = self.take()
        self.expect(":")
        if self.accept(".branchtargets"):
            targets = [self.name("a label")]
            while self.accept(","):
                targets.append(self.name("a label"))
            self.expect(";")
            code.branch_tables[token.text] = tuple(targets)
            return token.text
        if self.peek().text in (".callprototype", ".calltargets"):
            # For calls through registers, which are refused where they stand.
            while self.peek().kind != "end" and not self.accept(";"):
                self.take()
            return ""
        if token.text in scopes[-1].labels:
            raise self.error(f"label {token.text} is defined twice")
        self._count += 1
        unique = token.text if len(scopes) == 1 else f"{token.text}@{self._count}"
        scopes[-1].labels[token.text] = unique
        code.statements.append(Label(unique, self.lexer.line(token.position)))
        return ""

    def _register_declaration(self, scopes: list[_Scope]) -> None:
        self.expect(".reg")
        kind = self.scalar_type()
        scope = scopes[-1]
        # Registers of inner scopes get a name of their own, so that the rest of the compiler sees one
        # flat name space.
        suffix = "" if len(scopes) == 1 else f"@{self.position}"
        while True:
            name = self.name("a register name")
            if name in scope.registers or name in scope.ranges:
                raise self.error(f"register {name} is declared twice")
            if self.accept("<"):
                count = self.integer()
                self.expect(">")
                if not 0 < count <= MAX_REGISTERS:
                    raise self.error(f"more than {MAX_REGISTERS} registers")
                self._registers += count
                scope.ranges[name] = (kind, count, suffix)
            else:
                self._registers += 1
                scope.registers[name] = Register(name + suffix, kind)
            if not self.accept(","):
                break
        self.expect(";")

    # -- instructions -------------------------------------------------------------------------------

    def _instruction(self, scopes: list[_Scope]) -> Instruction:
        begin = self.peek()
        guard = None
        if self.accept("@"):
            negated = self.accept("!")
            register = self._register(self.name("a predicate"), scopes)
            if register is None or register.type.kind != "p":
                raise self.error("a guard must be a predicate register")
            guard = Register(register.name, register.type, negated)
        opcode, *modifiers = self.name("an instruction").split(".")
        # Before the operands, some of which have forms that nothing else has.
        if (reason := reason_to_refuse(opcode, modifiers)) is not None:
            raise self.error(reason)
        operands: list[Operand] = []
        if self.peek().text != ";":
            operands.append(self._operand(scopes))
            while self.accept(","):
                operands.append(self._operand(scopes))
        end = self.expect(";")
        return Instruction(
            self.lexer.line(begin.position),
            self.lexer.excerpt(begin.position, end.position + 1),
            opcode,
            tuple(modifiers),
            operands,
            guard,
        )

    def _operand(self, scopes: list[_Scope]) -> Operand:
        if self.accept("["):
            return self._address(scopes)
        if self.accept("{"):
            members = [self._simple_operand(scopes)]
            while self.accept(","):
                members.append(self._simple_operand(scopes))
            self.expect("}")
            return Group(tuple(members))
        if self.accept("("):
            arguments: list[Operand] = []
            while not self.accept(")"):
                if arguments:
                    self.expect(",")
                arguments.append(self._simple_operand(scopes))
            return Group(tuple(arguments), "()")
        operand = self._simple_operand(scopes)
        if self.accept("|"):
            return Group((operand, self._simple_operand(scopes)), "|")
        return operand

    def _simple_operand(self, scopes: list[_Scope]) -> Operand:
        negated = self.accept("!")
        if self.accept("-"):
            value = self.immediate(self.take())
            sign = value.value ^ (1 << (value.float_bits - 1)) if value.float_bits else -value.value
            return Immediate(sign, value.float_bits)
        token = self.take()
        if token.kind == "number":
            return self.immediate(token)
        if token.kind != "name":
            raise self.error("expected an operand")
        register = self._register(token.text, scopes)
        if register is not None:
            return Register(register.name, register.type, True) if negated else register
        name = _variable(token.text, scopes)
        if self.accept("+"):
            # "symbol+4" is an address constant; only mov takes it.
            return Address(Symbol(name), self.integer())
        return Symbol(name)

    def _address(self, scopes: list[_Scope]) -> Address:
        base = self._simple_operand(scopes)
        offset = 0
        if isinstance(base, Address):
            offset = base.offset
            base = base.base
        while self.peek().text in ("+", "-"):
            sign = 1 if self.take().text == "+" else -1
            offset += sign * self.integer()
        self.expect("]")
        if not isinstance(base, Register | Symbol | Immediate) or not -(1 << 31) <= offset < 1 << 31:
            raise self.error("an address must be [register], [variable] or either plus a 32-bit offset")
        return Address(base, offset)

    def _register(self, name: str, scopes: list[_Scope]) -> Register | None:
        stem = name.rstrip("0123456789")
        digits = name[len(stem) :]
        for scope in reversed(scopes):
            register = scope.registers.get(name)
            if register is not None:
                return register
            found = scope.ranges.get(stem)
            if found is not None and digits and len(digits) < 8 and int(digits) < found[1]:
                register = scope.registers[name] = Register(name + found[2], found[0])
                return register
            if digits and name[:-1] != stem:
                # A range may itself end in digits: ".reg .b32 %r1<3>" declares %r10 to %r12.
                found = self._longer_range(name, scope)
                if found is not None:
                    register = scope.registers[name] = Register(name + found[2], found[0])
                    return register
        return None

    @staticmethod
    def _longer_range(name: str, scope: _Scope) -> tuple[ScalarType, int, str] | None:
        for cut in range(max(1, len(name) - 7), len(name)):
            found = scope.ranges.get(name[:cut])
            if found is not None and name[cut:].isdigit() and int(name[cut:]) < found[1]:
                return found
        return None


def _variable(name: str, scopes: list[_Scope]) -> str:
    """Return the unique name of a variable; what is no variable keeps its name."""
    for scope in reversed(scopes):
        if name in scope.variables:
            return scope.variables[name]
    return name


def _resolve_label(operand: Operand, scopes: list[_Scope]) -> Operand:
    if isinstance(operand, Symbol):
        for scope in reversed(scopes):
            if operand.name in scope.labels:
                return Symbol(scope.labels[operand.name])
    return operand
