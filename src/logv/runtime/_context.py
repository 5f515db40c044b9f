"""What the objects of one device share: the driver, the address space, the arenas, the staging memory."""

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING

from logv import uapi
from logv.errors import BusyError, ClosedError
from logv.runtime import pushbuffer
from logv.runtime._arena import CHUNK_BYTES, Arena, Heap, Span
from logv.runtime._staging import STAGING_BYTES, Staging
from logv.runtime.channel import MEMORY_ALIGNMENT, MEMORY_BYTES, RING_ENTRIES, Channel, FifoMaker, gp_fifo
from logv.uapi import Domain

if TYPE_CHECKING:
    from logv.runtime.buffer import Buffer


class Context:
    """One address space and what lies in it.

    Opening takes one batch: the address space, the first arena, the staging memory, and a channel for
    the first stream.

    Parameters
    ----------
    driver : Driver
        Closed with the context.
    make_fifo : callable
        For the channels.
    """

    def __init__(self, driver: uapi.Driver, make_fifo: FifoMaker = gp_fifo) -> None:
        self.driver = driver
        self._make_fifo = make_fifo
        self.closed = False
        self.lock = threading.Lock()
        self.buffers: weakref.WeakSet[Buffer] = weakref.WeakSet()
        # Buffers that were dropped without close(): handle and address, freed at the next chance. A
        # finaliser may run anywhere, so it must neither lock nor call the driver.
        self.dropped: deque[tuple[int, int]] = deque()
        self._channels: set[Channel] = set()
        with driver.batch() as batch:
            vspace = batch.vspace_new()
            # The first arena and the staging memory in one piece: each call less is one crossing's work
            # less in a VM.
            memory = batch.mem_alloc(CHUNK_BYTES + STAGING_BYTES, Domain.SYSTEM)
            start = batch.vspace_map(vspace, memory)
            mapped = batch.mem_map(memory)
            handles = batch.chan_new(vspace)
            # The arena's first bytes: its address is not known before the batch has run.
            batch.fifo_init_ib(handles, start, RING_ENTRIES)
            for _, engine_class in pushbuffer.ENGINE_CLASSES:
                batch.obj_eng_new(handles, engine_class)
        self.vspace = vspace.value
        self.heap = Heap(Arena(mapped.value[:CHUNK_BYTES], start.value), self._grow)
        self.staging = Staging(mapped.value[CHUNK_BYTES:], start.value + CHUNK_BYTES)
        self._spare: Channel | None = self._adopt(
            handles.value, self.heap.allocate(MEMORY_BYTES, MEMORY_ALIGNMENT)
        )

    def check_open(self) -> None:
        """Raise ClosedError if the device was closed."""
        if self.closed:
            raise ClosedError("the device was closed; open another one")

    def create_channel(self) -> Channel:
        """Return a channel with both engines bound; the one made at opening first."""
        with self.lock:
            self.check_open()
            channel, self._spare = self._spare or self._new_channel(), None
        channel.submit(pushbuffer.BIND_CLASSES)
        return channel

    def close_channel(self, channel: Channel) -> None:
        """Close a channel and forget it."""
        channel.settle(channel.submitted)
        with self.lock:
            channel.close()
            self._channels.discard(channel)

    def map_new(self, size: int, domain: Domain) -> tuple[uapi.Memory, int]:
        """Allocate a buffer object; return it and its GPU virtual address."""
        with self.lock:
            self.check_open()
            self._free_dropped()
            with self.driver.batch() as batch:
                memory = batch.mem_alloc(size, domain)
                address = batch.vspace_map(self.vspace, memory)
            return memory.value, address.value

    def view(self, memory: int) -> memoryview:
        """Return the bytes of a buffer object."""
        with self.lock:
            self.check_open()
            return self.driver.mem_map(memory)

    def settle(self) -> None:
        """Wait until everything submitted so far is done or never will be; raises no stream's error."""
        for channel in list(self._channels):
            channel.settle(channel.submitted)

    def unmap(self, memory: int, address: int) -> None:
        """Free a buffer object of :meth:`map_new` that nothing uses any more."""
        with self.lock:
            self._unmap(memory, address)

    def sync(self) -> None:
        """Wait for everything that was submitted; raise the first stream's error, if there is one."""
        for channel in list(self._channels):
            channel.wait(channel.submitted)

    def close(self, *, force: bool = False) -> None:
        """Wait for what runs, and close the driver, which returns everything.

        Raises
        ------
        BusyError
            Views of buffers are alive, and `force` is not set; nothing has changed then.
        """
        with self.lock:
            if self.closed:
                return
            exports = sum(buffer.exports for buffer in self.buffers)
            if exports and not force:
                raise BusyError(
                    f"{exports} memoryviews or arrays of this device's buffers are alive; drop them first"
                )
            self.closed = True
            try:
                self.settle()
            finally:
                self.driver.close()
                for channel in self._channels:
                    channel.abandon()
                self._channels.clear()
                for buffer in self.buffers:
                    buffer.abandon()
                # A window's pages live for as long as somebody maps them, a closed device included.
                self.heap.close()
                self.staging.close()

    def _new_channel(self) -> Channel:
        memory = self.heap.allocate(MEMORY_BYTES, MEMORY_ALIGNMENT)
        try:
            with self.driver.batch() as batch:
                handles = batch.chan_new(self.vspace)
                batch.fifo_init_ib(handles, memory.address, RING_ENTRIES)
                for _, engine_class in pushbuffer.ENGINE_CLASSES:
                    batch.obj_eng_new(handles, engine_class)
        except BaseException:
            self.heap.free(memory)
            raise
        return self._adopt(handles.value, memory)

    def _adopt(self, handles: uapi.Channel, memory: Span) -> Channel:
        channel = Channel(self.driver, handles, self.heap, memory, self._make_fifo)
        self._channels.add(channel)
        return channel

    def _grow(self, size: int) -> Arena:
        with self.driver.batch() as batch:
            memory = batch.mem_alloc(size, Domain.SYSTEM)
            address = batch.vspace_map(self.vspace, memory)
            view = batch.mem_map(memory)
        return Arena(view.value, address.value)

    def _unmap(self, memory: int, address: int) -> None:
        with self.driver.batch() as batch:
            batch.vspace_unmap(self.vspace, address)
            batch.mem_free(memory)

    def _free_dropped(self) -> None:
        # Those dropped so far only: work on others may be submitted while this waits.
        count = len(self.dropped)
        if count:
            self.settle()
        for _ in range(count):
            self._unmap(*self.dropped.popleft())
