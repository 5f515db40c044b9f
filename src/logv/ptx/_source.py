"""A module as it is written: what the parser yields, before calls are inlined and variables have a place."""

from dataclasses import dataclass, field

from logv.ptx._syntax import Instruction, Label, Register
from logv.ptx.module import Parameter


@dataclass(frozen=True, slots=True)
class Reference:
    """Part of a variable's initial contents that is an address: ``address >> shift``, `size` bytes of it.

    Attributes
    ----------
    offset, size : int
        Where it lies in the variable, in bytes.
    shift : int
        In bits.
    name : str
        Variable whose address it is.
    addend : int
    """

    offset: int
    size: int
    shift: int
    name: str
    addend: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """A variable as it is declared.

    Attributes
    ----------
    name, space : str
    size, align : int
        Size 0 stands for the dynamic part of shared memory.
    values : bytes or None
        Initial contents, as far as they are given.
    references : tuple of Reference
    linkage : str
        ``extern``, ``visible``, ``weak`` or ``common``; empty where none is declared.
    line : int
    """

    name: str
    space: str
    size: int
    align: int
    values: bytes | None
    references: tuple[Reference, ...]
    linkage: str
    line: int


@dataclass(frozen=True, slots=True)
class Formal:
    """A parameter or return value of a function: `size` bytes, or a register."""

    name: str
    size: int
    align: int
    register: Register | None = None


@dataclass(slots=True)
class Code:
    """What stands between the braces of an entry or function; names are unique in it."""

    statements: list[Instruction | Label] = field(default_factory=list)
    variables: dict[str, Declaration] = field(default_factory=dict)
    branch_tables: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntrySource:
    """One entry; ``max_threads`` and ``required_block`` as in :class:`logv.ptx.module.Entry`."""

    name: str
    parameters: tuple[Parameter, ...]
    parameter_bytes: int
    max_threads: int | None
    required_block: tuple[int, int, int] | None
    code: Code


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """A function; without `code` it is only declared."""

    name: str
    returns: tuple[Formal, ...]
    parameters: tuple[Formal, ...]
    code: Code | None


@dataclass(slots=True)
class Source:
    """A module.

    Attributes
    ----------
    entries, functions, variables : dict
        By name, in the text's order.
    version, target : str
    """

    entries: dict[str, EntrySource] = field(default_factory=dict)
    functions: dict[str, FunctionSource] = field(default_factory=dict)
    variables: dict[str, Declaration] = field(default_factory=dict)
    version: str = ""
    target: str = ""
