"""BAR1's memory, as the hypervisor handles it: copied in once, written once."""

import mmap
import os

from logv import abi
from logv.errors import OutOfMemoryError
from logv.memfd import sealed_memfd


class SlotMemory:
    """The call slots of one VM, in a memfd that the guest maps and may write at any time.

    Attributes
    ----------
    fd : int
        The memfd, sealed: a guest that shrank it would raise SIGBUS in the hypervisor.
    """

    def __init__(self) -> None:
        self.fd = sealed_memfd("logv-slots", abi.SLOTS_SIZE)
        try:
            self._memory = mmap.mmap(self.fd, abi.SLOTS_SIZE)
        except OSError as error:
            os.close(self.fd)
            raise OutOfMemoryError(f"no memory for call slots: {error}") from error

    def copy(self, first: int, count: int) -> bytes:
        """Return a copy of `count` slots. What the guest writes from now on concerns nobody."""
        return self._memory[first * abi.SLOT_SIZE : (first + count) * abi.SLOT_SIZE]

    def succeed(self, slot: int, fields: tuple[int, ...]) -> None:
        """Write the reply of a call that succeeded."""
        abi.pack_success(self._memory, slot, fields)

    def fail(self, slot: int, status: int, message: str) -> None:
        """Write the reply of a call that failed."""
        abi.pack_failure(self._memory, slot, status, message)

    def clear(self) -> None:
        """Zero all slots."""
        self._memory[:] = bytes(abi.SLOTS_SIZE)

    def close(self) -> None:
        """Give the memory up; the guest's mapping stays valid, and leads nowhere."""
        self._memory.close()
        os.close(self.fd)
