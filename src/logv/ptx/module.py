"""A parsed PTX module: what a driver needs to know of it before anything is compiled."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from logv.ptx._syntax import Body


@dataclass(frozen=True, slots=True)
class Parameter:
    """One kernel parameter.

    Attributes
    ----------
    name : str
    offset, size, align : int
        Place in the parameter block, in bytes.
    type : str
        PTX scalar type without the dot; ``ptr`` if the text marks it as a pointer, ``b8`` for an array.
    """

    name: str
    offset: int
    size: int
    align: int
    type: str


@dataclass(frozen=True, slots=True)
class DataSymbol:
    """Where a variable lies in a module's data; `space` is ``global`` or ``const``."""

    offset: int
    size: int
    space: str


@dataclass(frozen=True, slots=True)
class Relocation:
    """`size` bytes at `offset` of a module's data: those of ``address + target`` from bit `shift` on."""

    offset: int
    size: int
    shift: int
    target: int


@dataclass(frozen=True, slots=True)
class Data:
    """The variables of a module that kernels write or the host can name.

    Whoever loads the module gives them `size` bytes of GPU memory at a multiple of `align`, all zero,
    writes the initial contents there, and passes the address to each entry that has a `data_offset`.

    Attributes
    ----------
    size, align : int
        Size 0 if there are no such variables.
    pieces : tuple of (int, bytes)
        Initial contents, by offset; what lies between is zero.
    relocations : tuple of Relocation
    symbols : mapping of str to DataSymbol
    """

    size: int
    align: int
    pieces: tuple[tuple[int, bytes], ...] = field(repr=False)
    relocations: tuple[Relocation, ...] = field(repr=False)
    symbols: Mapping[str, DataSymbol] = field(repr=False)

    def write(self, memory: memoryview, address: int) -> None:
        """Write the initial contents to `memory`, all zero so far, whose GPU virtual address is `address`."""
        for offset, contents in self.pieces:
            memory[offset : offset + len(contents)] = contents
        for each in self.relocations:
            value = (address + each.target) % (1 << 64) >> each.shift
            part = value.to_bytes(8, "little")[: each.size]
            memory[each.offset : each.offset + each.size] = part


@dataclass(frozen=True, slots=True)
class Entry:
    """One kernel of a module.

    Attributes
    ----------
    name : str
    parameters : tuple of Parameter
        In order, at natural alignment, as PTX lays out ``.param``.
    parameter_bytes : int
        Size of the parameter block.
    data_offset : int or None
        Where in the parameter block the address of the module's data is expected, in 8 bytes behind all
        parameters; None if the entry does not use it.
    shared_bytes : int
        Static shared memory, in bytes; the dynamic part begins at the next multiple of 16.
    local_bytes : int
        Local memory of one thread, in bytes.
    max_threads : int or None
        Product of ``.maxntid``, if given.
    required_block : tuple of int or None
        ``.reqntid``, if given.
    """

    name: str
    parameters: tuple[Parameter, ...]
    parameter_bytes: int
    data_offset: int | None
    shared_bytes: int
    local_bytes: int
    max_threads: int | None
    required_block: tuple[int, int, int] | None
    body: Body = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Module:
    """A module whose every instruction is known to be supported.

    Attributes
    ----------
    entries : mapping of str to Entry
    constants : bytes
        Tables that are compiled into the kernels.
    data : Data
    version, target : str
        As the text declares them.
    """

    entries: Mapping[str, Entry]
    constants: bytes = field(repr=False)
    data: Data
    version: str
    target: str
