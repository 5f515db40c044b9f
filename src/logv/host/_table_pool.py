"""Where page tables live: 4 KiB tables in a window that belongs to the host driver alone."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from logv.errors import OutOfMemoryError
from logv.gpu import Window
from logv.host._arguments import PAGE_SIZE
from logv.host._quota import Quota

Words = npt.NDArray[np.uint64]

ENTRIES = PAGE_SIZE // 8


class TablePool:
    """Zeroed 4 KiB tables out of one window of VRAM, named by their index.

    Parameters
    ----------
    window : Window
        The driver's own. No partition's buffer lies in it, so none can be made to point into it.

    Attributes
    ----------
    words : ndarray of uint64, shape (tables, 512)
        The tables' contents.
    """

    def __init__(self, window: Window) -> None:
        self._address = window.address
        self.words: Words = np.frombuffer(window.memory, np.uint64).reshape(-1, ENTRIES)
        self._fresh = 0
        self._free: list[int] = []

    def address(self, table: int) -> int:
        """Return a table's VRAM physical address."""
        return self._address + table * PAGE_SIZE

    def take(self) -> int:
        """Return a free table, all zero. The shares' limits add up to no more than the window."""
        if self._free:
            return self._free.pop()
        self._fresh += 1
        return self._fresh - 1

    def give(self, table: int) -> None:
        """Take back a table that is all zero, and that no TLB knows any more."""
        self._free.append(table)


class TableShare:
    """One partition's share of the pool: what bounds the tables that its mappings can cost.

    Parameters
    ----------
    pool : TablePool
    limit : int
        Tables at one time.
    """

    def __init__(self, pool: TablePool, limit: int) -> None:
        self.pool = pool
        self._quota = Quota("page tables", limit, OutOfMemoryError)

    @property
    def bytes(self) -> int:
        """Bytes of page tables in use."""
        return self._quota.used * PAGE_SIZE

    def take(self) -> int:
        """Return a zeroed table; raise OutOfMemoryError when the share is used up."""
        self._quota.take()
        return self.pool.take()

    def give(self, tables: Iterable[int]) -> None:
        """Take back tables; see :meth:`TablePool.give`."""
        for table in tables:
            self.pool.give(table)
            self._quota.give()
