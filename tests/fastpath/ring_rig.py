"""A channel without a GPU: a ring, a USERD page, a doorbell page and its eventfd."""

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from logv.hw import clc56f, dev_ram


@dataclass
class Pages:
    """What client and engine share."""

    ring: mmap.mmap
    userd: mmap.mmap
    doorbell: mmap.mmap
    doorbell_fd: int

    def peek(self, page: mmap.mmap, offset: int) -> int:
        """Read a 32-bit word."""
        return int(struct.unpack_from("<I", page, offset)[0])

    def poke(self, page: mmap.mmap, offset: int, value: int) -> None:
        """Write a 32-bit word."""
        struct.pack_into("<I", page, offset, value)

    @property
    def gp_put(self) -> int:
        """What the client published."""
        return self.peek(self.userd, dev_ram.NV_RAMUSERD_GP_PUT)

    @gp_put.setter
    def gp_put(self, value: int) -> None:
        self.poke(self.userd, dev_ram.NV_RAMUSERD_GP_PUT, value)

    @property
    def gp_get(self) -> int:
        """What the engine published."""
        return self.peek(self.userd, dev_ram.NV_RAMUSERD_GP_GET)

    @gp_get.setter
    def gp_get(self, value: int) -> None:
        self.poke(self.userd, dev_ram.NV_RAMUSERD_GP_GET, value)

    def entry(self, index: int) -> int:
        """What stands at one place of the ring."""
        return int(struct.unpack_from("<Q", self.ring, 8 * index)[0])

    def rings(self) -> int:
        """How often the eventfd was written since the last look."""
        try:
            return os.eventfd_read(self.doorbell_fd)
        except BlockingIOError:
            return 0


@contextmanager
def pages(entries: int) -> Iterator[Pages]:
    """Make the shared pages of one channel; the ring has room for more than its entries."""
    doorbell_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        yield Pages(mmap.mmap(-1, 8 * entries + 4096), mmap.mmap(-1, 4096), mmap.mmap(-1, 4096), doorbell_fd)
    finally:
        os.close(doorbell_fd)


def decode(entry: int) -> tuple[int, int]:
    """Take a GP entry apart into address and length, by the class header."""
    word0, word1 = entry & 0xFFFFFFFF, entry >> 32
    assert clc56f.NVC56F_GP_ENTRY0_FETCH.decode(word0) == clc56f.NVC56F_GP_ENTRY0_FETCH_UNCONDITIONAL
    assert clc56f.NVC56F_GP_ENTRY1_LEVEL.decode(word1) == 0
    assert clc56f.NVC56F_GP_ENTRY1_SYNC.decode(word1) == 0
    low = clc56f.NVC56F_GP_ENTRY0_GET.decode(word0) << clc56f.NVC56F_GP_ENTRY0_GET.low
    return (
        clc56f.NVC56F_GP_ENTRY1_GET_HI.decode(word1) << 32 | low,
        clc56f.NVC56F_GP_ENTRY1_LENGTH.decode(word1),
    )
