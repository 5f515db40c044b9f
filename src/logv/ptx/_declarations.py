"""Declarations of variables and parameters: what the parser reads outside of instructions."""

from logv.hw.software_gpu import MAX_PARAMETER_BYTES
from logv.ptx._source import Declaration, Formal, Reference
from logv.ptx._syntax import Register
from logv.ptx._tokens import TokenStream, float_bits
from logv.ptx._types import SCALAR_TYPES, ScalarType
from logv.ptx.module import Parameter

SPACES = {".shared", ".const", ".global", ".local", ".param"}
# Bounds what hostile text can make the compiler store; a number of the text stands for 8 bytes at most.
MAX_REFERENCES = 65536
# What all variables of a module may take together; nothing is allocated for them before they are used.
MAX_DATA_BYTES = 1 << 30
MAX_FORMALS = 4096


def align_up(value: int, align: int) -> int:
    """Round up to a multiple of a power of two."""
    return -(-value // align) * align


class DeclarationParser(TokenStream):
    """Reads types, variables with their initial contents, and parameter lists.

    Parameters
    ----------
    text : str
        PTX.
    """

    def scalar_type(self) -> ScalarType:
        """Take a type."""
        token = self.take()
        kind = SCALAR_TYPES.get(token.text.removeprefix("."))
        if kind is None or not token.text.startswith("."):
            raise self.error(f"type {token.text!r} is not supported")
        return kind

    def alignment(self, default: int) -> int:
        """Take an alignment, if there is one."""
        if not self.accept(".align"):
            return default
        align = self.integer()
        if align not in (1, 2, 4, 8, 16, 32, 64, 128):
            raise self.error("an alignment must be a power of two up to 128")
        return align

    def variables(self, linkage: str) -> list[Declaration]:
        """Take a declaration of one or more variables of the same type."""
        line = self.lexer.line(self.peek().position)
        space = self.take().text.removeprefix(".")
        align = self.alignment(0)
        vector = 1
        while self.peek().text in (".v2", ".v4", ".attribute"):
            if self.peek().text == ".attribute":
                raise self.error("variable attributes are not supported")
            vector = int(self.take().text[2:])
        kind = self.scalar_type()
        if kind.kind == "p":
            raise self.error("predicates are registers only")
        align = max(self.alignment(align), kind.size * vector)
        found: list[Declaration] = []
        while True:
            name = self.name("a variable name")
            count, open_ended = vector, False
            while self.accept("["):
                if self.accept("]"):
                    open_ended = True
                    continue
                count *= self.integer()
                if not 0 <= count <= MAX_DATA_BYTES:
                    raise self.error("an array too large")
                self.expect("]")
            size = count * kind.size
            values: bytes | None = None
            references: tuple[Reference, ...] = ()
            if self.accept("="):
                values, references = self._initializer(kind, MAX_DATA_BYTES if open_ended else size)
            if open_ended:
                size = len(values or b"")
            found.append(Declaration(name, space, size, align, values, references, linkage, line))
            if not self.accept(","):
                break
        self.expect(";")
        return found

    def _initializer(self, kind: ScalarType, size: int) -> tuple[bytes, tuple[Reference, ...]]:
        values = bytearray()
        references: list[Reference] = []
        depth = 0
        while True:
            if self.accept("{"):
                depth += 1
            elif depth and self.accept("}"):
                depth -= 1
            elif depth and self.accept(","):
                continue
            else:
                reference = self._reference(kind, len(values))
                if reference is None:
                    values += self._constant(kind)
                else:
                    values += bytes(kind.size)
                    references.append(reference)
            if len(values) > size or len(references) > MAX_REFERENCES:
                raise self.error("more initial values than the variable holds")
            if depth == 0:
                return bytes(values), tuple(references)

    def _constant(self, kind: ScalarType) -> bytes:
        negative = self.accept("-")
        value = self.immediate(self.take())
        bits = float_bits(value, kind.bits) if kind.floating else value.value
        if negative:
            bits = bits ^ 1 << (kind.bits - 1) if kind.floating else -bits
        return (bits & ((1 << kind.bits) - 1)).to_bytes(kind.size, "little")

    def _reference(self, kind: ScalarType, offset: int) -> Reference | None:
        """Take ``name``, ``generic(name)`` or ``0xFF00(name)``, each with an addend, if one comes next."""
        shift, masked = 0, False
        if self.peek().kind == "number" and self.peek(1).text == "(":
            mask = self.integer()
            shift = (mask & -mask).bit_length() - 1 if mask else -1
            if shift < 0 or shift % 8 or mask >> shift != (1 << kind.bits) - 1:
                raise self.error("a mask must select a part of the address that has the element's size")
            masked = True
        elif self.peek().kind != "name":
            return None
        elif kind.bits != 64 or kind.floating:
            raise self.error("an address takes a 64-bit integer")
        opened = int(masked and self.accept("("))
        name = self.name("a variable name")
        if name == "generic":
            self.expect("(")
            name = self.name("a variable name")
            self.expect(")")
        addend = 0
        while self.peek().text in ("+", "-"):
            sign = 1 if self.take().text == "+" else -1
            addend += sign * self.integer()
        if opened:
            self.expect(")")
        return Reference(offset, kind.size, shift, name, addend)

    # -- parameters ---------------------------------------------------------------------------------

    def parameters(self) -> tuple[tuple[Parameter, ...], int]:
        """Take an entry's parameters; returns them and the size of the parameter block."""
        self.expect("(")
        parameters: list[Parameter] = []
        names: set[str] = set()
        offset = 0
        while not self.accept(")"):
            if parameters:
                self.expect(",")
            self.statement_begin = self.peek().position
            self.expect(".param")
            align = self.alignment(0)
            kind = self.scalar_type()
            type_name = kind.name
            if self.accept(".ptr"):
                type_name = "ptr"
                if self.peek().text in SPACES:
                    self.take()
                self.alignment(0)
            align = max(self.alignment(align), kind.size)
            name = self.name("a parameter name")
            size = kind.size
            if self.accept("["):
                size *= self.integer()
                type_name = "b8"
                self.expect("]")
            if kind.bits < 8 or size < 1 or name in names:
                raise self.error("a bad parameter")
            offset = align_up(offset, align)
            parameters.append(Parameter(name, offset, size, align, type_name))
            names.add(name)
            offset += size
            if offset > MAX_PARAMETER_BYTES:
                raise self.error(f"more than {MAX_PARAMETER_BYTES} bytes of parameters")
        return tuple(parameters), offset

    def formals(self) -> tuple[Formal, ...]:
        """Take the parameters or return values of a function."""
        self.expect("(")
        found: list[Formal] = []
        names: set[str] = set()
        while not self.accept(")"):
            if found:
                self.expect(",")
            self.statement_begin = self.peek().position
            if len(found) >= MAX_FORMALS:
                raise self.error(f"more than {MAX_FORMALS} parameters")
            space = self.take().text
            if space not in (".param", ".reg"):
                raise self.error("a parameter of a function is .param or .reg")
            align = self.alignment(0)
            kind = self.scalar_type()
            while self.peek().text in (".ptr", ".noalias", *SPACES):
                self.take()
            align = max(self.alignment(align), kind.size)
            name = self.name("a parameter name")
            size = kind.size
            if self.accept("["):
                # "[]" stands for arguments of any number, which nothing that is supported takes.
                size *= 0 if self.peek().text == "]" else self.integer()
                self.expect("]")
            if space == ".param" and kind.kind == "p":
                raise self.error("predicates are registers only")
            if not 0 <= size <= MAX_PARAMETER_BYTES or (name in names and name != "_"):
                raise self.error("a bad parameter")
            register = Register(name, kind) if space == ".reg" else None
            found.append(Formal(name, size, align, register))
            names.add(name)
        return tuple(found)
