"""PTX text to syntax: directives, variables, register scopes and statements of each entry."""

from types import MappingProxyType

from logv.errors import PtxError
from logv.hw.software_gpu import (
    MAX_PARAMETER_BYTES,
    MAX_SCRATCH_BYTES,
    MAX_SHARED_MEMORY_PER_BLOCK,
)
from logv.ptx._refusals import reason_to_refuse
from logv.ptx._syntax import (
    Address,
    Body,
    Group,
    Immediate,
    Instruction,
    Label,
    Operand,
    Register,
    Symbol,
    Variable,
)
from logv.ptx._tokens import TokenStream, float_bits
from logv.ptx._types import SCALAR_TYPES, ScalarType
from logv.ptx.module import Entry, Module, Parameter

# Each bounds what hostile text can make the compiler store or walk.
MAX_INSTRUCTIONS = 200_000
MAX_REGISTERS = 200_000
MAX_SCOPE_DEPTH = 64
MAX_CONSTANT_BYTES = 65536
MAX_ENTRIES = 1024

_LINKAGE = {".visible", ".extern", ".weak", ".common"}
_SPACES = {".shared", ".const", ".global", ".local", ".param"}
_SKIPPED_STATEMENTS = {".version", ".target", ".address_size", ".file", ".loc", ".pragma", ".alias"}
_TUNING = {".maxntid", ".reqntid", ".minnctapersm", ".maxnctapersm", ".maxnreg", ".noreturn"}


def _align_up(value: int, align: int) -> int:
    return -(-value // align) * align


class _Scope:
    """Names of registers and labels; PTX lets an inner ``{}`` hide the outer one's."""

    def __init__(self) -> None:
        self.registers: dict[str, Register] = {}
        self.ranges: dict[str, tuple[ScalarType, int, str]] = {}
        self.labels: dict[str, str] = {}


class Parser(TokenStream):
    """Recursive-descent parser without the recursion: PTX nests only in ``{}``, which is a stack here.

    Parameters
    ----------
    text : str
        PTX.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._constants = bytearray()
        self._module_variables: dict[str, Variable] = {}
        self._shared_bytes = 0
        self._count = 0
        self._registers = 0

    # -- module -------------------------------------------------------------------------------------

    def parse(self) -> Module:
        """Parse the whole text."""
        entries: dict[str, Entry] = {}
        version = target = ""
        while self.peek().kind != "end":
            token = self.peek()
            self.statement_begin = token.position
            if token.text in _LINKAGE or token.text == ";":
                self.take()
            elif token.text == ".entry":
                entry = self._entry()
                if entry.name in entries:
                    raise self.error(f"entry {entry.name} is defined twice")
                if len(entries) >= MAX_ENTRIES:
                    raise self.error(f"more than {MAX_ENTRIES} entries")
                entries[entry.name] = entry
            elif token.text == ".func":
                raise self.error("functions are not supported; inline them (__forceinline__)")
            elif token.text in _SPACES:
                self._variable(self._module_variables, None)
            elif token.text == ".section":
                self._section()
            elif token.text in _SKIPPED_STATEMENTS:
                words = self._skip_line()
                if token.text == ".version":
                    version = words
                elif token.text == ".target":
                    target = words
                elif token.text == ".address_size" and words != "64":
                    raise self.error("only .address_size 64 is supported")
            else:
                self.take()
                raise self.error(f"unexpected {token.text!r} at module level")
        if not version:
            self.statement_begin = 0
            raise PtxError("this is not PTX: the .version directive is missing", line=1)
        return Module(MappingProxyType(entries), bytes(self._constants), version, target)

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

    def _scalar_type(self) -> ScalarType:
        token = self.take()
        kind = SCALAR_TYPES.get(token.text.removeprefix("."))
        if kind is None or not token.text.startswith("."):
            raise self.error(f"type {token.text!r} is not supported")
        return kind

    def _alignment(self, default: int) -> int:
        if not self.accept(".align"):
            return default
        align = self.integer()
        if align not in (1, 2, 4, 8, 16, 32, 64, 128):
            raise self.error("an alignment must be a power of two up to 128")
        return align

    def _variable(self, scope: dict[str, Variable], local: list[int] | None) -> None:
        """Parse one variable declaration; `local` holds the entry's running local-memory size."""
        space = self.take().text.removeprefix(".")
        align = self._alignment(0)
        vector = 1
        while self.peek().text in (".v2", ".v4", ".attribute"):
            if self.peek().text == ".attribute":
                raise self.error("variable attributes are not supported")
            vector = int(self.take().text[2:])
        kind = self._scalar_type()
        align = max(self._alignment(align), kind.size * vector)
        while True:
            name = self.name("a variable name")
            count, dynamic = vector, False
            while self.accept("["):
                if self.accept("]"):
                    dynamic = True
                    continue
                count *= self.integer()
                if not 0 <= count <= MAX_SCRATCH_BYTES:
                    raise self.error("an array too large")
                self.expect("]")
            size = 0 if dynamic else count * kind.size
            values = self._initializer(kind, size) if self.accept("=") else b""
            if name in scope:
                raise self.error(f"{name} is declared twice")
            scope[name] = self._place(name, space, size, align, values, local)
            if not self.accept(","):
                break
        self.expect(";")

    def _place(
        self, name: str, space: str, size: int, align: int, values: bytes, local: list[int] | None
    ) -> Variable:
        if space == "shared":
            # A dynamic array (size 0) begins after all static ones: its offset is fixed up at the end.
            offset = _align_up(self._shared_bytes, align) if size else -1
            if size:
                self._shared_bytes = offset + size
            if self._shared_bytes > MAX_SHARED_MEMORY_PER_BLOCK:
                raise self.error(f"more than {MAX_SHARED_MEMORY_PER_BLOCK} bytes of shared memory")
        elif space == "local" and local is not None:
            offset = _align_up(local[0], align)
            local[0] = offset + size
            if local[0] > MAX_SCRATCH_BYTES:
                raise self.error("too much local memory")
        elif space == "const" or (space == "global" and values):
            # An initialised global array is a lookup table that the compiler made; it lives with the
            # constants, and the kernel may only read it.
            space = "const"
            offset = _align_up(len(self._constants), align)
            if offset + size > MAX_CONSTANT_BYTES:
                raise self.error(f"more than {MAX_CONSTANT_BYTES} bytes of constants")
            self._constants.extend(bytes(offset - len(self._constants)))
            self._constants.extend(values.ljust(size, b"\0"))
        else:
            raise self.error(f"variables in .{space} memory are not supported here")
        return Variable(name, space, offset, size)

    def _initializer(self, kind: ScalarType, size: int) -> bytes:
        values = bytearray()
        depth = 0
        while True:
            if self.accept("{"):
                depth += 1
            elif depth and self.accept("}"):
                depth -= 1
            elif depth and self.accept(","):
                continue
            else:
                values += self._constant(kind)
            if len(values) > size:
                raise self.error("more initial values than the variable holds")
            if depth == 0:
                return bytes(values)

    def _constant(self, kind: ScalarType) -> bytes:
        negative = self.accept("-")
        value = self.immediate(self.take())
        bits = float_bits(value, kind.bits) if kind.floating else value.value
        if negative:
            bits = bits ^ 1 << (kind.bits - 1) if kind.floating else -bits
        return (bits & ((1 << kind.bits) - 1)).to_bytes(kind.size, "little")

    # -- entries ------------------------------------------------------------------------------------

    def _entry(self) -> Entry:
        self.expect(".entry")
        name = self.name("the entry's name")
        parameters, parameter_bytes = self._parameters() if self.peek().text == "(" else ((), 0)
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
        shared_before = self._shared_bytes
        module_variables = dict(self._module_variables)
        body, local_bytes = self._body({parameter.name for parameter in parameters})
        shared_bytes = self._shared_bytes
        self._shared_bytes = shared_before
        body.variables.update(
            (variable.name, Variable(variable.name, "shared", _align_up(shared_bytes, 16), 0))
            for variable in [*module_variables.values(), *body.variables.values()]
            if variable.offset < 0
        )
        return Entry(
            name,
            parameters,
            parameter_bytes,
            shared_bytes,
            _align_up(local_bytes, 16),
            max_threads,
            required,
            body,
        )

    def _parameters(self) -> tuple[tuple[Parameter, ...], int]:
        self.expect("(")
        parameters: list[Parameter] = []
        names: set[str] = set()
        offset = 0
        while not self.accept(")"):
            if parameters:
                self.expect(",")
            self.statement_begin = self.peek().position
            self.expect(".param")
            align = self._alignment(0)
            kind = self._scalar_type()
            type_name = kind.name
            if self.accept(".ptr"):
                type_name = "ptr"
                if self.peek().text in _SPACES:
                    self.take()
                self._alignment(0)
            align = max(self._alignment(align), kind.size)
            name = self.name("a parameter name")
            size = kind.size
            if self.accept("["):
                size *= self.integer()
                type_name = "b8"
                self.expect("]")
            if kind.bits < 8 or size < 1 or name in names:
                raise self.error("a bad parameter")
            offset = _align_up(offset, align)
            parameters.append(Parameter(name, offset, size, align, type_name))
            names.add(name)
            offset += size
            if offset > MAX_PARAMETER_BYTES:
                raise self.error(f"more than {MAX_PARAMETER_BYTES} bytes of parameters")
        return tuple(parameters), offset

    def _body(self, parameters: set[str]) -> tuple[Body, int]:
        begin = self.expect("{")
        body = Body(variables=dict(self._module_variables))
        local = [0]
        scopes = [_Scope()]
        own: dict[str, Variable] = {}
        unresolved: list[tuple[Instruction, list[_Scope]]] = []
        while scopes:
            token = self.peek()
            self.statement_begin = token.position
            if token.kind == "end":
                self.statement_begin = begin.position
                raise self.error("the entry's body is not closed: a '}' is missing")
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
            elif token.text in _SPACES:
                self._variable(own, local)
            elif token.kind == "name" and self.peek(1).text == ":":
                self._label(body, scopes)
            else:
                self._count += 1
                if self._count > MAX_INSTRUCTIONS:
                    raise self.error(f"more than {MAX_INSTRUCTIONS} instructions")
                instruction = self._instruction(scopes)
                body.statements.append(instruction)
                unresolved.append((instruction, list(scopes)))
        for instruction, visible in unresolved:
            instruction.operands = [_resolve_label(operand, visible) for operand in instruction.operands]
        for name in own:
            if name in parameters:
                raise self.error(f"{name} is both a parameter and a variable")
        body.variables.update(own)
        return body, local[0]

    def _label(self, body: Body, scopes: list[_Scope]) -> None:
        token = self.take()
        self.expect(":")
        if self.peek().text == ".branchtargets":
            self.take()
            targets = [self.name("a label")]
            while self.accept(","):
                targets.append(self.name("a label"))
            self.expect(";")
            body.branch_tables[token.text] = tuple(targets)
            return
        if token.text in scopes[-1].labels:
            raise self.error(f"label {token.text} is defined twice")
        self._count += 1
        unique = token.text if len(scopes) == 1 else f"{token.text}@{self._count}"
        scopes[-1].labels[token.text] = unique
        body.statements.append(Label(unique, self.lexer.line(token.position)))

    def _register_declaration(self, scopes: list[_Scope]) -> None:
        self.expect(".reg")
        kind = self._scalar_type()
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
            raise self.error("calls are not supported; inline the function (__forceinline__)")
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
        if self.peek().text == "+":
            # "symbol+4" is an address constant; only mov takes it.
            self.take()
            return Address(Symbol(token.text), self.integer())
        return Symbol(token.text)

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


def _resolve_label(operand: Operand, scopes: list[_Scope]) -> Operand:
    if isinstance(operand, Symbol):
        for scope in reversed(scopes):
            if operand.name in scope.labels:
                return Symbol(scope.labels[operand.name])
    return operand
