"""Processes: what one application in a VM has of the GPU."""

import weakref
from typing import TYPE_CHECKING

from logv import _fastpath, abi
from logv.errors import ClosedError
from logv.guest._arguments import word
from logv.guest._holdings import Holdings
from logv.guest.batch import GuestBatch
from logv.guest.slots import CallSlots
from logv.uapi import Channel, Domain, Memory, Param

if TYPE_CHECKING:
    from logv.guest.driver import GuestDriver


class Process:
    """One process's connection to the guest driver: ``uapi.Driver``, in a VM.

    Handles of other processes mean nothing here. Threads may share a process. One that is dropped
    without :meth:`close` is cleaned up at the next call of any process of the VM.

    Parameters
    ----------
    driver : GuestDriver

    Attributes
    ----------
    lock : Lock
        The driver's, for batches.
    """

    def __init__(self, driver: "GuestDriver") -> None:
        self._driver = driver
        self.lock = driver.lock
        self._holdings = Holdings(driver)
        self._doorbell = driver.userd_page(0)
        self._finalizer = weakref.finalize(self, driver.orphan, self._holdings)
        # At exit the VM goes with the interpreter.
        self._finalizer.atexit = False

    def get_param(self, param: Param) -> int:
        """Return one figure of the GPU or of the VM; see ``uapi.Param``."""
        request = abi.GetParam(word(param, "the parameter"))
        with self.lock:
            return abi.read_fields(abi.GetParamReply, self.ready().call(request)).value

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Memory:
        """Allocate a zeroed buffer object; see ``uapi.Driver``."""
        with self.batch() as batch:
            memory = batch.mem_alloc(size, domain)
        return memory.value

    def mem_free(self, memory: int) -> None:
        """Free a buffer object; BusyError while it is mapped into an address space."""
        with self.lock:
            slots = self.ready()
            self._holdings.memories.check(memory)
            slots.call(abi.MemFree(memory))
            self._holdings.drop_memory(memory)

    def mem_map(self, memory: int) -> memoryview:
        """Return the buffer object's bytes; only the first time takes a hypercall."""
        with self.lock:
            self.ready()
            known = self._holdings.memories.get(memory)
        if known is not None:
            return known
        with self.batch() as batch:
            view = batch.mem_map(memory)
        return view.value

    def vspace_new(self) -> int:
        """Make a GPU address space and return its handle."""
        with self.batch() as batch:
            vspace = batch.vspace_new()
        return vspace.value

    def vspace_free(self, vspace: int) -> None:
        """Free an address space and its mappings; BusyError while a channel uses it."""
        with self.lock:
            slots = self.ready()
            self._holdings.vspaces.check(vspace)
            slots.call(abi.VspaceFree(vspace))
            self._holdings.drop_vspace(vspace)

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
        with self.batch() as batch:
            address = batch.vspace_map(vspace, memory, offset=offset, size=size, writable=writable)
        return address.value

    def vspace_unmap(self, vspace: int, address: int) -> None:
        """Undo one :meth:`vspace_map`, named by the address it returned."""
        where = word(address, "the address")
        with self.lock:
            slots = self.ready()
            self._holdings.vspaces.check(vspace)
            slots.call(abi.VspaceUnmap(vspace, where))
            self._holdings.drop_mapping(vspace, where)

    def chan_new(self, vspace: int) -> Channel:
        """Make a channel in an address space; see ``uapi.Driver``."""
        with self.batch() as batch:
            channel = batch.chan_new(vspace)
        return channel.value

    def chan_free(self, channel: int) -> None:
        """Stop a channel, whatever it is doing, and free it."""
        with self.lock:
            slots = self.ready()
            self._holdings.channels.check(channel)
            slots.call(abi.ChanFree(channel))
            self._holdings.channels.remove(channel)

    def fifo_init_ib(self, channel: int, ring: int, entries: int) -> None:
        """Give a channel its GPFIFO ring and enable it; see ``uapi.Driver``."""
        with self.batch() as batch:
            batch.fifo_init_ib(channel, ring, entries)

    def obj_eng_new(self, channel: int, engine_class: int) -> None:
        """Allow a channel to bind an engine class; NotSupportedError if there is no such engine."""
        with self.batch() as batch:
            batch.obj_eng_new(channel, engine_class)

    def irq_sequence(self) -> int:
        """Return the number of interrupts so far, modulo 2**32. No hypercall."""
        self._check_open()
        return _fastpath.irq_sequence(self._doorbell)

    def wait_irq(self, seen: int, timeout_s: float) -> int:
        """Sleep until the interrupt count differs from `seen`, or the time is over. No hypercall."""
        self._check_open()
        count = _fastpath.irq_wait(self._doorbell, seen, timeout_s)
        if count == seen:
            # A device that is gone raises no interrupts.
            self._driver.check_present()
        return count

    def batch(self) -> GuestBatch:
        """Return a new batch: up to ``abi.SLOT_COUNT`` calls take one hypercall."""
        self._check_open()
        return GuestBatch(self, self._holdings)

    def close(self) -> None:
        """Return everything this process holds. Closing twice is harmless."""
        # Says once that the process is alive, to whichever thread comes first.
        if self._finalizer.detach():
            self._driver.bury(self._holdings)

    def ready(self) -> CallSlots:
        """Return the slots, to a holder of :attr:`lock`; raise ClosedError after :meth:`close`."""
        self._check_open()
        return self._driver.ready()

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise ClosedError("the process was closed; open another")
