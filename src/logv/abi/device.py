"""The virtual device as a guest sees it, in whichever process it is emulated."""

from enum import IntEnum, unique
from typing import NamedTuple, Protocol


@unique
class RegionIndex(IntEnum):
    """The memory that a guest maps, by the number of its BAR."""

    # An enum hashes its name in Python code; these are keys on the way of every call.
    __hash__ = int.__hash__

    SLOTS = 1
    """BAR1: call slots."""
    VRAM = 2
    """BAR2: the VM's window of VRAM."""
    USERD = 3
    """BAR3: the doorbell page, and one page per channel behind it."""
    SYSTEM = 4
    """BAR4: the VM's own memory, as far as the GPU may reach it."""


class Region(NamedTuple):
    """`size` bytes to map, from the start of descriptor `fd`, which the device keeps open."""

    fd: int
    size: int


class VirtualDevice(Protocol):
    """One VM's virtual device. Nothing here raises for what a guest does: errors are status codes."""

    @property
    def present(self) -> bool:
        """Whether the device is still there: it goes when the VM is closed. No hypercall."""
        ...

    @property
    def doorbell_fd(self) -> int:
        """Eventfd that wakes the GPU for this VM; the device keeps it open."""
        ...

    def region(self, index: RegionIndex) -> Region:
        """Return a region; its size is 0 if the device was closed."""
        ...

    def read_register(self, offset: int) -> int:
        """Read a BAR0 register (:class:`Register`); all ones where there is none."""
        ...

    def write_register(self, offset: int, value: int) -> None:
        """Write a BAR0 register; ignored where there is none that can be written."""
        ...

    def post_register(self, offset: int, value: int) -> None:
        """Write a BAR0 register without waiting until the device has acted on it."""
        ...

    def finish_posted(self) -> None:
        """Wait until the device has acted on what was posted. All other accesses wait as well."""
        ...
