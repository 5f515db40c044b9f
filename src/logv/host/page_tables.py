"""Page tables, "version 2" (``hw.dev_mmu``), of one address space.

=======  =======  ==========================================================
level    VA bits  here
=======  =======  ==========================================================
PDE3     48:47    one table, whose entry 0 is used
PDE2     46:38    one table, whose entry 0 is used
PDE1     37:29    one table: 2**38 bytes are all that kernels reach
PDE0     28:21    a table per 512 MiB in use; 2 MiB pages stand in it
PTE 64K  20:16    a table per 2 MiB in use with 64 KiB pages
PTE 4K   20:12    a table per 2 MiB in use with 4 KiB pages
=======  =======  ==========================================================
"""

from collections.abc import Iterator

import numpy as np

from logv.host._arguments import PAGE_SIZE
from logv.host._table_pool import ENTRIES, TableShare, Words
from logv.host.vram import BIG_PAGE_SIZE, HUGE_PAGE_SIZE
from logv.hw import dev_mmu
from logv.uapi import Domain

_PDE1_SHIFT = dev_mmu.NV_MMU_VER2_VA_PDE1.low
_SHIFTS = {
    HUGE_PAGE_SIZE: dev_mmu.NV_MMU_VER2_VA_PDE0.low,
    BIG_PAGE_SIZE: dev_mmu.NV_MMU_VER2_VA_PTE_64K.low,
    PAGE_SIZE: dev_mmu.NV_MMU_VER2_VA_PTE_4K.low,
}
_HUGE_SHIFT = _SHIFTS[HUGE_PAGE_SIZE]
_BIG_SHIFT = _SHIFTS[BIG_PAGE_SIZE]
_SMALL_SHIFT = _SHIFTS[PAGE_SIZE]
_INDEX = {
    _HUGE_SHIFT: dev_mmu.NV_MMU_VER2_VA_PDE0,
    _BIG_SHIFT: dev_mmu.NV_MMU_VER2_VA_PTE_64K,
    _SMALL_SHIFT: dev_mmu.NV_MMU_VER2_VA_PTE_4K,
}
# What one page adds to the address field of a PTE: consecutive PTEs in one vector operation.
_STEPS: dict[int, Words] = {
    shift: np.arange(ENTRIES, dtype=np.uint64)
    * np.uint64(dev_mmu.NV_MMU_VER2_PTE_ADDRESS.encode(1 << shift >> dev_mmu.NV_MMU_VER2_PTE_ADDRESS_SHIFT))
    for shift in _INDEX
}


def page_size_for(physical: int, size: int) -> int:
    """Return the largest page that `size` bytes at physical address `physical` can be mapped with."""
    for page in (HUGE_PAGE_SIZE, BIG_PAGE_SIZE):
        if size >= page and physical % page == 0:
            return page
    return PAGE_SIZE


def _runs(address: int, size: int, page: int) -> Iterator[tuple[int, int, int]]:
    """Cut a range into (shift, address, count) runs of equal pages, each within one table.

    `address` is a multiple of `page`, the largest page to use; what is left at the end is mapped with
    smaller ones.
    """
    end = address + size
    shift = _SHIFTS[page]
    while address < end:
        while end - address < 1 << shift:
            shift = _BIG_SHIFT if shift == _HUGE_SHIFT else _SMALL_SHIFT
        table_span = 1 << (_INDEX[shift].high + 1)
        count = min(end - address, table_span - address % table_span) >> shift
        yield shift, address, count
        address += count << shift


def _pde(address: int) -> int:
    return dev_mmu.NV_MMU_VER2_PDE_APERTURE.encode(
        dev_mmu.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY
    ) | dev_mmu.NV_MMU_VER2_PDE_ADDRESS.encode(address >> dev_mmu.NV_MMU_VER2_PDE_ADDRESS_SHIFT)


def _dual_pde_big(address: int) -> int:
    return dev_mmu.NV_MMU_VER2_DUAL_PDE_APERTURE_BIG.encode(
        dev_mmu.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY
    ) | dev_mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG.encode(
        address >> dev_mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG_SHIFT
    )


def _dual_pde_small(address: int) -> int:
    """Return the upper half of the 16-byte entry."""
    whole = dev_mmu.NV_MMU_VER2_DUAL_PDE_APERTURE_SMALL.encode(
        dev_mmu.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY
    ) | dev_mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL.encode(
        address >> dev_mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL_SHIFT
    )
    return whole >> 64


def _pte(physical: int, domain: Domain, *, writable: bool) -> int:
    aperture = (
        dev_mmu.NV_MMU_VER2_PTE_APERTURE_VIDEO_MEMORY
        if domain is Domain.VRAM
        else dev_mmu.NV_MMU_VER2_PTE_APERTURE_SYSTEM_COHERENT_MEMORY
    )
    return (
        dev_mmu.NV_MMU_VER2_PTE_VALID.encode(1)
        | dev_mmu.NV_MMU_VER2_PTE_APERTURE.encode(aperture)
        | dev_mmu.NV_MMU_VER2_PTE_READ_ONLY.encode(not writable)
        | dev_mmu.NV_MMU_VER2_PTE_ADDRESS.encode(physical >> dev_mmu.NV_MMU_VER2_PTE_ADDRESS_SHIFT)
    )


class PageTables:
    """Writes the page tables of one address space. The TLB is the caller's business.

    Invariant: every table but the upper three has at least one entry that is not zero, except between
    a :meth:`map` that raised and the :meth:`unmap` that must follow.

    Parameters
    ----------
    share : TableShare
        Where tables come from.
    """

    def __init__(self, share: TableShare) -> None:
        self._share = share
        self._words = share.pool.words
        # PDE0 tables by va >> 29; PTE tables by page shift and va >> 21.
        self._directories: dict[int, int] = {}
        self._leaves: dict[int, dict[int, int]] = {_BIG_SHIFT: {}, _SMALL_SHIFT: {}}
        self._upper: list[int] = []
        try:
            for _ in range(3):
                self._upper.append(share.take())
        except BaseException:
            share.give(self._upper)
            raise
        for parent, child in zip(self._upper, self._upper[1:], strict=False):
            self._words[parent, 0] = _pde(share.pool.address(child))

    @property
    def pdb(self) -> int:
        """VRAM physical address of the PDE3 table."""
        return self._share.pool.address(self._upper[0])

    def map(
        self, address: int, size: int, page: int, physical: int, domain: Domain, *, writable: bool
    ) -> None:
        """Point ``[address, address + size)`` at `physical`.

        Parameters
        ----------
        address : int
            GPU virtual address below 2**38, a multiple of `page`; nothing is mapped in the range.
        size : int
            Bytes, whole pages of 4 KiB.
        page : int
            The largest page size to use, in bytes (:func:`page_size_for`).
        physical : int
            VRAM physical address or bus address, a multiple of `page`.

        Raises
        ------
        OutOfMemoryError
            The share of page tables is used up. Part of the range may have been written: unmap it.
        """
        for shift, at, count in _runs(address, size, page):
            first = np.uint64(_pte(physical + at - address, domain, writable=writable))
            np.add(_STEPS[shift][:count], first, out=self._entries(shift, at, count))

    def unmap(self, address: int, size: int, page: int) -> list[int]:
        """Clear the range, given as it was to :meth:`map`.

        Returns
        -------
        list of int
            Tables that are empty now. Give them to :meth:`release` once the TLB has been invalidated:
            until then the GPU may read them.
        """
        empty: list[int] = []
        for shift, at, count in _runs(address, size, page):
            directory = self._directories.get(at >> _PDE1_SHIFT)
            if directory is None:
                continue
            entry = dev_mmu.NV_MMU_VER2_VA_PDE0.decode(at)
            index = _INDEX[shift].decode(at)
            if shift == _HUGE_SHIFT:
                self._words[directory, 2 * index : 2 * (index + count) : 2] = 0
            elif (table := self._leaves[shift].get(at >> _HUGE_SHIFT)) is not None:
                self._words[table, index : index + count] = 0
                if not self._words[table].any():
                    self._words[directory, 2 * entry + (shift == _SMALL_SHIFT)] = 0
                    del self._leaves[shift][at >> _HUGE_SHIFT]
                    empty.append(table)
            if not self._words[directory].any():
                self._words[self._upper[2], dev_mmu.NV_MMU_VER2_VA_PDE1.decode(at)] = 0
                del self._directories[at >> _PDE1_SHIFT]
                empty.append(directory)
        return empty

    def release(self, tables: list[int]) -> None:
        """Give tables that :meth:`unmap` returned back to the share."""
        self._share.give(tables)

    def close(self) -> None:
        """Give every table back. The GPU must have let go of the address space."""
        tables = [*self._upper, *self._directories.values()]
        for leaves in self._leaves.values():
            tables += leaves.values()
        self._words[tables] = 0
        self._share.give(tables)

    def _entries(self, shift: int, at: int, count: int) -> Words:
        """Return the entries of `count` pages from `at` on, making the tables that are missing."""
        directory = self._directories.get(at >> _PDE1_SHIFT)
        if directory is None:
            directory = self._directories[at >> _PDE1_SHIFT] = self._share.take()
            pde1 = dev_mmu.NV_MMU_VER2_VA_PDE1.decode(at)
            self._words[self._upper[2], pde1] = _pde(self._share.pool.address(directory))
        entry = dev_mmu.NV_MMU_VER2_VA_PDE0.decode(at)
        index = _INDEX[shift].decode(at)
        if shift == _HUGE_SHIFT:
            return self._words[directory, 2 * index : 2 * (index + count) : 2]
        table = self._leaves[shift].get(at >> _HUGE_SHIFT)
        if table is None:
            table = self._leaves[shift][at >> _HUGE_SHIFT] = self._share.take()
            address = self._share.pool.address(table)
            if shift == _SMALL_SHIFT:
                self._words[directory, 2 * entry + 1] = _dual_pde_small(address)
            else:
                self._words[directory, 2 * entry] = _dual_pde_big(address)
        return self._words[table, index : index + count]
