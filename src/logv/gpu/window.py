"""Windows: runs of the GPU's physical memory, each behind one sealed memfd."""

import mmap
import os

from logv.errors import InvalidValueError
from logv.memfd import map_memfd, sealed_memfd
from logv.uapi import Domain

WINDOW_ALIGNMENT = 2 << 20


class Window:
    """A run of physical memory: one memfd, mapped by the GPU and by whoever is handed the descriptor.

    Parameters
    ----------
    domain : Domain
        VRAM, or system memory on the bus.
    address : int
        VRAM physical address or bus address of the first byte, a multiple of 2 MiB.
    size : int
        Bytes, a multiple of 4 KiB.

    Attributes
    ----------
    fd : int
        The sealed memfd.
    memory : memoryview
        A CPU mapping of the whole window, made at first use.
    """

    def __init__(self, domain: Domain, address: int, size: int) -> None:
        if size <= 0 or size % mmap.PAGESIZE or address % WINDOW_ALIGNMENT:
            raise InvalidValueError(f"a window of {size} bytes at {address:#x} is not page-aligned")
        self.domain = domain
        self.address = address
        self.size = size
        self.fd = sealed_memfd(f"logv-{domain.name.lower()}", size)
        self._memory: memoryview | None = None

    def __repr__(self) -> str:
        return f"<Window {self.domain.name} {self.address:#x}+{self.size:#x}>"

    @property
    def memory(self) -> memoryview:
        """The window's bytes (format ``B``, writable)."""
        if self._memory is None:
            self._memory = map_memfd(self.fd, self.size)
        return self._memory

    def close(self) -> None:
        """Give up the descriptor and this object's mapping; views that others took keep theirs."""
        self._memory = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
