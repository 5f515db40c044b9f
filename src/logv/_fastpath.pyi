"""Python face of the compiled core.

The functions that the engine calls (``_fastpath.pxd``) have no Python form; :class:`Translator` and
:class:`Poller` are theirs, for tests, benchmarks and debugging. Sources: NVIDIA manuals dev_ram (USERD),
dev_pbdma (GPFIFO) and dev_mmu ("version 2" page tables), class header clc56f.h.

All classes pin the buffers they are given for as long as they live. A *page* below is a writable buffer
of at least 4096 bytes that starts at a multiple of 8 in memory. Integers out of range, misaligned
addresses, and buffers that are too small, read-only or not contiguous raise
:class:`~logv.errors.InvalidValueError`.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, final

from numpy.typing import NDArray
from typing_extensions import Buffer

# NumPy's own types say that arrays are buffers from Python 3.12 on only.
_Buffer: TypeAlias = Buffer | NDArray[Any]

@final
class GpFifo:
    """The application's side of a channel: its ring, GP_PUT, and the doorbell.

    Submitting is writing a GP entry, releasing GP_PUT, and writing the doorbell's eventfd if, and only
    if, the engine says that it sleeps. No lock is taken and the GIL is not dropped; threads may share one.
    GP_PUT and GP_GET are ring indices: modulo `entries`. At most ``entries - 1`` entries are in flight.

    Parameters
    ----------
    ring : buffer
        The GPFIFO ring, at least ``8 * entries`` bytes.
    userd : buffer
        The channel's USERD page (``hw.dev_ram``).
    doorbell : buffer
        The doorbell page of the channel's owner (``hw.dev_ram``).
    doorbell_fd : int
        Eventfd that wakes the engine. It is used, not owned.
    entries : int
        Places in the ring, a power of two.
    submitted : int, optional
        Entries submitted on this channel before, modulo 2**32; GP_PUT stands at ``submitted % entries``.
    """

    def __init__(
        self,
        ring: _Buffer,
        userd: _Buffer,
        doorbell: _Buffer,
        doorbell_fd: int,
        entries: int,
        *,
        submitted: int = 0,
    ) -> None: ...
    @staticmethod
    def encode(address: int, dwords: int) -> int:
        """Return the GP entry for a pushbuffer segment.

        Parameters
        ----------
        address : int
            GPU virtual address of the first method header: 40 bits, a multiple of 4.
        dwords : int
            Length in units of 4 bytes, 1 to 2**21 - 1.
        """

    def submit(self, address: int, dwords: int) -> bool:
        """Submit one pushbuffer segment (see :meth:`encode`).

        Returns
        -------
        bool
            False if the ring is full; nothing was submitted then.

        Raises
        ------
        ClosedError
            The engine sleeps and cannot be woken: the driver was closed under the channel.
        """

    def submit_entries(self, entries: _Buffer) -> int:
        """Submit encoded entries with one store of GP_PUT and at most one wake.

        Parameters
        ----------
        entries : buffer of uint64
            One-dimensional, contiguous, such as a NumPy array.

        Returns
        -------
        int
            How many fitted: the first so many were submitted.

        Raises
        ------
        ClosedError
            Like :meth:`submit`.
        """

    def wait_free(self, count: int, timeout_s: float) -> bool:
        """Wait until `count` entries can be submitted; return False when the time is over."""

    def bench_round_trips(self, rounds: int, address: int, dwords: int) -> None:
        """Submit `rounds` times, each time polling (without the GIL) until the engine has fetched the entry.

        For benchmarks: the loop of a client that is as fast as can be. It does not end if no engine runs.
        """

    @property
    def entries(self) -> int:
        """Places in the ring."""

    @property
    def free(self) -> int:
        """Entries that can be submitted now, 0 to ``entries - 1``."""

    @property
    def pending(self) -> int:
        """Entries that the engine has not fetched, 0 to ``entries - 1``."""

    @property
    def submitted(self) -> int:
        """Entries submitted so far, modulo 2**32."""

    @property
    def wakes(self) -> int:
        """How often the engine had to be woken."""

@final
class Word64:
    """A 64-bit semaphore word in shared memory, which the GPU counts up.

    Parameters
    ----------
    buffer : buffer
    offset : int
        Of the word in `buffer`, in bytes, a multiple of 8.
    stop_buffer : buffer, optional
        Where a 32-bit word lies that ends every wait once it is not zero (such as an error notifier).
    stop_offset : int, optional
        Of that word, a multiple of 4.
    """

    def __init__(
        self, buffer: _Buffer, offset: int, stop_buffer: _Buffer | None = None, stop_offset: int = 0
    ) -> None: ...
    @property
    def value(self) -> int:
        """The word, 0 to 2**64 - 1. Reading acquires what was written before it; writing releases."""

    @value.setter
    def value(self, number: int) -> None: ...
    def spin(self, value: int, spin_ns: int) -> bool:
        """Poll, giving the CPU away in between, for at most `spin_ns` nanoseconds.

        The GIL is dropped only if the word has to be waited for.

        Returns
        -------
        bool
            Whether the word is at least `value`. False when the time is over or the stop word is set.
        """

    def wait_at_least(self, value: int, timeout_s: float) -> bool:
        """Like :meth:`spin` for about 300 us, then sleep in steps of up to a millisecond.

        For words that no interrupt announces; where one does, :meth:`spin` and then :func:`irq_wait`.
        Signal handlers run while it waits.
        """

def spin_readable(fd: int, spin_ns: int) -> bool:
    """Poll a descriptor, without the GIL, for at most `spin_ns` nanoseconds; say whether it can be read.

    For those whose peer answers sooner than a sleeping thread could be woken.
    """

def irq_sequence(doorbell: _Buffer) -> int:
    """Return the number of interrupts so far, modulo 2**32, of the owner of a doorbell page."""

def irq_wait(doorbell: _Buffer, seen: int, timeout_s: float) -> int:
    """Sleep until the number of interrupts differs from `seen`.

    To miss nothing: read :func:`irq_sequence`, check what you wait for, then wait with that number.
    Signal handlers run while it waits, without the GIL.

    Parameters
    ----------
    doorbell : buffer
        The doorbell page.
    seen : int
        What :func:`irq_sequence` said last.
    timeout_s : float
        The longest wait, in seconds.

    Returns
    -------
    int
        The number of interrupts now; `seen` when the time is over.
    """

class MappedMemory:
    """Part of another buffer, as a buffer of its own that counts its views.

    Made to be derived from: ``memoryview(x)`` works on all supported versions of Python.

    Parameters
    ----------
    buffer : buffer or callable
        A callable is asked for the buffer when the first view is made: mapping costs nothing until then.
    offset : int
        First byte, in the buffer.
    size : int
        Bytes, at least 1.
    """

    def __init__(self, buffer: _Buffer | Callable[[], _Buffer], offset: int, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    @property
    def exports(self) -> int:
        """How many views (of this object, directly) are alive."""

    @property
    def released(self) -> bool:
        """Whether :meth:`release` was called; no view can be made any more."""

    def release(self) -> None:
        """Let go of the underlying buffer. Releasing twice is harmless.

        Raises
        ------
        BusyError
            Views are alive.
        """

@final
class Translator:
    """One address space over two plain buffers: the MMU and the DMA functions without a GPU.

    Methods that touch memory report a fault by their result, and in :attr:`fault`. One thread at a time:
    the GIL is held throughout.

    Parameters
    ----------
    vram : buffer
        Physical VRAM; the page tables are in it. Starts at a multiple of 8 in memory.
    system : buffer
        What the system apertures lead to.
    pdb : int
        Physical address of the PDE3 table, a multiple of 8.
    """

    def __init__(self, vram: _Buffer, system: _Buffer, pdb: int) -> None: ...
    @property
    def fault(self) -> tuple[int, int, int] | None:
        """Of the last call: virtual address, access (1 read, 2 write) and status, or None.

        Status 1 is an unmapped page, 2 a write to a read-only page, 3 a privileged page, 4 a range that
        leaves the 49-bit address space.
        """

    @property
    def walks(self) -> int:
        """Walks from the root so far."""

    def invalidate(self) -> None:
        """Forget every cached translation."""

    def translate(self, va: int, write: bool = False) -> tuple[bool, int] | None:
        """Translate one address into (is it system memory, physical address)."""

    def translate_range(
        self, va: int, size: int, write: bool = False, *, mirror: bool = False, capacity: int = 64
    ) -> list[tuple[int, int, int, bool, bool]]:
        """Translate a range into spans (virtual, physical, length, is system memory, is read-only).

        The spans end where the range faults. With `mirror` no permission is asked for and unmapped and
        privileged pages are skipped. `capacity` spans are asked for at a time, which changes nothing.
        """

    def read(self, va: int, size: int) -> bytes | None:
        """Read `size` bytes; None on a fault."""

    def write(self, va: int, data: _Buffer) -> bool:
        """Write `data`; False on a fault, before which part may have been written."""

    def copy(self, dst: int, src: int, size: int) -> bool:
        """Copy `size` bytes; False on a fault, before which part may have been copied."""

    def copy_pitch(
        self, dst: int, dst_pitch: int, src: int, src_pitch: int, line_bytes: int, lines: int
    ) -> bool:
        """Copy lines whose starts lie a pitch apart, in bytes; False on a fault, like :meth:`copy`."""

    def fill(self, dst: int, pattern: _Buffer, count: int) -> bool:
        """Write `count` copies of 1 to 16 bytes; False on a fault, like :meth:`copy`."""

    def bench_translate(self, addresses: _Buffer, repeat: int, *, walk: bool = False) -> int:
        """Translate an array of uint64 `repeat` times in compiled code.

        All must be mapped, to VRAM. With `walk` each is translated as at the first access to its page.

        Returns
        -------
        int
            The sum of all physical addresses, modulo 2**64.
        """

    def bench_range(self, va: int, size: int, repeat: int) -> int:
        """Translate a range `repeat` times into at most 65,536 spans; return how many there were."""

@final
class Poller:
    """The engine's side of the channels of one client: what it polls, and how it sleeps.

    Parameters
    ----------
    userds : iterable of buffers
        One USERD page per channel.
    doorbell : buffer
        The doorbell page.
    doorbell_fd : int
        The eventfd that :class:`GpFifo` writes.
    entries : int
        Places in each ring.
    """

    def __init__(
        self, userds: Iterable[_Buffer], doorbell: _Buffer, doorbell_fd: int, entries: int
    ) -> None: ...
    @property
    def sleeps(self) -> int:
        """How often :meth:`serve` went to sleep."""

    def pending(self, index: int) -> int:
        """Entries that wait in one channel's ring."""

    def next(self, start: int = 0) -> int | None:
        """Return the first channel from `start` on, wrapping, with entries waiting."""

    def publish(self, index: int, get: int) -> None:
        """Set how far one channel's ring was fetched, and publish it as GP_GET."""

    def interrupt(self) -> None:
        """Raise an interrupt on the doorbell page."""

    def serve(self, stop: _Buffer, *, spin: bool = True) -> int:
        """Fetch entries, and do nothing with them, until the first 32-bit word of `stop` is not zero.

        Runs without the GIL, and polls and sleeps as the engine does; without `spin` it sleeps as soon as
        there is nothing to do. To end a sleep, write the eventfd after the stop word.

        Returns
        -------
        int
            Entries fetched.
        """
