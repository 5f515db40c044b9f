"""What the parser makes of PTX text: statements with resolved names, before any meaning is given."""

from dataclasses import dataclass, field

from logv.errors import PtxError
from logv.ptx._types import ScalarType


@dataclass(frozen=True, slots=True)
class Register:
    """A register operand; `name` is unique in its entry. `negated` stands for ``!%p``."""

    name: str
    type: ScalarType
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Immediate:
    """A literal. `value` is an integer, or the bits of a floating point number of `float_bits` width."""

    value: int
    float_bits: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """The address of a variable, or the name of a parameter, label or special register."""

    name: str


@dataclass(frozen=True, slots=True)
class Address:
    """``[base + offset]``."""

    base: Register | Symbol | Immediate
    offset: int


@dataclass(frozen=True, slots=True)
class Group:
    """``{a, b}``, ``p|q`` or a call's ``(a, b)``: several operands in the place of one."""

    members: "tuple[Operand, ...]"
    separator: str = ","


Operand = Register | Immediate | Symbol | Address | Group


@dataclass(slots=True)
class Instruction:
    """One PTX instruction with its guard."""

    line: int
    text: str
    opcode: str
    modifiers: tuple[str, ...]
    operands: list[Operand]
    guard: Register | None = None

    def error(self, reason: str) -> PtxError:
        """Return the error that names this instruction."""
        return PtxError(reason, line=self.line, instruction=self.text)


@dataclass(frozen=True, slots=True)
class Label:
    """A branch target."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable in shared, local or constant memory, at its offset in that memory."""

    name: str
    space: str
    offset: int
    size: int


@dataclass(slots=True)
class Body:
    """The statements of one entry with every call inlined, and the variables they can name.

    Registers, labels and variables of an inlined function carry ``/`` and the number of the copy behind
    their name. Call parameters are registers by then, or ``.local`` variables (see
    :mod:`logv.ptx._call_parameters`). Variables of the module's data are reached by their address (see
    :mod:`logv.ptx._data`), which the first instruction then loads: ``ld.param.u64 /data, [data_offset]``,
    a number in the place of a parameter's name.
    """

    statements: list[Instruction | Label] = field(default_factory=list)
    variables: dict[str, Variable] = field(default_factory=dict)
    branch_tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
