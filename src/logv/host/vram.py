"""Placement of buffer objects in a window of physical memory."""

from dataclasses import dataclass

import numpy as np

from logv.errors import OutOfMemoryError
from logv.gpu import Window
from logv.host._arguments import PAGE_SIZE
from logv.host._extents import FreeExtents
from logv.host._quota import Quota
from logv.uapi import Domain

BIG_PAGE_SIZE = 64 << 10
HUGE_PAGE_SIZE = 2 << 20


@dataclass(slots=True, eq=False)
class Buffer:
    """A buffer object, as the host driver knows it.

    Attributes
    ----------
    offset : int
        First byte in its window.
    physical : int
        VRAM physical address or bus address of the first byte.
    size : int
        Bytes, whole pages.
    mappings : int
        How many mappings of address spaces name it.
    """

    domain: Domain
    offset: int
    physical: int
    size: int
    mappings: int = 0


class Placement:
    """Hands out the memory of one window, zeroed.

    Objects of 64 KiB and more start at multiples of 64 KiB, those of 2 MiB and more at multiples of
    2 MiB, so that they can be mapped with pages of that size. Where only smaller alignments fit, those
    are used: a partition can use its last page.

    Parameters
    ----------
    window : Window
        Its address is a multiple of 2 MiB, so that offsets are aligned as physical addresses are.
    charge : Quota, optional
        Bytes that this window shares with others, charged for each object. None: the bytes are
        the window's own.
    """

    def __init__(self, window: Window, charge: Quota | None) -> None:
        self.window = window
        self._charge = charge
        self._extents = FreeExtents(0, window.size)
        # Bytes from here on were never handed out, and are zero as the kernel delivered them.
        self._pristine = 0
        self.allocated = 0
        self.buffers = 0

    @property
    def size(self) -> int:
        """Bytes that could be allocated if nothing were."""
        return self.window.size if self._charge is None else self._charge.limit

    @property
    def free(self) -> int:
        """Bytes that may still be allocated, in pieces of any size."""
        own = self.window.size - self.allocated
        return own if self._charge is None else min(own, self._charge.free)

    def place(self, size: int) -> Buffer:
        """Allocate `size` bytes (whole pages); raise OutOfMemoryError if they do not fit in one piece."""
        if size > self.free:
            raise OutOfMemoryError(
                f"{size} bytes of {self._words} memory asked for, {self.free} of {self.size} free; "
                "free some buffers first"
            )
        if self._charge is not None:
            self._charge.take(size)
        offset = self._find(size)
        if offset is None:
            if self._charge is not None:
                self._charge.give(size)
            raise OutOfMemoryError(
                f"{size} bytes of {self._words} memory asked for, {self.free} free, and no more than "
                f"{self._extents.largest} in one piece; free neighbouring buffers, or ask for smaller ones"
            )
        self._scrub(offset, size)
        self.allocated += size
        self.buffers += 1
        return Buffer(self.window.domain, offset, self.window.address + offset, size)

    def release(self, buffer: Buffer) -> None:
        """Take back a buffer that nothing maps any more."""
        self._extents.give(buffer.offset, buffer.size)
        self.allocated -= buffer.size
        self.buffers -= 1
        if self._charge is not None:
            self._charge.give(buffer.size)

    @property
    def _words(self) -> str:
        return "GPU" if self.window.domain is Domain.VRAM else "system"

    def _find(self, size: int) -> int | None:
        for alignment in (HUGE_PAGE_SIZE, BIG_PAGE_SIZE, PAGE_SIZE):
            if size >= alignment:
                offset = self._extents.take(size, alignment)
                if offset is not None:
                    return offset
        return None

    def _scrub(self, offset: int, size: int) -> None:
        """Zero what somebody may have written; touching the rest would only cost page faults."""
        used = min(offset + size, self._pristine)
        if offset < used:
            np.frombuffer(self.window.memory, np.uint8, used - offset, offset).fill(0)
        self._pristine = max(self._pristine, offset + size)
