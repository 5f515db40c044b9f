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
class Entry:
    """One kernel of a module.

    Attributes
    ----------
    name : str
    parameters : tuple of Parameter
        In order, at natural alignment, as PTX lays out ``.param``.
    parameter_bytes : int
        Size of the parameter block.
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
        Initial contents of constant memory.
    version, target : str
        As the text declares them.
    """

    entries: Mapping[str, Entry]
    constants: bytes = field(repr=False)
    version: str
    target: str
