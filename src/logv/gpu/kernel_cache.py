"""Compiled kernels by what they were compiled from: of this process, and behind that, on disk."""

import hashlib
import struct
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import NamedTuple

from logv import ptx
from logv.errors import PtxError
from logv.gpu.disk_cache import DiskCache

_ENTRY_MARK = b"//.entry "
# Parsed programs that are kept; one is some fifty times as large as its text.
_MODULES_KEPT = 4
_LARGEST_KEPT = 256 << 10

Block = tuple[int, int, int]


class KernelCache:
    """Compiles programs, and keeps the kernels that were asked for last.

    Machine code depends on text and block dimensions only, so all GPUs of a process share it.

    Parameters
    ----------
    size : int
        Kernels kept; each takes some kilobytes.
    """

    def __init__(self, size: int = 512) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kernels: OrderedDict[_Key, ptx.Executable] = OrderedDict()

    def get(
        self, text: bytes | None, block: Block, disk: DiskCache | None = None, *, tiered: bool = False
    ) -> ptx.Executable:
        """Return the kernel of a program for blocks of these dimensions, compiled if need be.

        Parameters
        ----------
        text : bytes or None
            None where the GPU found no program at the address that it was given.
        block : tuple of int
        disk : DiskCache, optional
            Asked before the kernel is compiled, and given what was compiled.
        tiered : bool
            Whether baseline code will do where there is no optimised code yet.

        Raises
        ------
        PtxError
            There is no program, it does not compile, or it does not say which of its entries is meant.
        """
        if text is None:
            raise PtxError("no NUL-terminated program lies at the QMD's program address")
        keys = [_Key(_digest(text), block, optimized) for optimized in ((True, False) if tiered else (True,))]
        for key in keys:
            kernel = self._find(key, disk)
            if kernel is not None:
                break
        else:
            key = keys[-1]
            kernel = _compile(text, key)
            if disk is not None:
                disk.put(key.on_disk(), kernel.save())
        with self._lock:
            self._kernels[key] = kernel
            while len(self._kernels) > self._size:
                self._kernels.popitem(last=False)
        return kernel

    def optimize(
        self, kernel: ptx.Executable, text: bytes | None, block: Block, disk: DiskCache | None = None
    ) -> ptx.Executable:
        """Return optimised code that does what baseline code does, compiled if need be.

        Parameters
        ----------
        kernel : Executable
            Baseline code, for blocks of these dimensions.
        text : bytes or None
            What stands now where its program stood; if that is another one, `kernel` is returned.
        block : tuple of int
        disk : DiskCache, optional
            As for :meth:`get`.

        Raises
        ------
        PtxError
            As for :meth:`get`.
        """
        if text is None or _digest(text) != kernel.program:
            return kernel
        return self.get(text, block, disk)

    def _find(self, key: "_Key", disk: DiskCache | None) -> ptx.Executable | None:
        with self._lock:
            kernel = self._kernels.pop(key, None)
        if kernel is None and disk is not None:
            record = disk.get(key.on_disk())
            kernel = None if record is None else ptx.Executable.load(record)
        return kernel


class _Key(NamedTuple):
    """What tells kernels apart: the program's SHA-256 digest in hex, the block, and how it was compiled."""

    program: str
    block: Block
    optimized: bool

    def on_disk(self) -> bytes:
        """Return the key among everything that this user has compiled."""
        digest = hashlib.sha256(ptx.identity() + struct.pack("<3Q?", *self.block, self.optimized))
        digest.update(bytes.fromhex(self.program))
        return digest.digest()


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _compile(text: bytes, key: _Key) -> ptx.Executable:
    first, _, rest = text.partition(b"\n")
    # Programs have many kernels, and the first line is all that differs between them. It stays a line, so
    # that errors name the lines of the text.
    plain = b"//\n" + rest if first.startswith(_ENTRY_MARK) else text
    module = _parse(plain) if len(plain) <= _LARGEST_KEPT else ptx.parse(plain)
    name = _entry_name(first, module)
    return ptx.Executable.of(ptx.compile_entry(module, name, key.block, optimize=key.optimized), key.program)


@lru_cache(maxsize=_MODULES_KEPT)
def _parse(text: bytes) -> ptx.Module:
    return ptx.parse(text)


def _entry_name(first: bytes, module: ptx.Module) -> str:
    """Return the entry that the first line names (``//.entry NAME``), or the only one."""
    if first.startswith(_ENTRY_MARK):
        return first[len(_ENTRY_MARK) :].strip().decode("ascii", "replace")
    if len(module.entries) != 1:
        raise PtxError(f"the program has {len(module.entries)} entries and no `//.entry NAME` first line")
    return next(iter(module.entries))
