"""PTX text to syntax: directives, variables, register scopes and statements of each entry."""

import struct
from types import MappingProxyType

from logv.errors import PtxError
from logv.hw.software_gpu import (
    MAX_PARAMETER_BYTES,
    MAX_SCRATCH_BYTES,
    MAX_SHARED_MEMORY_PER_BLOCK,
)
from logv.ptx._lexer import Lexer, Token
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


class Parser:
    """Recursive-descent parser without the recursion: PTX nests only in ``{}``, which is a stack here.

    Parameters
    ----------
    text : str
        PTX.
    """

    def __init__(self, text: str) -> None:
        self._lexer = Lexer(text)
        self._tokens = self._lexer.tokens
        self._end = Token("end", "", len(text))
        self._next = 0
        self._statement_begin = 0
        self._constants = bytearray()
        self._module_variables: dict[str, Variable] = {}
        self._shared_bytes = 0
        self._count = 0
        self._registers = 0

    # -- tokens -------------------------------------------------------------------------------------

    def _peek(self, ahead: int = 0) -> Token:
        index = self._next + ahead
        return self._tokens[index] if index < len(self._tokens) else self._end

    def _take(self) -> Token:
        token = self._peek()
        self._next += 1
        return token

    def _accept(self, text: str) -> bool:
        if self._peek().text == text:
            self._next += 1
            return True
        return False

    def _expect(self, text: str) -> Token:
        token = self._take()
        if token.text != text:
            found = repr(token.text) if token.text else "the end of the text"
            raise self._error(f"expected {text!r}, found {found}")
        return token

    def _name(self, what: str) -> str:
        token = self._take()
        if token.kind != "name":
            raise self._error(f"expected {what}")
        return token.text

    def _integer(self) -> int:
        negative = self._accept("-")
        value = self._immediate(self._take())
        if value.float_bits:
            raise self._error("expected an integer")
        return -value.value if negative else value.value

    def _error(self, reason: str) -> PtxError:
        begin = self._statement_begin
        end = self._lexer.text.find(";", begin, begin + 400) + 1 or self._lexer.text.find("\n", begin) + 1
        return PtxError(
            reason,
            line=self._lexer.line(begin),
            instruction=self._lexer.excerpt(begin, end or begin + 400),
        )

    def _immediate(self, token: Token) -> Immediate:
        if token.kind != "number":
            raise self._error("expected a number")
        text = token.text
        if text[:2] in ("0f", "0F"):
            return Immediate(int(text[2:], 16), 32)
        if text[:2] in ("0d", "0D"):
            return Immediate(int(text[2:], 16), 64)
        if "." in text:
            return Immediate(struct.unpack("<Q", struct.pack("<d", float(text)))[0], 64)
        text = text.rstrip("U")
        # At most 20 digits reach int(): longer ones cannot be 64-bit numbers, and int() of very long
        # text is slow and refuses by itself.
        if len(text) > 66 or (text.isdigit() and len(text) > 22):
            raise self._error("a number beyond 64 bits")
        base = (
            16 if text[:2] in ("0x", "0X") else 2 if text[:2] in ("0b", "0B") else 8 if text[0] == "0" else 10
        )
        try:
            value = int(text, base)
        except ValueError:
            raise self._error("a malformed number") from None
        if value >= 1 << 64:
            raise self._error("a number beyond 64 bits")
        return Immediate(value)

    # -- module -------------------------------------------------------------------------------------

    def parse(self) -> Module:
        """Parse the whole text."""
        entries: dict[str, Entry] = {}
        version = target = ""
        while self._peek().kind != "end":
            token = self._peek()
            self._statement_begin = token.position
            if token.text in _LINKAGE or token.text == ";":
                self._take()
            elif token.text == ".entry":
                entry = self._entry()
                if entry.name in entries:
                    raise self._error(f"entry {entry.name} is defined twice")
                if len(entries) >= MAX_ENTRIES:
                    raise self._error(f"more than {MAX_ENTRIES} entries")
                entries[entry.name] = entry
            elif token.text == ".func":
                raise self._error("functions are not supported; inline them (__forceinline__)")
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
                    raise self._error("only .address_size 64 is supported")
            else:
                self._take()
                raise self._error(f"unexpected {token.text!r} at module level")
        if not version:
            self._statement_begin = 0
            raise PtxError("this is not PTX: the .version directive is missing", line=1)
        return Module(MappingProxyType(entries), bytes(self._constants), version, target)

    def _skip_line(self) -> str:
        first = self._take()
        line = self._lexer.line(first.position)
        words = []
        while self._peek().kind != "end" and self._lexer.line(self._peek().position) == line:
            if (word := self._take().text) != ";":
                words.append(word)
        return "".join(words)

    def _section(self) -> None:
        while self._peek().kind != "end" and self._peek().text != "{":
            self._take()
        self._expect("{")
        while self._peek().kind != "end" and self._peek().text != "}":
            self._take()
        self._expect("}")

    def _scalar_type(self) -> ScalarType:
        token = self._take()
        kind = SCALAR_TYPES.get(token.text.removeprefix("."))
        if kind is None or not token.text.startswith("."):
            raise self._error(f"type {token.text!r} is not supported")
        return kind

    def _alignment(self, default: int) -> int:
        if not self._accept(".align"):
            return default
        align = self._integer()
        if align not in (1, 2, 4, 8, 16, 32, 64, 128):
            raise self._error("an alignment must be a power of two up to 128")
        return align

    def _variable(self, scope: dict[str, Variable], local: list[int] | None) -> None:
        """Parse one variable declaration; `local` holds the entry's running local-memory size."""
        space = self._take().text.removeprefix(".")
        align = self._alignment(0)
        vector = 1
        while self._peek().text in (".v2", ".v4", ".attribute"):
            if self._peek().text == ".attribute":
                raise self._error("variable attributes are not supported")
            vector = int(self._take().text[2:])
        kind = self._scalar_type()
        align = max(self._alignment(align), kind.size * vector)
        while True:
            name = self._name("a variable name")
            count, dynamic = vector, False
            while self._accept("["):
                if self._accept("]"):
                    dynamic = True
                    continue
                count *= self._integer()
                if not 0 <= count <= MAX_SCRATCH_BYTES:
                    raise self._error("an array too large")
                self._expect("]")
            size = 0 if dynamic else count * kind.size
            values = self._initializer(kind, size) if self._accept("=") else b""
            if name in scope:
                raise self._error(f"{name} is declared twice")
            scope[name] = self._place(name, space, size, align, values, local)
            if not self._accept(","):
                break
        self._expect(";")

    def _place(
        self, name: str, space: str, size: int, align: int, values: bytes, local: list[int] | None
    ) -> Variable:
        if space == "shared":
            # A dynamic array (size 0) begins after all static ones: its offset is fixed up at the end.
            offset = _align_up(self._shared_bytes, align) if size else -1
            if size:
                self._shared_bytes = offset + size
            if self._shared_bytes > MAX_SHARED_MEMORY_PER_BLOCK:
                raise self._error(f"more than {MAX_SHARED_MEMORY_PER_BLOCK} bytes of shared memory")
        elif space == "local" and local is not None:
            offset = _align_up(local[0], align)
            local[0] = offset + size
            if local[0] > MAX_SCRATCH_BYTES:
                raise self._error("too much local memory")
        elif space == "const" or (space == "global" and values):
            # An initialised global array is a lookup table that the compiler made; it lives with the
            # constants, and the kernel may only read it.
            space = "const"
            offset = _align_up(len(self._constants), align)
            if offset + size > MAX_CONSTANT_BYTES:
                raise self._error(f"more than {MAX_CONSTANT_BYTES} bytes of constants")
            self._constants.extend(bytes(offset - len(self._constants)))
            self._constants.extend(values.ljust(size, b"\0"))
        else:
            raise self._error(f"variables in .{space} memory are not supported here")
        return Variable(name, space, offset, size)

    def _initializer(self, kind: ScalarType, size: int) -> bytes:
        values = bytearray()
        depth = 0
        while True:
            if self._accept("{"):
                depth += 1
            elif depth and self._accept("}"):
                depth -= 1
            elif depth and self._accept(","):
                continue
            else:
                values += self._constant(kind)
            if len(values) > size:
                raise self._error("more initial values than the variable holds")
            if depth == 0:
                return bytes(values)

    def _constant(self, kind: ScalarType) -> bytes:
        negative = self._accept("-")
        value = self._immediate(self._take())
        bits = float_bits(value, kind.bits) if kind.floating else value.value
        if negative:
            bits = bits ^ 1 << (kind.bits - 1) if kind.floating else -bits
        return (bits & ((1 << kind.bits) - 1)).to_bytes(kind.size, "little")

    # -- entries ------------------------------------------------------------------------------------

    def _entry(self) -> Entry:
        self._expect(".entry")
        name = self._name("the entry's name")
        parameters, parameter_bytes = self._parameters() if self._peek().text == "(" else ((), 0)
        max_threads: int | None = None
        required: tuple[int, int, int] | None = None
        while self._peek().text in _TUNING:
            directive = self._take().text
            if directive == ".noreturn":
                continue
            numbers = [self._integer()]
            while self._accept(","):
                numbers.append(self._integer())
            if directive in (".maxntid", ".reqntid") and (len(numbers) > 3 or min(numbers) < 1):
                raise self._error("block dimensions must be one to three positive numbers")
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
        self._expect("(")
        parameters: list[Parameter] = []
        names: set[str] = set()
        offset = 0
        while not self._accept(")"):
            if parameters:
                self._expect(",")
            self._statement_begin = self._peek().position
            self._expect(".param")
            align = self._alignment(0)
            kind = self._scalar_type()
            type_name = kind.name
            if self._accept(".ptr"):
                type_name = "ptr"
                if self._peek().text in _SPACES:
                    self._take()
                self._alignment(0)
            align = max(self._alignment(align), kind.size)
            name = self._name("a parameter name")
            size = kind.size
            if self._accept("["):
                size *= self._integer()
                type_name = "b8"
                self._expect("]")
            if kind.bits < 8 or size < 1 or name in names:
                raise self._error("a bad parameter")
            offset = _align_up(offset, align)
            parameters.append(Parameter(name, offset, size, align, type_name))
            names.add(name)
            offset += size
            if offset > MAX_PARAMETER_BYTES:
                raise self._error(f"more than {MAX_PARAMETER_BYTES} bytes of parameters")
        return tuple(parameters), offset

    def _body(self, parameters: set[str]) -> tuple[Body, int]:
        begin = self._expect("{")
        body = Body(variables=dict(self._module_variables))
        local = [0]
        scopes = [_Scope()]
        own: dict[str, Variable] = {}
        unresolved: list[tuple[Instruction, list[_Scope]]] = []
        while scopes:
            token = self._peek()
            self._statement_begin = token.position
            if token.kind == "end":
                self._statement_begin = begin.position
                raise self._error("the entry's body is not closed: a '}' is missing")
            if self._accept("{"):
                scopes.append(_Scope())
                if len(scopes) > MAX_SCOPE_DEPTH:
                    raise self._error(f"scopes nest deeper than {MAX_SCOPE_DEPTH}")
            elif self._accept("}"):
                scopes.pop()
            elif self._accept(";"):
                continue
            elif token.text == ".reg":
                self._register_declaration(scopes)
            elif token.text in (".loc", ".file", ".pragma"):
                self._skip_line()
            elif token.text in _SPACES:
                self._variable(own, local)
            elif token.kind == "name" and self._peek(1).text == ":":
                self._label(body, scopes)
            else:
                self._count += 1
                if self._count > MAX_INSTRUCTIONS:
                    raise self._error(f"more than {MAX_INSTRUCTIONS} instructions")
                instruction = self._instruction(scopes)
                body.statements.append(instruction)
                unresolved.append((instruction, list(scopes)))
        for instruction, visible in unresolved:
            instruction.operands = [_resolve_label(operand, visible) for operand in instruction.operands]
        for name in own:
            if name in parameters:
                raise self._error(f"{name} is both a parameter and a variable")
        body.variables.update(own)
        return body, local[0]

    def _label(self, body: Body, scopes: list[_Scope]) -> None:
        token = self._take()
        self._expect(":")
        if self._peek().text == ".branchtargets":
            self._take()
            targets = [self._name("a label")]
            while self._accept(","):
                targets.append(self._name("a label"))
            self._expect(";")
            body.branch_tables[token.text] = tuple(targets)
            return
        if token.text in scopes[-1].labels:
            raise self._error(f"label {token.text} is defined twice")
        self._count += 1
        unique = token.text if len(scopes) == 1 else f"{token.text}@{self._count}"
        scopes[-1].labels[token.text] = unique
        body.statements.append(Label(unique, self._lexer.line(token.position)))

    def _register_declaration(self, scopes: list[_Scope]) -> None:
        self._expect(".reg")
        kind = self._scalar_type()
        scope = scopes[-1]
        # Registers of inner scopes get a name of their own, so that the rest of the compiler sees one
        # flat name space.
        suffix = "" if len(scopes) == 1 else f"@{self._next}"
        while True:
            name = self._name("a register name")
            if name in scope.registers or name in scope.ranges:
                raise self._error(f"register {name} is declared twice")
            if self._accept("<"):
                count = self._integer()
                self._expect(">")
                if not 0 < count <= MAX_REGISTERS:
                    raise self._error(f"more than {MAX_REGISTERS} registers")
                self._registers += count
                scope.ranges[name] = (kind, count, suffix)
            else:
                self._registers += 1
                scope.registers[name] = Register(name + suffix, kind)
            if not self._accept(","):
                break
        self._expect(";")

    # -- instructions -------------------------------------------------------------------------------

    def _instruction(self, scopes: list[_Scope]) -> Instruction:
        begin = self._peek()
        guard = None
        if self._accept("@"):
            negated = self._accept("!")
            register = self._register(self._name("a predicate"), scopes)
            if register is None or register.type.kind != "p":
                raise self._error("a guard must be a predicate register")
            guard = Register(register.name, register.type, negated)
        opcode, *modifiers = self._name("an instruction").split(".")
        operands: list[Operand] = []
        if self._peek().text != ";":
            operands.append(self._operand(scopes))
            while self._accept(","):
                operands.append(self._operand(scopes))
        end = self._expect(";")
        return Instruction(
            self._lexer.line(begin.position),
            self._lexer.excerpt(begin.position, end.position + 1),
            opcode,
            tuple(modifiers),
            operands,
            guard,
        )

    def _operand(self, scopes: list[_Scope]) -> Operand:
        if self._accept("["):
            return self._address(scopes)
        if self._accept("{"):
            members = [self._simple_operand(scopes)]
            while self._accept(","):
                members.append(self._simple_operand(scopes))
            self._expect("}")
            return Group(tuple(members))
        if self._accept("("):
            raise self._error("calls are not supported; inline the function (__forceinline__)")
        operand = self._simple_operand(scopes)
        if self._accept("|"):
            return Group((operand, self._simple_operand(scopes)), "|")
        return operand

    def _simple_operand(self, scopes: list[_Scope]) -> Operand:
        negated = self._accept("!")
        if self._accept("-"):
            value = self._immediate(self._take())
            sign = value.value ^ (1 << (value.float_bits - 1)) if value.float_bits else -value.value
            return Immediate(sign, value.float_bits)
        token = self._take()
        if token.kind == "number":
            return self._immediate(token)
        if token.kind != "name":
            raise self._error("expected an operand")
        register = self._register(token.text, scopes)
        if register is not None:
            return Register(register.name, register.type, True) if negated else register
        if self._peek().text == "+":
            # "symbol+4" is an address constant; only mov takes it.
            self._take()
            return Address(Symbol(token.text), self._integer())
        return Symbol(token.text)

    def _address(self, scopes: list[_Scope]) -> Address:
        base = self._simple_operand(scopes)
        offset = 0
        if isinstance(base, Address):
            offset = base.offset
            base = base.base
        while self._peek().text in ("+", "-"):
            sign = 1 if self._take().text == "+" else -1
            offset += sign * self._integer()
        self._expect("]")
        if not isinstance(base, Register | Symbol | Immediate) or not -(1 << 31) <= offset < 1 << 31:
            raise self._error("an address must be [register], [variable] or either plus a 32-bit offset")
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


def float_bits(value: Immediate, bits: int) -> int:
    """Return the bits of a literal as a floating point number of `bits` width."""
    if value.float_bits == bits:
        return value.value
    if value.float_bits == 0:
        return _pack(float(value.value), bits)
    if value.float_bits == 64:
        (number,) = struct.unpack("<d", value.value.to_bytes(8, "little"))
    else:
        (number,) = struct.unpack("<f", value.value.to_bytes(4, "little"))
    return _pack(number, bits)


def _pack(number: float, bits: int) -> int:
    if bits == 64:
        return int(struct.unpack("<Q", struct.pack("<d", number))[0])
    try:
        return int(struct.unpack("<I", struct.pack("<f", number))[0])
    except OverflowError:
        return 0x7F800000 | (0x80000000 if number < 0 else 0)
