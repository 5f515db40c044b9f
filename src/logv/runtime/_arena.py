"""Small pieces of memory that CPU and GPU reach, cut from few buffer objects without asking the driver."""

import threading
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

CHUNK_BYTES = 1 << 20
"""What the first buffer object holds: several streams, and the programs of an application."""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A piece of an arena.

    Attributes
    ----------
    address : int
        GPU virtual address.
    view : memoryview
        The same bytes as the CPU sees them.
    """

    arena: "Arena" = field(repr=False)
    offset: int
    size: int

    @property
    def address(self) -> int:
        """GPU virtual address of the first byte."""
        return self.arena.address + self.offset

    @property
    def view(self) -> memoryview:
        """The bytes."""
        return self.arena.view[self.offset : self.offset + self.size]


class Arena:
    """First fit over one mapped buffer object; neighbours that are free are one hole.

    Parameters
    ----------
    view : memoryview
        The buffer object's bytes.
    address : int
        Its GPU virtual address, a multiple of 4 KiB.
    """

    def __init__(self, view: memoryview, address: int) -> None:
        self.view = view
        self.address = address
        self._holes = [(0, len(view))]

    def allocate(self, size: int, alignment: int) -> Span | None:
        """Return `size` bytes at a multiple of `alignment` (a power of two up to 4 KiB), or None."""
        for index, (start, length) in enumerate(self._holes):
            offset = -(-start // alignment) * alignment
            if offset + size <= start + length:
                rest = ((start, offset - start), (offset + size, start + length - offset - size))
                self._holes[index : index + 1] = [hole for hole in rest if hole[1]]
                return Span(self, offset, size)
        return None

    def free(self, span: Span) -> None:
        """Take a span back."""
        hole = (span.offset, span.size)
        insort(self._holes, hole)
        index = self._holes.index(hole)
        for left in (index, index - 1):
            if 0 <= left < len(self._holes) - 1:
                (start, length), (following, more) = self._holes[left : left + 2]
                if start + length == following:
                    self._holes[left : left + 2] = [(start, length + more)]


class Heap:
    """Arenas, of which there are more when the last one is full.

    Parameters
    ----------
    first : Arena
    grow : callable
        Makes another arena of at least so many bytes.
    """

    def __init__(self, first: Arena, grow: Callable[[int], Arena]) -> None:
        self._arenas = [first]
        self._grow = grow
        self._lock = threading.Lock()
        self._retired: deque[tuple[Span, Callable[[], bool]]] = deque()

    def allocate(self, size: int, alignment: int) -> Span:
        """Return a span; raise what the driver raises if it takes another arena, and none is to be had."""
        with self._lock:
            self._reap()
            for arena in self._arenas:
                span = arena.allocate(size, alignment)
                if span is not None:
                    return span
            arena = self._grow(max(CHUNK_BYTES, size))
            self._arenas.append(arena)
            span = arena.allocate(size, alignment)
            assert span is not None  # an arena starts page-aligned and empty
            return span

    def free(self, span: Span) -> None:
        """Take a span back that nothing uses any more."""
        with self._lock:
            span.arena.free(span)

    def close(self) -> None:
        """Let go of the memory; spans have no bytes any more."""
        for arena in self._arenas:
            arena.view = memoryview(b"")

    def retire(self, span: Span, unused: Callable[[], bool]) -> None:
        """Take a span back as soon as `unused` says so. Takes no lock, so a finaliser may call it."""
        self._retired.append((span, unused))

    def _reap(self) -> None:
        for _ in range(len(self._retired)):
            span, unused = self._retired.popleft()
            if unused():
                span.arena.free(span)
            else:
                self._retired.append((span, unused))
