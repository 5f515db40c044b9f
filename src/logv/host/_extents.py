"""A coalescing free list over a range of numbers: physical offsets, or GPU virtual addresses."""

from bisect import bisect_left, insort


class FreeExtents:
    """What is free of ``[start, start + size)``, handed out by best fit.

    Best fit keeps large extents whole, and prefers what was used before to what lies untouched at the
    end, whose first use costs many times as much.

    Invariant: no two free extents overlap or touch.

    Parameters
    ----------
    start, size : int
        The range that is free at first.
    """

    def __init__(self, start: int, size: int) -> None:
        # Three views of the same extents: by size for the search, by start and by end for coalescing.
        self._by_size: list[tuple[int, int]] = [(size, start)]
        self._end_of: dict[int, int] = {start: start + size}
        self._start_of: dict[int, int] = {start + size: start}

    @property
    def largest(self) -> int:
        """Size of the largest free extent; 0 if there is none."""
        return self._by_size[-1][0] if self._by_size else 0

    def take(self, size: int, alignment: int) -> int | None:
        """Return the start of `size` at a multiple of `alignment`, now taken; None if it fits nowhere."""
        for position in range(bisect_left(self._by_size, (size,)), len(self._by_size)):
            extent_size, start = self._by_size[position]
            end = start + extent_size
            found = -(-start // alignment) * alignment
            if found + size <= end:
                del self._by_size[position], self._end_of[start], self._start_of[end]
                if found > start:
                    self._insert(start, found)
                if found + size < end:
                    self._insert(found + size, end)
                return found
        return None

    def give(self, start: int, size: int) -> None:
        """Give back ``[start, start + size)``, all of which was taken."""
        end = start + size
        if start in self._start_of:
            start = self._remove(self._start_of[start])[0]
        if end in self._end_of:
            end = self._remove(end)[1]
        self._insert(start, end)

    def _insert(self, start: int, end: int) -> None:
        insort(self._by_size, (end - start, start))
        self._end_of[start] = end
        self._start_of[end] = start

    def _remove(self, start: int) -> tuple[int, int]:
        end = self._end_of.pop(start)
        del self._start_of[end]
        del self._by_size[bisect_left(self._by_size, (end - start, start))]
        return start, end
