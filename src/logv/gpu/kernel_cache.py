"""Compiled kernels by what they were compiled from: of this process, and behind that, on disk."""

import hashlib
import struct
import threading
from collections import OrderedDict
from functools import lru_cache

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
        self._kernels: OrderedDict[tuple[bytes, Block], ptx.Executable] = OrderedDict()

    def get(self, text: bytes | None, block: Block, disk: DiskCache | None = None) -> ptx.Executable:
        """Return the kernel of a program for blocks of these dimensions, compiled if need be.

        Parameters
        ----------
        text : bytes or None
            None where the GPU found no program at the address that it was given.
        block : tuple of int
        disk : DiskCache, optional
            Asked before the kernel is compiled, and given what was compiled.

        Raises
        ------
        PtxError
            There is no program, it does not compile, or it does not say which of its entries is meant.
        """
        if text is None:
            raise PtxError("no NUL-terminated program lies at the QMD's program address")
        key = (hashlib.sha256(text).digest(), block)
        with self._lock:
            kernel = self._kernels.pop(key, None)
        if kernel is None:
            kernel = _compile(text, block) if disk is None else _load(text, block, disk)
        with self._lock:
            self._kernels[key] = kernel
            while len(self._kernels) > self._size:
                self._kernels.popitem(last=False)
        return kernel


def _load(text: bytes, block: Block, disk: DiskCache) -> ptx.Executable:
    """Return the kernel from disk, or compile it and store it there."""
    key = hashlib.sha256(ptx.identity() + struct.pack("<3Q", *block) + text).digest()
    record = disk.get(key)
    if record is not None:
        return ptx.Executable.load(record)
    kernel = _compile(text, block)
    disk.put(key, kernel.save())
    return kernel


def _compile(text: bytes, block: Block) -> ptx.Executable:
    first, _, rest = text.partition(b"\n")
    # Programs have many kernels, and the first line is all that differs between them. It stays a line, so
    # that errors name the lines of the text.
    plain = b"//\n" + rest if first.startswith(_ENTRY_MARK) else text
    module = _parse(plain) if len(plain) <= _LARGEST_KEPT else ptx.parse(plain)
    return ptx.Executable.of(ptx.compile_entry(module, _entry_name(first, module), block=block))


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
