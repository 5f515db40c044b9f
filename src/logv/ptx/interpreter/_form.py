"""One instruction taken apart: its types, flags and operands, once, before anything runs."""

from collections.abc import Callable, Sequence

from logv.errors import PtxError
from logv.hw.software_gpu import WARP_SIZE
from logv.ptx._syntax import Address, Group, Immediate, Instruction, Operand, Register, Symbol
from logv.ptx.interpreter._kinds import Kind, kind_of
from logv.ptx.interpreter._real import FORMATS
from logv.ptx.interpreter._specials import SPECIALS
from logv.ptx.interpreter._thread import WINDOWS, Thread
from logv.ptx.module import Entry

Step = Callable[[Thread], None]
Reader = Callable[[Thread], int]
Writer = Callable[[Thread, int], None]

PREDICATE = Kind("pred", 1)
B64 = Kind("b64", 64)


class Form:
    """What a decoder works on.

    Parameters
    ----------
    instruction : Instruction
    entry : Entry
        Names variables and parameters.
    labels : dict of str to int
        Label to statement number.
    place : int
        Number of this statement.

    Attributes
    ----------
    kinds : list of Kind
        The modifiers that are types, in order.
    flags : set of str
        The others.
    """

    def __init__(self, instruction: Instruction, entry: Entry, labels: dict[str, int], place: int) -> None:
        self.instruction = instruction
        self.entry = entry
        self.labels = labels
        self.place = place
        self.opcode = instruction.opcode
        self.kinds: list[Kind] = []
        self.flags: set[str] = set()
        for modifier in instruction.modifiers:
            kind = kind_of(modifier)
            if kind is not None:
                self.kinds.append(kind)
            else:
                self.flags.add(modifier)

    def error(self, reason: str) -> PtxError:
        """Return the error that names this instruction."""
        return self.instruction.error(reason)

    # -- modifiers ----------------------------------------------------------------------------------

    def types(self, count: int, flags: str = "", *, among: str = "") -> list[Kind]:
        """Return the types, after checking their number and names and that no flag is unknown."""
        if len(self.kinds) != count:
            raise self.error(f"{count} type(s) expected, found {len(self.kinds)}")
        unknown = self.flags - set(flags.split())
        if unknown:
            raise self.error(f"'.{min(unknown)}' is not known with {self.opcode}")
        for kind in self.kinds:
            if among and kind.name not in among.split():
                raise self.error(f".{kind.name} is not a type of {self.opcode}")
        return self.kinds

    def choose(self, names: str, default: str = "") -> str:
        """Return the flag among these names; without a default, one is needed."""
        found = self.flags & set(names.split())
        if len(found) > 1 or not (found or default):
            raise self.error(f"one of .{names.replace(' ', ' .')} is needed")
        return found.pop() if found else default

    # -- operands -----------------------------------------------------------------------------------

    def operands(self, count: int) -> list[Operand]:
        """Return the operands after checking how many there are."""
        if len(self.instruction.operands) != count:
            raise self.error(f"{count} operands expected, found {len(self.instruction.operands)}")
        return self.instruction.operands

    def source(self, operand: Operand, kind: Kind, *, wider: bool = False) -> Reader:
        """Return what reads an operand as a type; signed integers come as negative numbers.

        Parameters
        ----------
        wider : bool
            Take the low part of a wider register.
        """
        if isinstance(operand, Register):
            return self._register(operand, kind, wider)
        if isinstance(operand, Immediate):
            constant = kind.number(self._immediate(operand, kind))
            return lambda thread: constant
        if isinstance(operand, Symbol) and operand.name in SPECIALS:
            _, special = SPECIALS[operand.name]
            return lambda thread: kind.number(special(thread))
        if isinstance(operand, Symbol) and operand.name == "WARP_SZ":
            return lambda thread: WARP_SIZE
        if isinstance(operand, Symbol):
            place = kind.number(self.place_of(operand.name))
            return lambda thread: place
        if isinstance(operand, Address) and isinstance(operand.base, Symbol):
            place = kind.number(self.place_of(operand.base.name) + operand.offset)
            return lambda thread: place
        raise self.error("a register, number or variable is expected")

    def _register(self, register: Register, kind: Kind, wider: bool) -> Reader:
        own = register.type
        if (own.kind == "p") != kind.predicate:
            raise self.error(f"{register.name} is .{own.name} where .{kind.name} is expected")
        if own.bits < kind.bits or (own.bits > kind.bits and not wider):
            raise self.error(f"{register.name} has {own.bits} bits where {kind.bits} are expected")
        name, flip = register.name, int(register.negated)
        if flip and not kind.predicate:
            raise self.error("'!' is for predicates")
        if flip:
            return lambda thread: thread.registers.get(name, 0) ^ 1
        return lambda thread: kind.number(thread.registers.get(name, 0))

    def _immediate(self, operand: Immediate, kind: Kind) -> int:
        if kind.predicate:
            return int(operand.value != 0)
        if not kind.floating:
            return operand.value
        if operand.float_bits == kind.bits:
            return operand.value
        if operand.float_bits:
            return kind.format.from_float(FORMATS[f"f{operand.float_bits}"].to_float(operand.value))
        # Half precision has no literals of its own: its numbers are written as bits.
        return (
            operand.value if kind.bits == 16 or kind.packed else kind.format.from_float(float(operand.value))
        )

    def place_of(self, name: str) -> int:
        """Return the address of a variable or parameter."""
        variable = self.entry.body.variables.get(name)
        if variable is not None:
            # A constant's address is a generic one from the start: tables declared .global stand there too.
            return variable.offset + (WINDOWS["const"] if variable.space == "const" else 0)
        for parameter in self.entry.parameters:
            if parameter.name == name:
                return parameter.offset
        raise self.error(f"{name} is not declared")

    def target(self, operand: Operand, kind: Kind, *, wider: bool = False) -> Writer:
        """Return what writes a result of a type; with `wider` it is extended to a wider register."""
        if isinstance(operand, Symbol) and operand.name == "_":
            return lambda thread, value: None
        if not isinstance(operand, Register) or operand.negated:
            raise self.error("the destination must be a register")
        own = operand.type
        if (own.kind == "p") != kind.predicate:
            raise self.error(f"{operand.name} is .{own.name}, the result is .{kind.name}")
        if own.bits < kind.bits or (own.bits > kind.bits and not wider):
            raise self.error(f"{operand.name} has {own.bits} bits, the result has {kind.bits}")
        name, mask = operand.name, (1 << own.bits) - 1

        def write(thread: Thread, value: int) -> None:
            thread.registers[name] = kind.number(value) & mask

        return write

    def pair(self, operand: Operand) -> tuple[Operand, Operand]:
        """Return both of ``p|q``; the second is the sink where there is none."""
        if isinstance(operand, Group):
            if operand.separator != "|" or len(operand.members) != 2:
                raise self.error("a destination p or p|q is expected")
            return operand.members[0], operand.members[1]
        return operand, Symbol("_")

    # -- the usual instruction ----------------------------------------------------------------------

    def compute(self, result: Kind, sources: Sequence[Kind], function: Callable[..., int]) -> Step:
        """Return the step of an instruction whose one result depends on its sources only."""
        target, *operands = self.operands(1 + len(sources))
        write = self.target(target, result)
        readers = [self.source(operand, kind) for operand, kind in zip(operands, sources, strict=True)]

        def step(thread: Thread) -> None:
            write(thread, function(*[read(thread) for read in readers]))

        return step


Decoder = Callable[[Form], Step]
