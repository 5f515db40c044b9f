"""A slow reader of "version 2" page tables, written from the manual and sharing no code with the driver."""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """What one address translates to."""

    aperture: int
    """0 video memory, 2 system coherent."""
    physical: int
    read_only: bool
    page_size: int


class PageWalker:
    """Walks tables that lie in one window.

    Parameters
    ----------
    memory : memoryview
        The window.
    address : int
        The window's VRAM physical address.
    pdb : int
        VRAM physical address of the PDE3 table.
    """

    def __init__(self, memory: memoryview, address: int, pdb: int) -> None:
        self._memory = memory
        self._address = address
        self._pdb = pdb

    def _word(self, physical: int) -> int:
        offset = physical - self._address
        assert 0 <= offset <= len(self._memory) - 8, f"a table at {physical:#x} lies outside the window"
        value: int = struct.unpack_from("<Q", self._memory, offset)[0]
        return value

    def walk(self, va: int) -> Page | None:
        """Return what `va` translates to; None if it is not mapped."""
        table = self._pdb
        for shift, bits in ((47, 2), (38, 9), (29, 9)):
            entry = self._word(table + 8 * (va >> shift & (1 << bits) - 1))
            if entry >> 1 & 3 == 0:
                return None
            assert entry & 1 == 0
            assert entry >> 1 & 3 == 1, "a table outside of video memory"
            table = (entry >> 8 & (1 << 46) - 1) << 12
        dual = table + 16 * (va >> 21 & 255)
        low, high = self._word(dual), self._word(dual + 8)
        if low & 1:
            assert high == 0, "a 2 MiB page beside a table"
            return self._page(low, va, 21)
        if low >> 1 & 3:
            entry = self._word(((low >> 4 & (1 << 50) - 1) << 8) + 8 * (va >> 16 & 31))
            if entry & 1:
                return self._page(entry, va, 16)
        if high >> 1 & 3:
            entry = self._word(((high >> 8 & (1 << 46) - 1) << 12) + 8 * (va >> 12 & 511))
            if entry & 1:
                return self._page(entry, va, 12)
        return None

    @staticmethod
    def _page(entry: int, va: int, shift: int) -> Page:
        physical = (entry >> 8 & (1 << 46) - 1) << 12
        assert physical % (1 << shift) == 0, "a page that is not aligned to its size"
        assert entry >> 56 == 0, "not the pitch-linear kind"
        assert entry >> 5 & 1 == 0, "a privileged page"
        return Page(entry >> 1 & 3, physical | va & (1 << shift) - 1, bool(entry >> 6 & 1), 1 << shift)
