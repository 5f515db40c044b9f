"""Handle tables: numbers that stand for objects, and stop standing for them for good once freed."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from logv.errors import ExhaustedError, InvalidHandleError

T = TypeVar("T")

_INDEX_BITS = 20
_GENERATION_BITS = 32


class HandleTable(Generic[T]):
    """Maps handles to objects of one kind.

    A handle is ``kind << 56 | generation << 20 | index``. The generation of an index grows each time
    it is reused, so that a freed handle, or one of another kind, never names the wrong object.

    Parameters
    ----------
    kind : int
        1 to 127; differs between the tables of one owner.
    what : str
        The kind in words, for messages.
    limit : int
        The most objects at one time. It bounds what a hostile caller can make its owner store.
    """

    def __init__(self, kind: int, what: str, limit: int = 65536) -> None:
        if not 0 < kind < 128 or not 0 < limit < 1 << _INDEX_BITS:
            raise ValueError("kind must be 1 to 127, limit below 2**20")
        self._kind = kind
        self._what = what
        self._limit = limit
        self._objects: dict[int, T] = {}
        self._generations: list[int] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._objects))

    def __contains__(self, handle: object) -> bool:
        return handle in self._objects

    def values(self) -> list[T]:
        """Return the objects, oldest first."""
        return list(self._objects.values())

    def check_room(self) -> None:
        """Raise ExhaustedError if :meth:`add` would."""
        if len(self._objects) >= self._limit:
            raise ExhaustedError(f"all {self._limit} {self._what} handles are in use; free some first")

    def add(self, item: T) -> int:
        """Store `item` and return its new handle; raise ExhaustedError when the table is full."""
        self.check_room()
        if self._free:
            index = self._free.pop()
        else:
            index = len(self._generations)
            self._generations.append(0)
        generation = self._generations[index] = (self._generations[index] + 1) % (1 << _GENERATION_BITS)
        handle = self._kind << 56 | generation << _INDEX_BITS | index
        self._objects[handle] = item
        return handle

    def get(self, handle: int) -> T:
        """Return the object; raise InvalidHandleError if the handle does not stand for one."""
        if isinstance(handle, int) and handle in self._objects:
            return self._objects[handle]
        # Anything may come in here, also what takes long to print.
        shown = f"{handle:#x}" if isinstance(handle, int) and 0 <= handle < 1 << 64 else "this"
        raise InvalidHandleError(f"{shown} is not a {self._what} handle, or was freed")

    def remove(self, handle: int) -> T:
        """Forget the handle and return its object; raise InvalidHandleError like :meth:`get`."""
        item = self.get(handle)
        del self._objects[handle]
        self._free.append(handle & ((1 << _INDEX_BITS) - 1))
        return item
