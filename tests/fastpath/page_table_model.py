"""A page-table walker as the manual tells it: slow, in plain Python, one page and one field at a time.

It is what the compiled MMU is compared with, together with a builder of tables.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from mmap import mmap

from logv.hw import dev_mmu as mmu
from logv.hw._bits import Field

READ, WRITE = 1, 2

PAGE_4K, PAGE_64K, PAGE_2M = 1 << 12, 1 << 16, 1 << 21
VA_END = 1 << mmu.NV_MMU_VER2_VA_BITS


class Status(IntEnum):
    """The compiled core's status codes."""

    OK = 0
    UNMAPPED = 1
    READ_ONLY = 2
    PRIVILEGED = 3
    BAD_RANGE = 4


@dataclass(frozen=True)
class Translation:
    """Where one address leads, or why it leads nowhere."""

    status: Status
    system: bool = False
    physical: int = 0
    read_only: bool = False


Span = tuple[int, int, int, bool, bool]


def pte(
    physical: int,
    *,
    aperture: int = mmu.NV_MMU_VER2_PTE_APERTURE_VIDEO_MEMORY,
    valid: bool = True,
    read_only: bool = False,
    privileged: bool = False,
) -> int:
    """Return a PTE, field by field."""
    return (
        mmu.NV_MMU_VER2_PTE_VALID.encode(valid)
        | mmu.NV_MMU_VER2_PTE_APERTURE.encode(aperture)
        | mmu.NV_MMU_VER2_PTE_PRIVILEGE.encode(privileged)
        | mmu.NV_MMU_VER2_PTE_READ_ONLY.encode(read_only)
        | mmu.NV_MMU_VER2_PTE_ADDRESS.encode(physical >> mmu.NV_MMU_VER2_PTE_ADDRESS_SHIFT)
    )


@dataclass
class Space:
    """An address space: its memory, the tables in it, and a model of what the tables say.

    Tables are taken from the bottom of VRAM; data may lie anywhere, also over them.
    """

    vram: bytearray | mmap = field(repr=False)
    system: bytearray | mmap = field(repr=False)
    pdb: int = 0
    next_table: int = 4096
    tables: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def load(self, address: int) -> int:
        """Read one entry."""
        return int(struct.unpack_from("<Q", self.vram, address)[0])

    def store(self, address: int, value: int) -> None:
        """Write one entry."""
        struct.pack_into("<Q", self.vram, address, value)

    def new_table(self) -> int:
        """Take 4 KiB of VRAM for a table."""
        address = self.next_table
        self.next_table += 4096
        return address

    def _table_below(self, table: int, index: int) -> int:
        """The table that a PDE leads to; made if the PDE is empty."""
        at = (table, index)
        if at not in self.tables:
            self.tables[at] = self.new_table()
            self.store(
                table + index * mmu.NV_MMU_VER2_PDE__SIZE,
                mmu.NV_MMU_VER2_PDE_APERTURE.encode(mmu.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY)
                | mmu.NV_MMU_VER2_PDE_ADDRESS.encode(self.tables[at] >> mmu.NV_MMU_VER2_PDE_ADDRESS_SHIFT),
            )
        return self.tables[at]

    def pde0_address(self, va: int) -> int:
        """Address of the PDE0 entry for `va`, whose upper levels are made as needed."""
        table = self.pdb
        for level in (mmu.NV_MMU_VER2_VA_PDE3, mmu.NV_MMU_VER2_VA_PDE2, mmu.NV_MMU_VER2_VA_PDE1):
            table = self._table_below(table, level.decode(va))
        return table + mmu.NV_MMU_VER2_VA_PDE0.decode(va) * mmu.NV_MMU_VER2_DUAL_PDE__SIZE

    def map(self, va: int, page_size: int, entry: int) -> None:
        """Write one PTE for the page of `page_size` at `va`."""
        pde0 = self.pde0_address(va)
        low, high = self.load(pde0), self.load(pde0 + 8)
        video = mmu.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY
        if page_size == PAGE_2M:
            self.store(pde0, entry)
            return
        if page_size == PAGE_64K:
            if low == 0:
                self.tables[pde0, 0] = self.new_table()
                low = mmu.NV_MMU_VER2_DUAL_PDE_APERTURE_BIG.encode(video)
                low |= mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG.encode(
                    self.tables[pde0, 0] >> mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG_SHIFT
                )
                self.store(pde0, low)
            table, index = self.tables[pde0, 0], mmu.NV_MMU_VER2_VA_PTE_64K.decode(va)
        else:
            if high == 0:
                self.tables[pde0, 1] = self.new_table()
                both = mmu.NV_MMU_VER2_DUAL_PDE_APERTURE_SMALL.encode(video)
                both |= mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL.encode(
                    self.tables[pde0, 1] >> mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL_SHIFT
                )
                self.store(pde0 + 8, both >> 64)
            table, index = self.tables[pde0, 1], mmu.NV_MMU_VER2_VA_PTE_4K.decode(va)
        self.store(table + index * mmu.NV_MMU_VER2_PTE__SIZE, entry)

    # The walk.

    def _load_of_table(self, table: int, entries: int, index: int, words: int = 1) -> int | None:
        """Entry `index` of a table, None if the table does not lie in VRAM as a whole."""
        if table + entries * words * 8 > len(self.vram):
            return None
        address = table + index * words * 8
        return int.from_bytes(self.vram[address : address + words * 8], "little")

    def _find_pte(self, va: int) -> tuple[int, int] | None:
        """The PTE in charge of `va` and its page size; None if the walk ends before."""
        table, entries = self.pdb, 4
        levels: tuple[Field, ...] = (
            mmu.NV_MMU_VER2_VA_PDE3,
            mmu.NV_MMU_VER2_VA_PDE2,
            mmu.NV_MMU_VER2_VA_PDE1,
        )
        for level in levels:
            pde = self._load_of_table(table, entries, level.decode(va))
            if pde is None or mmu.NV_MMU_VER2_PDE_IS_PTE.decode(pde):
                return None
            if mmu.NV_MMU_VER2_PDE_APERTURE.decode(pde) != mmu.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY:
                return None
            table = mmu.NV_MMU_VER2_PDE_ADDRESS.decode(pde) << mmu.NV_MMU_VER2_PDE_ADDRESS_SHIFT
            entries = 512
        dual = self._load_of_table(table, 256, mmu.NV_MMU_VER2_VA_PDE0.decode(va), words=2)
        if dual is None:
            return None
        if mmu.NV_MMU_VER2_DUAL_PDE_IS_PTE.decode(dual):
            return dual & (2**64 - 1), PAGE_2M
        video = mmu.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY
        if mmu.NV_MMU_VER2_DUAL_PDE_APERTURE_BIG.decode(dual) == video:
            big = mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG.decode(dual)
            entry = self._load_of_table(
                big << mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG_SHIFT, 32, mmu.NV_MMU_VER2_VA_PTE_64K.decode(va)
            )
            if entry is not None and mmu.NV_MMU_VER2_PTE_VALID.decode(entry):
                return entry, PAGE_64K
        if mmu.NV_MMU_VER2_DUAL_PDE_APERTURE_SMALL.decode(dual) == video:
            small = mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL.decode(dual)
            entry = self._load_of_table(
                small << mmu.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL_SHIFT,
                512,
                mmu.NV_MMU_VER2_VA_PTE_4K.decode(va),
            )
            if entry is not None:
                return entry, PAGE_4K
        return None

    def translate(self, va: int, access: int) -> Translation:
        """Translate one address for `access` (0: for no access in particular)."""
        if va >= VA_END:
            return Translation(Status.BAD_RANGE)
        found = self._find_pte(va)
        if found is None or not mmu.NV_MMU_VER2_PTE_VALID.decode(found[0]):
            return Translation(Status.UNMAPPED)
        entry, page_size = found
        aperture = mmu.NV_MMU_VER2_PTE_APERTURE.decode(entry)
        if aperture == mmu.NV_MMU_VER2_PTE_APERTURE_PEER_MEMORY:
            return Translation(Status.UNMAPPED)
        system = aperture != mmu.NV_MMU_VER2_PTE_APERTURE_VIDEO_MEMORY
        page = mmu.NV_MMU_VER2_PTE_ADDRESS.decode(entry) << mmu.NV_MMU_VER2_PTE_ADDRESS_SHIFT
        page -= page % page_size
        if page + page_size > len(self.system if system else self.vram):
            return Translation(Status.UNMAPPED)
        if mmu.NV_MMU_VER2_PTE_PRIVILEGE.decode(entry):
            return Translation(Status.PRIVILEGED)
        read_only = bool(mmu.NV_MMU_VER2_PTE_READ_ONLY.decode(entry))
        if read_only and access & WRITE:
            return Translation(Status.READ_ONLY)
        return Translation(Status.OK, system, page + va % page_size, read_only)

    def translate_range(
        self, va: int, size: int, access: int
    ) -> tuple[list[Span], tuple[int, Status] | None]:
        """Translate page by page and merge; also say where and why it stopped early."""
        if va + size > VA_END:
            return [], (va, Status.BAD_RANGE)
        spans: list[Span] = []
        at = va
        while at < va + size:
            length = min(PAGE_4K - at % PAGE_4K, va + size - at)
            found = self.translate(at, access)
            if found.status is Status.OK:
                piece = (at, found.physical, length, found.system, found.read_only)
                last = spans[-1] if spans else None
                if (
                    last is not None
                    and (last[0] + last[2], last[1] + last[2]) == piece[:2]
                    and last[3:] == piece[3:]
                ):
                    spans[-1] = (last[0], last[1], last[2] + length, *last[3:])
                else:
                    spans.append(piece)
            elif access:
                return spans, (at, found.status)
            at += length
        return spans, None
