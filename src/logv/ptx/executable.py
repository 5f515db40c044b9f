"""Compiled kernels without what they were compiled from: to launch, to store, and to load again."""

import hashlib
import json
import struct
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Self

from logv.hw import software_gpu
from logv.ptx import _dispatch
from logv.ptx._jit import MachineCode, load_object, target_identity
from logv.ptx.compiler import _SYMBOL, CompiledKernel

_HEADER = struct.Struct("<I")  # bytes of the description that follows; the object is the rest


@dataclass(frozen=True, slots=True)
class Executable:
    """What a launch needs of a compiled kernel; the code lives as long as this object.

    Every field but the code is stored as JSON, so it must be a number, text or None.

    Attributes
    ----------
    name : str
    program : str
        Names the text that it was compiled from, as whoever compiled it does.
    parameter_bytes : int
        Size of the parameter block.
    shared_bytes, scratch_bytes : int
    optimized : bool
        As in :class:`CompiledKernel`.
    """

    name: str
    program: str
    parameter_bytes: int
    shared_bytes: int
    scratch_bytes: int
    optimized: bool
    _code: MachineCode = field(repr=False)

    @property
    def address(self) -> int:
        """Host address of the code."""
        return self._code.address

    @classmethod
    def of(cls, kernel: CompiledKernel, program: str) -> Self:
        """Return the executable part of a kernel."""
        return cls(
            name=kernel.name,
            program=program,
            parameter_bytes=kernel.entry.parameter_bytes,
            shared_bytes=kernel.shared_bytes,
            scratch_bytes=kernel.scratch_bytes,
            optimized=kernel.optimized,
            _code=kernel._code,
        )

    def save(self) -> bytes:
        """Return a form for :meth:`load`, of some kilobytes."""
        description = json.dumps({name: getattr(self, name) for name in self._stored()}).encode()
        return _HEADER.pack(len(description)) + description + self._code.object_code

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Return what :meth:`save` saved in a process with the same :func:`identity`.

        Parameters
        ----------
        data : bytes
            Trusted: it becomes code of this process.
        """
        (length,) = _HEADER.unpack_from(data)
        begin = _HEADER.size + length
        return cls(**json.loads(data[_HEADER.size : begin]), _code=load_object(data[begin:], _SYMBOL))

    @classmethod
    def _stored(cls) -> list[str]:
        return [each.name for each in fields(cls) if each.name != "_code"]


@cache
def identity() -> bytes:
    """Return a digest of everything but the program that decides what machine code comes out.

    That is this compiler itself, LLVM and the host's processor with its features.
    """
    return hashlib.sha256(_SOURCES + target_identity().encode()).digest()


def _digest_sources() -> bytes:
    # The sources rather than a version number: whoever changes the compiler must not run yesterday's code.
    digest = hashlib.sha256()
    compiler = sorted(Path(__file__).parent.rglob("*.py"))
    # Code that kernels call into, by a table of its own.
    for path in (Path(software_gpu.__file__), Path(_dispatch.__file__), *compiler):
        source = path.read_bytes()
        digest.update(struct.pack("<Q", len(source)) + source)
    return digest.digest()


# Taken while the compiler is imported: what is edited later is not what this process runs.
_SOURCES = _digest_sources()
