"""What a client announced of its memory."""

import errno
import fcntl
import os
import stat

from logv.hw import vfio_user as hw
from logv.transport.messages import ProtocolError, invalid

PAGE_SIZE = 4096
MAX_DMA_MAPS = 1024
"""Regions at one time; more would let a client fill the server's memory with records."""

_ACCESS = hw.VFIO_USER_F_DMA_REGION_READ | hw.VFIO_USER_F_DMA_REGION_WRITE
_ADDRESS_LIMIT = 1 << 64


class DmaTable:
    """The regions of DMA addresses that a client has mapped.

    The GPU reaches the memory that the device itself has (BAR2 and BAR4) and no other, so what is
    announced here is checked and remembered, and its descriptor is not kept.
    """

    def __init__(self) -> None:
        self._regions: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._regions)

    def map(self, flags: int, offset: int, address: int, size: int, fd: int | None) -> None:
        """Add a region.

        Raises
        ------
        ProtocolError
            EEXIST if it overlaps another, ENOSPC if there are too many, else EINVAL.
        """
        if flags & ~_ACCESS:
            raise invalid(f"unknown flags {flags:#x} of a DMA region")
        if not size or (address | size | offset) % PAGE_SIZE or address + size > _ADDRESS_LIMIT:
            raise invalid(f"a DMA region of {size:#x} bytes at {address:#x}, offset {offset:#x}")
        if fd is not None:
            _check_file(fd, offset + size)
        elif offset:
            raise invalid("an offset into no file")
        if any(
            start < address + size and address < start + length for start, length in self._regions.items()
        ):
            raise ProtocolError(errno.EEXIST, f"the DMA region at {address:#x} overlaps another")
        if len(self._regions) >= MAX_DMA_MAPS:
            raise ProtocolError(errno.ENOSPC, f"more than {MAX_DMA_MAPS} DMA regions")
        self._regions[address] = size

    def unmap(self, flags: int, address: int, size: int) -> int:
        """Remove a region, or all of them; return how many bytes were mapped.

        Raises
        ------
        ProtocolError
            ENOENT if there is no such region, else EINVAL.
        """
        if flags == hw.VFIO_DMA_UNMAP_FLAG_ALL:
            if address or size:
                raise invalid("unmapping everything names no region")
            removed = sum(self._regions.values())
            self._regions.clear()
            return removed
        if flags:
            # The dirty bitmap is not offered.
            raise invalid(f"unknown flags {flags:#x} of an unmapping")
        if self._regions.get(address) != size:
            raise ProtocolError(errno.ENOENT, f"no DMA region of {size:#x} bytes at {address:#x}")
        del self._regions[address]
        return size


def _check_file(fd: int, end: int) -> None:
    """Refuse a file that could shrink: who maps it would get SIGBUS."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size < end:
        raise invalid("a DMA region's descriptor is no file of that size")
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if not seals & fcntl.F_SEAL_SHRINK:
        raise invalid("a DMA region's file is not sealed against shrinking (F_SEAL_SHRINK)")
