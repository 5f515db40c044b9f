"""The hypercalls: one handler each, which validates, does, notes, and returns the reply.

A handler gets integers that were copied out of the slot once, and never sees guest memory. It checks
everything before it asks the host driver, and notes what that did at once, so that a call that raises
has changed nothing.
"""

from collections.abc import Callable
from typing import TypeVar

from logv import abi
from logv.errors import InvalidValueError
from logv.hw.clc56f import NVC56F_GP_ENTRY__SIZE
from logv.hypervisor.ledger import Ledger
from logv.uapi import Domain, Driver, Param

_Name = TypeVar("_Name", Domain, Param)

_REGIONS = {Domain.VRAM: abi.RegionIndex.VRAM, Domain.SYSTEM: abi.RegionIndex.SYSTEM}
_MAP_FLAGS = abi.VSPACE_MAP_WRITABLE | abi.VSPACE_MAP_TO_END


def _named(kind: type[_Name], value: int) -> _Name:
    try:
        return kind(value)
    except ValueError:
        raise InvalidValueError(f"{value} is not a {kind.__name__}") from None


class Calls:
    """Carries out one VM's hypercalls.

    Parameters
    ----------
    host : Driver
        The VM's session with the host driver.
    ledger : Ledger
        The VM's ledger.

    Attributes
    ----------
    handlers : dict
        By call number. A handler takes the fields of the call's request and returns those of its reply,
        or raises a LogvError, and nothing has changed then.
    """

    def __init__(self, host: Driver, ledger: Ledger) -> None:
        self._host = host
        self._ledger = ledger
        self.handlers: dict[int, Callable[..., tuple[int, ...]]] = {
            abi.Call.GET_PARAM: self._get_param,
            abi.Call.MEM_ALLOC: self._mem_alloc,
            abi.Call.MEM_FREE: self._mem_free,
            abi.Call.MEM_MAP: self._mem_map,
            abi.Call.VSPACE_NEW: self._vspace_new,
            abi.Call.VSPACE_FREE: self._vspace_free,
            abi.Call.VSPACE_MAP: self._vspace_map,
            abi.Call.VSPACE_UNMAP: self._vspace_unmap,
            abi.Call.CHAN_NEW: self._chan_new,
            abi.Call.CHAN_FREE: self._chan_free,
            abi.Call.FIFO_INIT_IB: self._fifo_init_ib,
            abi.Call.OBJ_ENG_NEW: self._obj_eng_new,
        }

    def _get_param(self, param: int) -> tuple[int, ...]:
        which = _named(Param, param)
        quotas, used = self._ledger.quotas, self._ledger.used
        # Memory is the VM's own; all other figures are the GPU's.
        figures = {
            Param.VRAM_SIZE: quotas[Domain.VRAM],
            Param.VRAM_FREE: quotas[Domain.VRAM] - used[Domain.VRAM],
            Param.SYSTEM_SIZE: quotas[Domain.SYSTEM],
            Param.SYSTEM_FREE: quotas[Domain.SYSTEM] - used[Domain.SYSTEM],
        }
        return abi.GetParamReply(figures[which] if which in figures else self._host.get_param(which))

    def _mem_alloc(self, size: int, domain: int) -> tuple[int, ...]:
        where = _named(Domain, domain)
        self._ledger.check_allocation(size, where)
        memory = self._host.mem_alloc(size, where)
        return abi.MemAllocReply(self._ledger.add_memory(memory), memory.size, memory.offset)

    def _mem_free(self, memory: int) -> tuple[int, ...]:
        entry = self._ledger.memories.get(memory)
        self._ledger.check_unmapped(entry)
        self._host.mem_free(entry.host.handle)
        self._ledger.remove_memory(memory)
        return ()

    def _mem_map(self, memory: int) -> tuple[int, ...]:
        # Access path 1, GPU memory to CPU: the guest has its own windows only, so that what it is told
        # here is where its object lies, and not a right.
        found = self._ledger.memories.get(memory).host
        return abi.MemMapReply(_REGIONS[found.domain], found.offset, found.size)

    def _vspace_new(self) -> tuple[int, ...]:
        self._ledger.vspaces.check_room()
        return abi.VspaceNewReply(self._ledger.add_vspace(self._host.vspace_new()))

    def _vspace_free(self, vspace: int) -> tuple[int, ...]:
        entry = self._ledger.vspaces.get(vspace)
        self._ledger.check_unused(entry)
        self._host.vspace_free(entry.host)
        self._ledger.remove_vspace(vspace)
        return ()

    def _vspace_map(self, vspace: int, memory: int, offset: int, size: int, flags: int) -> tuple[int, ...]:
        # Access paths 2 and 3, system memory to GPU and DMA: engines reach what is mapped here and
        # nothing else, so both ends must be this VM's.
        space = self._ledger.vspaces.get(vspace)
        entry = self._ledger.memories.get(memory)
        if flags & ~_MAP_FLAGS:
            raise InvalidValueError(f"unknown flags {flags:#x}")
        if flags & abi.VSPACE_MAP_TO_END:
            if size:
                raise InvalidValueError("the size must be 0 where the mapping goes up to the end")
            size = entry.host.size - offset
        self._ledger.check_mapping(entry, offset, size)
        writable = bool(flags & abi.VSPACE_MAP_WRITABLE)
        address = self._host.vspace_map(
            space.host, entry.host.handle, offset=offset, size=size, writable=writable
        )
        self._ledger.add_mapping(space, address, entry, size)
        return abi.VspaceMapReply(address)

    def _vspace_unmap(self, vspace: int, address: int) -> tuple[int, ...]:
        space = self._ledger.vspaces.get(vspace)
        self._ledger.check_mapped(space, address)
        self._host.vspace_unmap(space.host, address)
        self._ledger.remove_mapping(space, address)
        return ()

    def _chan_new(self, vspace: int) -> tuple[int, ...]:
        space = self._ledger.vspaces.get(vspace)
        self._ledger.channels.check_room()
        channel = self._host.chan_new(space.host)
        return abi.ChanNewReply(self._ledger.add_channel(channel.handle, space), channel.page)

    def _chan_free(self, channel: int) -> tuple[int, ...]:
        self._host.chan_free(self._ledger.channels.get(channel).host)
        self._ledger.remove_channel(channel)
        return ()

    def _fifo_init_ib(self, channel: int, ring: int, entries: int) -> tuple[int, ...]:
        entry = self._ledger.channels.get(channel)
        self._ledger.check_ring(entry, ring, entries * NVC56F_GP_ENTRY__SIZE)
        self._host.fifo_init_ib(entry.host, ring, entries)
        return ()

    def _obj_eng_new(self, channel: int, engine_class: int) -> tuple[int, ...]:
        self._host.obj_eng_new(self._ledger.channels.get(channel).host, engine_class)
        return ()
