"""The driver interface: what a runtime asks of a GPU driver, natively or in a VM.

Two classes implement :class:`Driver`: ``logv.host.Session`` and ``logv.guest.Process``. One contract
suite runs over both. A runtime cannot tell them apart, and must not try.
"""

from dataclasses import dataclass
from enum import IntEnum, unique
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from logv.errors import LogvError

T = TypeVar("T")


@unique
class Domain(IntEnum):
    """Where a buffer object's bytes live."""

    # An enum hashes its name in Python code; these are keys on the way of every call.
    __hash__ = int.__hash__

    VRAM = 0
    SYSTEM = 1


@unique
class Param(IntEnum):
    """What :meth:`Driver.get_param` can be asked. The numbers are part of the ABI."""

    COMPUTE_CAPABILITY = 0
    """Ten times major plus minor."""
    VRAM_SIZE = 1
    """Bytes of GPU memory this driver's owner may use (a VM's quota)."""
    VRAM_FREE = 2
    """Bytes of GPU memory not allocated now."""
    SYSTEM_SIZE = 3
    """Bytes of GPU-visible system memory this driver's owner may use."""
    SYSTEM_FREE = 4
    """Bytes of GPU-visible system memory not allocated now."""
    VA_BITS = 5
    """Addresses that kernels can reach are below ``2**VA_BITS``."""
    MAX_CHANNELS = 6
    """Channels this driver's owner may have at one time."""
    PAGE_SIZE = 7
    """Granularity of sizes and mappings, in bytes."""


@unique
class Fault(IntEnum):
    """Why the GPU stopped a channel (the error notifier's status word)."""

    NONE = 0
    MMU_FAULT = 1
    BAD_GP_ENTRY = 2
    BAD_METHOD = 3
    PRIVILEGED = 4
    BAD_CLASS = 5
    BAD_LAUNCH = 6
    BAD_PROGRAM = 7
    BAD_SEMAPHORE = 8
    TRAP = 9
    TIMEOUT = 10
    MISALIGNED = 11
    BAD_COPY = 12


@dataclass(frozen=True, slots=True)
class Memory:
    """A buffer object: `size` bytes, rounded up to pages, in `domain`.

    `offset` is where it lies in its owner's window of that domain (for VRAM in a VM: in BAR2).
    """

    handle: int
    size: int
    domain: Domain
    offset: int


@dataclass(frozen=True, slots=True)
class Channel:
    """A command channel, as its application sees it.

    Attributes
    ----------
    handle : int
    page : int
        Index of the channel's page in its owner's USERD region (BAR3); page 0 is the doorbell page.
    userd : memoryview
        The channel's 4 KiB page: GP_PUT, GP_GET, and the error notifier (``hw.dev_ram``).
    doorbell : memoryview
        The 4 KiB doorbell page, shared by the channels of one owner (``hw.dev_ram``).
    doorbell_fd : int
        Eventfd to write 1 to when the doorbell page says that the engine sleeps.
    """

    handle: int
    page: int
    userd: memoryview
    doorbell: memoryview
    doorbell_fd: int


class Pending(Generic[T]):
    """The result of a call in a batch: usable as an argument at once, as a value after the batch."""

    __slots__ = ("_resolved", "_value", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self._resolved = False
        self._value: T

    def resolve(self, value: T) -> None:
        """Set the value; for implementations of :class:`Batch`."""
        self._value = value
        self._resolved = True

    @property
    def value(self) -> T:
        """The result; raise LogvError while the batch has not run, or if it failed."""
        if not self._resolved:
            raise LogvError("the batch has not run, or failed before this call")
        return self._value


class Batch(Protocol):
    """Calls that are carried out together, in order, when the ``with`` block ends.

    A call's ``Pending`` result stands for its handle in the calls after it. If one call fails, those
    before it are undone, those after it are not tried, and its error is raised. What cannot be undone
    (a ring, an engine class, what is unmapped or freed) is carried out after everything else, in order.
    """

    def __enter__(self) -> Self:
        """Start collecting calls."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Carry the calls out, unless the block raised."""
        ...

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Pending[Memory]:
        """See :meth:`Driver.mem_alloc`."""
        ...

    def mem_map(self, memory: int | Pending[Memory]) -> Pending[memoryview]:
        """See :meth:`Driver.mem_map`."""
        ...

    def vspace_new(self) -> Pending[int]:
        """See :meth:`Driver.vspace_new`."""
        ...

    def vspace_map(
        self,
        vspace: int | Pending[int],
        memory: int | Pending[Memory],
        *,
        offset: int = 0,
        size: int | None = None,
        writable: bool = True,
    ) -> Pending[int]:
        """See :meth:`Driver.vspace_map`."""
        ...

    def vspace_unmap(self, vspace: int, address: int) -> Pending[None]:
        """See :meth:`Driver.vspace_unmap`."""
        ...

    def mem_free(self, memory: int) -> Pending[None]:
        """See :meth:`Driver.mem_free`."""
        ...

    def chan_new(self, vspace: int | Pending[int]) -> Pending[Channel]:
        """See :meth:`Driver.chan_new`."""
        ...

    def fifo_init_ib(
        self, channel: int | Pending[Channel], ring: int | Pending[int], entries: int
    ) -> Pending[None]:
        """See :meth:`Driver.fifo_init_ib`."""
        ...

    def obj_eng_new(self, channel: int | Pending[Channel], engine_class: int) -> Pending[None]:
        """See :meth:`Driver.obj_eng_new`."""
        ...


class Driver(Protocol):
    """One process's connection to a GPU driver.

    Every call raises from the tree in :mod:`logv.errors`: ``InvalidValueError`` for impossible sizes,
    addresses and alignments, ``InvalidHandleError``, ``OutOfMemoryError`` (``QuotaExceededError`` in a
    VM), ``ExhaustedError`` for fixed numbers of things, ``BusyError`` for freeing what is in use,
    ``ClosedError`` after :meth:`close`. A call that raises has changed nothing.
    """

    def get_param(self, param: Param) -> int:
        """Return one figure of the GPU or of this driver's owner."""
        ...

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Memory:
        """Allocate a zeroed buffer object of at least `size` bytes."""
        ...

    def mem_free(self, memory: int) -> None:
        """Free a buffer object; BusyError while it is mapped into an address space."""
        ...

    def mem_map(self, memory: int) -> memoryview:
        """Return the buffer object's bytes as this process sees them (writable, format ``B``)."""
        ...

    def vspace_new(self) -> int:
        """Make a GPU address space and return its handle."""
        ...

    def vspace_free(self, vspace: int) -> None:
        """Free an address space and its mappings; BusyError while a channel uses it."""
        ...

    def vspace_map(
        self,
        vspace: int,
        memory: int,
        *,
        offset: int = 0,
        size: int | None = None,
        writable: bool = True,
    ) -> int:
        """Map pages of a buffer object and return their GPU virtual address.

        `offset` and `size` are in bytes, multiples of 4 KiB; `size` None means up to the end.
        """
        ...

    def vspace_unmap(self, vspace: int, address: int) -> None:
        """Undo one :meth:`vspace_map`, named by the address it returned."""
        ...

    def chan_new(self, vspace: int) -> Channel:
        """Make a channel in an address space. It runs nothing before :meth:`fifo_init_ib`."""
        ...

    def chan_free(self, channel: int) -> None:
        """Stop a channel, whatever it is doing, and free it."""
        ...

    def fifo_init_ib(self, channel: int, ring: int, entries: int) -> None:
        """Give a channel its GPFIFO ring and enable it.

        `ring` is the GPU virtual address of the ring, 8-byte aligned; `entries` a power of two, 2 to
        65,536. The whole ring must be mapped in the channel's address space.
        """
        ...

    def obj_eng_new(self, channel: int, engine_class: int) -> None:
        """Allow a channel to bind an engine class (a class number of ``hw``)."""
        ...

    def irq_sequence(self) -> int:
        """Return the number of interrupts so far, modulo 2**32."""
        ...

    def wait_irq(self, seen: int, timeout_s: float) -> int:
        """Sleep until the interrupt count differs from `seen`, or the time is over; return the count."""
        ...

    def batch(self) -> Batch:
        """Return a new batch: many calls, one crossing."""
        ...

    def close(self) -> None:
        """Return everything this process holds. Closing twice is harmless."""
        ...
