"""Turns the ``.param`` variables of calls into registers, or into local memory where that does not do."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from logv.ptx._inline import COPY_MARK, Flat, symbols_of
from logv.ptx._source import Declaration
from logv.ptx._syntax import Address, Group, Immediate, Instruction, Label, Operand, Register, Symbol
from logv.ptx._tokens import float_bits
from logv.ptx._types import SCALAR_TYPES, ScalarType

_MEMORY = ("ld", "st")
_WORDS = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class _Field:
    """Bytes of a variable that one register holds, which is of 32 or 64 bits."""

    begin: int
    size: int
    register: Register


@dataclass(slots=True)
class _Class:
    """Variables that are one, because they are passed to each other.

    Attributes
    ----------
    name : str
        The outermost one's.
    size, align : int
    frame : int
    accesses : set of (int, int)
        Offset and size of each.
    fields : dict of int to _Field
        The one that holds each byte.
    in_memory : bool
        The accesses do not fall into fields of a register's size, or the address is used.
    """

    name: str
    size: int
    align: int
    frame: int
    accesses: set[tuple[int, int]]
    fields: dict[int, _Field]
    in_memory: bool = False


class CallParameters:
    """Rewrites an entry so that it has no ``.param`` variables but its own parameters.

    Most are written and read in the same pieces by caller and function; each piece is a register then,
    named after the variable and the offset. A piece that is read in part (a ``bool`` passed as 32 bits)
    is shifted and extended by what it is read for.

    Parameters
    ----------
    flat : Flat
        Is changed.
    """

    def __init__(self, flat: Flat) -> None:
        self._flat = flat
        self._classes: dict[str, _Class] = {}
        self._temporaries = 0
        self._lines: list[Instruction | Label] = []

    def resolve(self) -> None:
        """Rewrite the statements; what needs memory becomes a ``.local`` variable of its frame.

        Raises
        ------
        PtxError
            An access beyond a variable, or an argument of another size than its parameter.
        """
        for number, frame in enumerate(self._flat.frames):
            for variable in frame.variables:
                if variable.space == "param":
                    self._classes[variable.name] = _Class(
                        variable.name, variable.size, variable.align, number, set(), {}
                    )
        if not self._classes:
            return
        self._join()
        instructions = [each for each in self._flat.statements if isinstance(each, Instruction)]
        for instruction in instructions:
            self._note(instruction)
        classes = {each.name: each for each in self._classes.values()}
        for each in classes.values():
            _divide(each)
        for statement in self._flat.statements:
            if isinstance(statement, Label):
                self._lines.append(statement)
            else:
                self._rewrite(statement)
        self._flat.statements = self._lines
        for frame in self._flat.frames:
            frame.variables = [variable for variable in frame.variables if variable.space != "param"]
        for each in classes.values():
            if each.in_memory:
                self._flat.frames[each.frame].variables.append(
                    Declaration(each.name, "local", each.size, each.align, None, (), "", 0)
                )

    def _join(self) -> None:
        """Make one class of what is passed to each other."""
        parents: dict[str, str] = {}

        def find(name: str) -> str:
            path = []
            while name in parents:
                path.append(name)
                name = parents[name]
            for step in path:
                parents[step] = name
            return name

        for outer, inner, call in self._flat.passed:
            if outer not in self._classes:
                raise call.error(f"{outer} is not a .param variable that could be passed to a function")
            if self._classes[outer].size != self._classes[inner].size:
                raise call.error(f"{outer} has another size than the parameter that it is passed as")
            first, second = (self._classes[find(name)] for name in (outer, inner))
            if first is not second:
                if second.frame < first.frame:
                    first, second = second, first
                parents[second.name] = first.name
                first.align = max(first.align, second.align)
        self._classes = {name: self._classes[find(name)] for name in self._classes}

    def _accesses(self, instruction: Instruction) -> Iterator[tuple[_Class, int, ScalarType]]:
        """Yield variable, offset and type of each element that an instruction loads or stores."""
        if instruction.opcode not in _MEMORY or "param" not in _spaces(instruction):
            return
        place = instruction.operands[instruction.opcode == "ld" :]
        if not place or not isinstance(place[0], Address) or not isinstance(place[0].base, Symbol):
            return
        found = self._classes.get(place[0].base.name)
        kinds = [SCALAR_TYPES[name] for name in instruction.modifiers if name in SCALAR_TYPES]
        if found is None or len(kinds) != 1 or not kinds[0].size:
            return
        count = 2 if "v2" in instruction.modifiers else 4 if "v4" in instruction.modifiers else 1
        for number in range(count):
            offset = place[0].offset + number * kinds[0].size
            if not 0 <= offset <= found.size - kinds[0].size:
                raise instruction.error(f"an access beyond the {found.size} bytes of {place[0].base.name}")
            yield found, offset, kinds[0]

    def _note(self, instruction: Instruction) -> None:
        plain = False
        for found, offset, kind in self._accesses(instruction):
            found.accesses.add((offset, kind.size))
            plain = True
        if not plain:
            for operand in instruction.operands:
                for name in symbols_of(operand):
                    if name in self._classes:
                        self._classes[name].in_memory = True

    # -- rewriting ----------------------------------------------------------------------------------

    def _rewrite(self, instruction: Instruction) -> None:
        accesses = list(self._accesses(instruction))
        if accesses and not accesses[0][0].in_memory:
            if len(instruction.operands) != 2:
                raise instruction.error("a value and an address are expected")
            moved = instruction.operands[instruction.opcode == "st"]
            members = moved.members if isinstance(moved, Group) else (moved,)
            if len(members) != len(accesses):
                raise instruction.error(f"{len(accesses)} value(s) expected")
            move = self._load if instruction.opcode == "ld" else self._store
            for (found, offset, kind), member in zip(accesses, members, strict=True):
                move(instruction, member, kind, field := found.fields[offset], 8 * (offset - field.begin))
            return
        modifiers = instruction.modifiers
        if accesses or any(self._points_to_call(each) for each in instruction.operands):
            modifiers = tuple("local" if _is_param(word) else word for word in modifiers)
        operands = [self._operand(operand) for operand in instruction.operands]
        self._lines.append(replace(instruction, modifiers=modifiers, operands=operands))

    def _points_to_call(self, operand: Operand) -> bool:
        """Whether a register that addresses parameters holds the address of a function's, not of the entry's.

        A function cannot name the entry's. The entry may name both; where it takes the address of a
        variable that it passes, that is what such a register holds.
        """
        if not isinstance(operand, Address) or not isinstance(operand.base, Register):
            return False
        return COPY_MARK in operand.base.name or any(
            each.in_memory and each.frame == 0 for each in self._classes.values()
        )

    def _operand(self, operand: Operand) -> Operand:
        if isinstance(operand, Symbol) and operand.name in self._classes:
            return Symbol(self._classes[operand.name].name)
        if isinstance(operand, Address) and isinstance(operand.base, Symbol):
            base = self._operand(operand.base)
            assert isinstance(base, Symbol)
            return Address(base, operand.offset)
        return operand

    def _put(self, origin: Instruction, opcode: str, *operands: Operand, guarded: bool = False) -> None:
        name, *modifiers = opcode.split(".")
        guard = origin.guard if guarded else None
        self._lines.append(
            Instruction(origin.line, origin.text, name, tuple(modifiers), list(operands), guard)
        )

    def _temporary(self, bits: int) -> Register:
        self._temporaries += 1
        return Register(f"/param{self._temporaries}", SCALAR_TYPES[f"b{bits}"])

    def _load(self, origin: Instruction, target: Operand, kind: ScalarType, field: _Field, bit: int) -> None:
        if isinstance(target, Symbol) and target.name == "_":
            return
        if not isinstance(target, Register) or target.negated or target.type.kind == "p":
            raise origin.error("the destination must be a register")
        wide, bits, own = field.register.type.bits, kind.bits, target.type
        if own.bits < bits:
            raise origin.error(f"the destination is .{own.name}, too small for .{kind.name}")
        source = field.register
        if bit:
            source = self._temporary(wide)
            self._put(origin, f"shr.u{wide}", source, field.register, Immediate(bit))
        if own.bits == bits == wide:
            self._put(origin, f"mov.b{wide}", target, source, guarded=True)
        elif own.bits > bits:
            sign = "s" if kind.signed else "u"
            self._put(origin, f"cvt.{sign}{own.bits}.{sign}{bits}", target, source, guarded=True)
        else:
            part = self._temporary(bits)
            self._put(origin, f"cvt.u{bits}.u{wide}", part, source)
            self._put(origin, f"mov.b{bits}", target, part, guarded=True)

    def _store(self, origin: Instruction, value: Operand, kind: ScalarType, field: _Field, bit: int) -> None:
        wide, bits = field.register.type.bits, kind.bits
        whole = kind.size == field.size
        target = field.register if whole else self._temporary(wide)
        if isinstance(value, Immediate):
            number = float_bits(value, bits) if kind.floating else value.value
            self._put(origin, f"mov.b{wide}", target, Immediate(number & ((1 << bits) - 1)), guarded=whole)
        elif bits == wide and isinstance(value, Register) and value.type.bits == bits:
            self._put(origin, f"mov.b{wide}", target, value, guarded=whole)
        else:
            self._put(origin, f"cvt.u{wide}.u{bits}", target, value, guarded=whole)
        if not whole:
            place = (Immediate(bit), Immediate(bits))
            self._put(origin, f"bfi.b{wide}", field.register, target, field.register, *place, guarded=True)


def _divide(found: _Class) -> None:
    """Divide a variable into fields that hold its accesses, if registers do."""
    spans: list[list[int]] = []
    for offset, size in sorted(found.accesses):
        if spans and offset < spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], offset + size)
        else:
            spans.append([offset, offset + size])
    if any(end - begin not in _WORDS for begin, end in spans):
        found.in_memory = True
    if found.in_memory:
        return
    for begin, end in spans:
        kind = SCALAR_TYPES["b64" if end - begin == 8 else "b32"]
        field = _Field(begin, end - begin, Register(f"{found.name}+{begin}", kind))
        found.fields.update(dict.fromkeys(range(begin, end), field))


def _is_param(modifier: str) -> bool:
    return modifier.partition("::")[0] == "param"


def _spaces(instruction: Instruction) -> list[str]:
    return [modifier.partition("::")[0] for modifier in instruction.modifiers]
