"""A command channel as its application drives it: pushbuffer memory, GPFIFO, USERD, timeline."""

import struct
import threading
from collections.abc import Callable
from typing import Protocol

from logv import uapi
from logv._fastpath import GpFifo, Word64
from logv.errors import ChannelError, ClosedError, LogvError
from logv.hw.clc56f import NVC56F_GP_ENTRY__SIZE
from logv.hw.dev_ram import NOTIFIER_STATUS
from logv.runtime import pushbuffer
from logv.runtime._arena import Heap, Span
from logv.runtime._notifier import read_error

RECORD_ALIGNMENT = 256
"""Records begin where a QMD may lie: SEND_PCAS_A takes an address in units of 256 bytes."""
SEGMENTS = 8
SEGMENT_BYTES = 8 << 10
COMMAND_BYTES = SEGMENTS * SEGMENT_BYTES
RING_ENTRIES = 2 * COMMAND_BYTES // RECORD_ALIGNMENT
"""Twice as many as there can be records, so that the ring is never what is full."""
RING_BYTES = RING_ENTRIES * NVC56F_GP_ENTRY__SIZE
MEMORY_BYTES = RING_BYTES + COMMAND_BYTES
"""The ring, and after it the command memory."""
MEMORY_ALIGNMENT = 4096
_TIMELINE_BYTES = 64  # a cache line: the GPU writes the word while the CPU polls it

_SPIN_NS = 300_000  # longer than a typical kernel: a wake-up across CPUs costs tens of us
_LOOK_AGAIN_S = 1.0

TAIL = struct.Struct("<IQQII")
"""How every submission ends: the release of the timeline, and an interrupt for those who sleep."""


class Fifo(Protocol):
    """Where a channel's submissions go: :class:`logv._fastpath.GpFifo`, or what is compared with it."""

    def submit(self, address: int, dwords: int) -> bool:
        """Submit one pushbuffer segment; return False if the ring is full."""
        ...


FifoMaker = Callable[[memoryview, uapi.Channel], Fifo]
"""Makes the fifo of a channel from its ring, of ``RING_ENTRIES`` entries, and its handles."""


def gp_fifo(ring: memoryview, handles: uapi.Channel) -> Fifo:
    """Return a fifo that writes ring and GP_PUT itself."""
    return GpFifo(ring, handles.userd, handles.doorbell, handles.doorbell_fd, RING_ENTRIES)


class Channel:
    """One channel's submissions, and its timeline: submission `n` is done when the timeline is at `n`.

    Command memory is a ring of segments. Submissions never straddle two; before a segment is written
    again, the last submission in it is waited for. All methods but :meth:`reserve` and :meth:`commit`
    may be called from any thread at any time; those two need :attr:`lock`.

    Parameters
    ----------
    driver : Driver
    handles : uapi.Channel
        The channel, with its ring set to the first ``RING_BYTES`` of `memory`.
    heap : Heap
        Takes `memory` back at the end, and lends the timeline.
    memory : Span
        ``MEMORY_BYTES`` at a multiple of ``MEMORY_ALIGNMENT``.
    make_fifo : callable
        Makes what it submits to.
    """

    def __init__(
        self,
        driver: uapi.Driver,
        handles: uapi.Channel,
        heap: Heap,
        memory: Span,
        make_fifo: FifoMaker = gp_fifo,
    ) -> None:
        self.handle = handles.handle
        self.lock = threading.Lock()
        self.submitted = 0
        self.commands = memory.view[RING_BYTES:]
        self.commands_address = memory.address + RING_BYTES
        self._driver = driver
        self._heap = heap
        self._memory = memory
        self._timeline = heap.allocate(_TIMELINE_BYTES, _TIMELINE_BYTES)
        # The span may have been another channel's.
        self._timeline.view[:8] = bytes(8)
        self.timeline_address = self._timeline.address
        userd = handles.userd
        self._fifo: Fifo | None = make_fifo(memory.view[:RING_BYTES], handles)
        self._word: Word64 | None = Word64(self._timeline.view, 0, userd, NOTIFIER_STATUS)
        self._page: memoryview | bytes = userd
        self._status = userd[NOTIFIER_STATUS : NOTIFIER_STATUS + 4].cast("I")
        self._completed = 0
        self._next = 0
        self._segment = 0
        self._segment_end = SEGMENT_BYTES
        self._last_in_segment = [0] * SEGMENTS
        self._awaited: dict[Channel, int] = {}
        # Who waits for this channel's timeline, and the submission of theirs that does.
        self.followers: dict[Channel, int] = {}

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._fifo is None

    def submit(self, words: list[int]) -> int:
        """Submit a sequence of methods; return the timeline's value once it is done."""
        with self.lock:
            start = self.reserve(4 * len(words) + TAIL.size)
            struct.pack_into(f"<{len(words)}I", self.commands, start, *words)
            return self.finish(start, start + 4 * len(words))

    def reserve(self, size: int) -> int:
        """Return where in :attr:`commands` a record of `size` bytes may be written.

        Raises
        ------
        ChannelError, ClosedError
            The channel was stopped by the GPU, or was closed.
        """
        if self._fifo is None:
            raise ClosedError("the stream was closed; create another one")
        if self._status[0]:
            self.check()
        if self._next + size > self._segment_end:
            self._last_in_segment[self._segment] = self.submitted
            following = (self._segment + 1) % SEGMENTS
            self.wait(self._last_in_segment[following])
            self._segment = following
            self._next = following * SEGMENT_BYTES
            self._segment_end = self._next + SEGMENT_BYTES
        return self._next

    def finish(self, start: int, end: int) -> int:
        """Append the tail at `end`, and submit the words from `start` on."""
        TAIL.pack_into(
            self.commands,
            end,
            pushbuffer.SEMAPHORE,
            self.timeline_address,
            self.submitted + 1,
            pushbuffer.SEMAPHORE_RELEASE,
            pushbuffer.INTERRUPT,
        )
        return self.commit(start, end + TAIL.size)

    def commit(self, start: int, end: int) -> int:
        """Submit the words from `start` to `end`, which end with the tail for ``submitted + 1``."""
        fifo = self._fifo
        if fifo is None or not fifo.submit(self.commands_address + start, (end - start) >> 2):
            raise LogvError(
                f"GP_GET of channel {self.handle:#x} does not advance: something overwrote its page"
            )
        self._next = -(-end // RECORD_ALIGNMENT) * RECORD_ALIGNMENT
        self.submitted += 1
        return self.submitted

    def follow(self, other: "Channel", value: int) -> None:
        """Let what is submitted from now on wait for submission `value` of `other`."""
        if other.closed:
            # Closing has waited for everything: what is left to wait for is an error.
            other.wait(value)
            return
        self._awaited = {channel: due for channel, due in self._awaited.items() if not channel.is_done(due)}
        self._awaited[other] = max(value, self._awaited.get(other, 0))
        other.followers[self] = self.submit(pushbuffer.acquire(other.timeline_address, value))

    def is_done(self, value: int) -> bool:
        """Say whether submission `value` is done."""
        word = self._word
        return (self._completed if word is None else word.value) >= value

    def poll(self, value: int) -> bool:
        """Say whether submission `value` is done; raise ChannelError if it never will be."""
        if self.is_done(value):
            return True
        self.check()
        return False

    def is_settled(self, value: int) -> bool:
        """Say whether submission `value` is done, or the channel was stopped."""
        return self.is_done(value) or self._status[0] != 0 or self.closed

    def wait(self, value: int) -> None:
        """Wait until submission `value` is done.

        Raises
        ------
        ChannelError
            The GPU stopped this channel, or one that it waits for.
        """
        word = self._word
        if word is None:
            if not self.poll(value):
                raise ClosedError("the device was closed before this was done")
            return
        if word.value >= value or word.spin(value, _SPIN_NS):
            return
        while True:
            seen = self._driver.irq_sequence()
            if word.value >= value:
                return
            self.check()
            self._driver.wait_irq(seen, _LOOK_AGAIN_S)

    def settle(self, value: int) -> None:
        """Wait until submission `value` is done or never will be."""
        try:
            self.wait(value)
        except (ChannelError, ClosedError):
            # Its own stream reports the error; here it only matters that nothing runs any more.
            return

    def check(self) -> None:
        """Raise the error that stopped this channel, or one that it waits for; return if there is none."""
        error = self._error(set())
        if error is not None:
            raise error

    def _error(self, seen: "set[Channel]") -> ChannelError | None:
        error = read_error(self._page, self.handle)
        if error is not None:
            return error
        seen.add(self)
        for other, value in list(self._awaited.items()):
            if other in seen or other.is_done(value):
                continue
            cause = other._error(seen)
            if cause is not None:
                return ChannelError(
                    f"channel {self.handle:#x} waits for one that failed: {cause}",
                    channel=self.handle,
                    reason=f"waits for channel {other.handle:#x}: {cause.reason}",
                )
        return None

    def close(self) -> None:
        """Wait for what was submitted, and free the channel. Errors are left to those who wait."""
        with self.lock:
            if self._fifo is None:
                return
            self.settle(self.submitted)
            self._driver.chan_free(self.handle)
            self.abandon()
            self._heap.free(self._memory)
            # Whoever still waits for the word must not meet its next owner's values.
            followers = self.followers
            self._heap.retire(
                self._timeline,
                lambda: all(channel.is_settled(value) for channel, value in followers.items()),
            )

    def abandon(self) -> None:
        """Let go of the channel's memory without a call to the driver, which closes everything itself."""
        self._completed = self._word.value if self._word is not None else self._completed
        self._page = bytes(self._page)
        self._status = memoryview(self._page)[NOTIFIER_STATUS : NOTIFIER_STATUS + 4].cast("I")
        self._fifo = self._word = None
        self.commands = memoryview(b"")
