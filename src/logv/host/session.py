"""Sessions: what one process holds of a partition."""

from typing import TypeVar

from logv._fastpath import irq_sequence, irq_wait
from logv.errors import BusyError, ClosedError, InvalidValueError
from logv.handles import HandleTable
from logv.host._arguments import MAX_WORD, PAGE_SIZE, integer, page_multiple, whole_pages
from logv.host.batch import HostBatch
from logv.host.channel import HostChannel, check_class
from logv.host.partition import Partition
from logv.host.vram import Buffer
from logv.host.vspace import VSpace
from logv.hw.software_gpu import APERTURE_VA_BITS, COMPUTE_CAPABILITY
from logv.uapi import Channel, Domain, Memory, Param

_Name = TypeVar("_Name", Domain, Param)

_KIND_MEMORY, _KIND_VSPACE, _KIND_CHANNEL = 1, 2, 3


def _named(kind: type[_Name], value: int) -> _Name:
    """Return a member of an enumeration; raise InvalidValueError for anything else."""
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(member.name for member in kind)
        raise InvalidValueError(f"not a {kind.__name__}; there are {known}") from None


class Session:
    """One process's connection to the host driver: ``uapi.Driver``, natively.

    Handles are the session's own; another session's mean nothing here. Threads may share a session.

    Parameters
    ----------
    partition : Partition
    """

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._lock = partition.lock
        self._memory: HandleTable[Buffer] = HandleTable(_KIND_MEMORY, "memory")
        self._vspaces: HandleTable[VSpace] = HandleTable(_KIND_VSPACE, "address space")
        self._channels: HandleTable[HostChannel] = HandleTable(_KIND_CHANNEL, "channel")
        self._closed = False
        self._doorbell = partition.port.page(0)
        partition.enter(self)

    def get_param(self, param: Param) -> int:
        """Return one figure of the GPU or of the partition; see ``uapi.Param``."""
        which = _named(Param, param)
        with self._lock:
            self._check_open()
            placements = self._partition.placements
            return {
                Param.COMPUTE_CAPABILITY: COMPUTE_CAPABILITY,
                Param.VRAM_SIZE: placements[Domain.VRAM].size,
                Param.VRAM_FREE: placements[Domain.VRAM].free,
                Param.SYSTEM_SIZE: placements[Domain.SYSTEM].size,
                Param.SYSTEM_FREE: placements[Domain.SYSTEM].free,
                Param.VA_BITS: APERTURE_VA_BITS,
                Param.MAX_CHANNELS: self._partition.channels,
                Param.PAGE_SIZE: PAGE_SIZE,
            }[which]

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Memory:
        """Allocate a zeroed buffer object; see ``uapi.Driver``."""
        where = _named(Domain, domain)
        rounded = whole_pages(integer(size, "the size in bytes", 1, MAX_WORD))
        with self._lock:
            self._check_open()
            self._memory.check_room()
            buffer = self._partition.placements[where].place(rounded)
            return Memory(self._memory.add(buffer), rounded, where, buffer.offset)

    def mem_free(self, memory: int) -> None:
        """Free a buffer object; BusyError while it is mapped into an address space."""
        with self._lock:
            self._check_open()
            buffer = self._memory.get(memory)
            if buffer.mappings:
                raise BusyError(f"the buffer object is mapped {buffer.mappings} times; unmap it first")
            self._memory.remove(memory)
            self._partition.placements[buffer.domain].release(buffer)

    def mem_map(self, memory: int) -> memoryview:
        """Return the buffer object's bytes; see ``uapi.Driver``."""
        with self._lock:
            self._check_open()
            buffer = self._memory.get(memory)
            window = self._partition.placements[buffer.domain].window
            return window.memory[buffer.offset : buffer.offset + buffer.size]

    def vspace_new(self) -> int:
        """Make a GPU address space and return its handle."""
        with self._lock:
            self._check_open()
            self._vspaces.check_room()
            partition = self._partition
            return self._vspaces.add(
                VSpace(partition.gpu, partition.vspaces, partition.mappings, partition.tables)
            )

    def vspace_free(self, vspace: int) -> None:
        """Free an address space and its mappings; BusyError while a channel uses it."""
        with self._lock:
            self._check_open()
            self._vspaces.get(vspace).close()
            self._vspaces.remove(vspace)

    def vspace_map(
        self,
        vspace: int,
        memory: int,
        *,
        offset: int = 0,
        size: int | None = None,
        writable: bool = True,
    ) -> int:
        """Map pages of a buffer object and return their GPU virtual address; see ``uapi.Driver``."""
        start = page_multiple(offset, "the offset in bytes", 0)
        length = None if size is None else page_multiple(size, "the size in bytes", PAGE_SIZE)
        with self._lock:
            self._check_open()
            space = self._vspaces.get(vspace)
            buffer = self._memory.get(memory)
            if start >= buffer.size or (length is not None and length > buffer.size - start):
                raise InvalidValueError(
                    f"offset {start:#x} and size {'None' if length is None else hex(length)} leave the "
                    f"buffer object's {buffer.size:#x} bytes"
                )
            return space.map(
                buffer, start, buffer.size - start if length is None else length, writable=bool(writable)
            )

    def vspace_unmap(self, vspace: int, address: int) -> None:
        """Undo one :meth:`vspace_map`, named by the address it returned."""
        checked = integer(address, "the address", 0, MAX_WORD)
        with self._lock:
            self._check_open()
            self._vspaces.get(vspace).unmap(checked)

    def chan_new(self, vspace: int) -> Channel:
        """Make a channel in an address space; see ``uapi.Driver``."""
        with self._lock:
            self._check_open()
            space = self._vspaces.get(vspace)
            self._channels.check_room()
            channel = HostChannel(self._partition, space)
            port = self._partition.port
            return Channel(
                self._channels.add(channel),
                channel.page,
                port.page(channel.page),
                self._doorbell,
                port.doorbell_fd,
            )

    def chan_free(self, channel: int) -> None:
        """Stop a channel, whatever it is doing, and free it."""
        with self._lock:
            self._check_open()
            self._channels.remove(channel).close()

    def fifo_init_ib(self, channel: int, ring: int, entries: int) -> None:
        """Give a channel its GPFIFO ring and enable it; BusyError if it has one. See ``uapi.Driver``."""
        with self._lock:
            found = self.find_channel(channel)
            found.reserve_ring(ring, entries)
            found.enable()

    def obj_eng_new(self, channel: int, engine_class: int) -> None:
        """Allow a channel to bind an engine class; NotSupportedError if there is no such engine."""
        with self._lock:
            self.find_channel(channel).allow(check_class(engine_class))

    def find_channel(self, channel: int) -> HostChannel:
        """Return what a channel's handle stands for. For batches, which hold the driver's lock."""
        self._check_open()
        return self._channels.get(channel)

    def irq_sequence(self) -> int:
        """Return the number of interrupts so far, modulo 2**32."""
        self._check_open()
        return irq_sequence(self._doorbell)

    def wait_irq(self, seen: int, timeout_s: float) -> int:
        """Sleep until the interrupt count differs from `seen`, or the time is over; return the count."""
        self._check_open()
        return irq_wait(self._doorbell, seen, timeout_s)

    def batch(self) -> HostBatch:
        """Return a new batch; natively it saves nothing but behaves as one."""
        self._check_open()
        return HostBatch(self, self._lock)

    def close(self) -> None:
        """Return everything this process holds. Closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # From the top down: channels use address spaces, address spaces use buffer objects.
            for channel in self._channels.values():
                channel.close()
            for space in self._vspaces.values():
                space.close()
            for buffer in self._memory.values():
                self._partition.placements[buffer.domain].release(buffer)
            self._partition.leave(self)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the driver session is closed; open another")
