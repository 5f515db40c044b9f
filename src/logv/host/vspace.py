"""GPU address spaces: virtual addresses, mappings, page tables, and the TLB invalidates between them."""

from bisect import bisect_right, insort
from contextlib import suppress
from dataclasses import dataclass

from logv.errors import BusyError, InvalidValueError, OutOfMemoryError
from logv.gpu import Gpu
from logv.host._arguments import PAGE_SIZE
from logv.host._extents import FreeExtents
from logv.host._quota import Quota
from logv.host._table_pool import TableShare
from logv.host.page_tables import PageTables, page_size_for
from logv.host.vram import HUGE_PAGE_SIZE, Buffer
from logv.hw.software_gpu import APERTURE_VA_BITS

# Null pointers, and null pointers with a 32-bit offset, fault.
VA_BASE = 1 << 32
# The top of what kernels reach stays unmapped as well, so that the last mapping has its guard too.
VA_LIMIT = (1 << APERTURE_VA_BITS) - HUGE_PAGE_SIZE
# Unmapped bytes after each mapping, so that running over a buffer's end faults.
GUARD_SIZE = PAGE_SIZE


@dataclass(slots=True, eq=False)
class Mapping:
    """Pages of a buffer object in an address space.

    Attributes
    ----------
    address : int
        GPU virtual address, a multiple of `page`.
    size : int
        Bytes, whole pages of 4 KiB.
    page : int
        The largest page size used, in bytes.
    """

    address: int
    size: int
    page: int
    buffer: Buffer


class VSpace:
    """One GPU address space.

    Parameters
    ----------
    gpu : Gpu
    spaces : Quota
        Address spaces of the partition; one is taken.
    mappings : Quota
        Mappings of the partition; each mapping takes one.
    share : TableShare
        Page tables of the partition.

    Attributes
    ----------
    id : int
        The GPU's number of this address space.
    channels : int
        Channels that use it.
    """

    def __init__(self, gpu: Gpu, spaces: Quota, mappings: Quota, share: TableShare) -> None:
        self._gpu = gpu
        self._spaces_quota = spaces
        self._mappings_quota = mappings
        spaces.take()
        try:
            self._tables = PageTables(share)
            try:
                self.id = gpu.attach_vspace(self._tables.pdb)
            except BaseException:
                self._tables.close()
                raise
        except BaseException:
            spaces.give()
            raise
        self._extents = FreeExtents(VA_BASE, VA_LIMIT - VA_BASE)
        self._mappings: dict[int, Mapping] = {}
        self._addresses: list[int] = []
        self.channels = 0

    def map(self, buffer: Buffer, offset: int, size: int, *, writable: bool) -> int:
        """Map pages of a buffer object; return their address.

        Parameters
        ----------
        buffer : Buffer
        offset, size : int
            Bytes, whole pages, inside the buffer.

        Raises
        ------
        ExhaustedError
            The partition's mappings are used up.
        OutOfMemoryError
            Virtual addresses, page tables or the GPU's mirror are used up.
        """
        physical = buffer.physical + offset
        page = page_size_for(physical, size)
        self._mappings_quota.take()
        address = self._extents.take(size + GUARD_SIZE, page)
        if address is None:
            self._mappings_quota.give()
            raise OutOfMemoryError(
                f"no {size:#x} bytes of GPU virtual addresses are free in one piece; unmap something first"
            )
        try:
            self._tables.map(address, size, page, physical, buffer.domain, writable=writable)
            self._gpu.invalidate_tlb(self.id, address, size)
        except BaseException:
            self._clear(address, size, page)
            self._extents.give(address, size + GUARD_SIZE)
            self._mappings_quota.give()
            raise
        self._mappings[address] = Mapping(address, size, page, buffer)
        insort(self._addresses, address)
        buffer.mappings += 1
        return address

    def unmap(self, address: int) -> None:
        """Undo one :meth:`map`; raise InvalidValueError if none returned this address."""
        mapping = self._mappings.get(address)
        if mapping is None:
            raise InvalidValueError(
                f"no mapping starts at {address:#x}; unmap takes the address that vspace_map returned"
            )
        del self._mappings[address]
        del self._addresses[bisect_right(self._addresses, address) - 1]
        self._clear(address, mapping.size, mapping.page)
        self._extents.give(address, mapping.size + GUARD_SIZE)
        self._forget(mapping)

    def covers(self, address: int, size: int) -> bool:
        """Return whether ``[address, address + size)`` lies within one mapping."""
        position = bisect_right(self._addresses, address) - 1
        if position < 0:
            return False
        mapping = self._mappings[self._addresses[position]]
        return address + size <= mapping.address + mapping.size

    def close(self) -> None:
        """Give everything back; raise BusyError while channels use the address space."""
        if self.channels:
            raise BusyError(f"{self.channels} channels use the address space; free them first")
        # Detaching drops the TLB and the mirror as a whole: no invalidate per mapping.
        self._gpu.detach_vspace(self.id)
        self._tables.close()
        for mapping in self._mappings.values():
            self._forget(mapping)
        self._mappings.clear()
        self._addresses.clear()
        self._spaces_quota.give()

    def _clear(self, address: int, size: int, page: int) -> None:
        empty = self._tables.unmap(address, size, page)
        # Where the host cannot even take a mirrored range away, nothing of it is reachable either.
        with suppress(OutOfMemoryError):
            self._gpu.invalidate_tlb(self.id, address, size)
        self._tables.release(empty)

    def _forget(self, mapping: Mapping) -> None:
        mapping.buffer.mappings -= 1
        self._mappings_quota.give()
