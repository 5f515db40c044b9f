"""Shared memory that nobody who holds it can resize."""

import fcntl
import mmap
import os

from logv.errors import OutOfMemoryError

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed_memfd(name: str, size: int) -> int:
    """Return the descriptor of a new memfd of `size` bytes, zero and sealed against resizing.

    A file that could shrink would let one holder raise SIGBUS in another.

    Raises
    ------
    OutOfMemoryError
        The system has no room for it.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        os.close(fd)
        raise OutOfMemoryError(f"no memory for {size} bytes of {name}: {error}") from error
    return fd


def map_memfd(fd: int, size: int) -> memoryview:
    """Return the bytes of a memfd, writable, in huge pages where the kernel offers them."""
    mapping = mmap.mmap(fd, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(mapping)
