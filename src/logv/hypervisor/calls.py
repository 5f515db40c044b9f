"""The hypercalls: one handler each, which validates, does, notes, and returns the reply.

A handler gets integers that were copied out of the slot once, and never sees guest memory. It checks
everything before it asks the host driver, and notes what that did at once, so that a call that raises
has changed nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

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
    """

    def __init__(self, host: Driver, ledger: Ledger) -> None:
        self._host = host
        self._ledger = ledger
        self._handlers: dict[abi.Call, Callable[[Any], tuple[int, ...]]] = {
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

    def carry_out(self, call: abi.Call, request: abi.Request) -> tuple[int, ...]:
        """Carry out one call and return the fields of its reply.

        Raises
        ------
        LogvError
            What the reply's status says then; nothing has changed.
        """
        return self._handlers[call](request)

    def _get_param(self, request: abi.GetParam) -> tuple[int, ...]:
        param = _named(Param, request.param)
        quotas, used = self._ledger.quotas, self._ledger.used
        # Memory is the VM's own; all other figures are the GPU's.
        figures = {
            Param.VRAM_SIZE: quotas[Domain.VRAM],
            Param.VRAM_FREE: quotas[Domain.VRAM] - used[Domain.VRAM],
            Param.SYSTEM_SIZE: quotas[Domain.SYSTEM],
            Param.SYSTEM_FREE: quotas[Domain.SYSTEM] - used[Domain.SYSTEM],
        }
        return abi.GetParamReply(figures[param] if param in figures else self._host.get_param(param))

    def _mem_alloc(self, request: abi.MemAlloc) -> tuple[int, ...]:
        domain = _named(Domain, request.domain)
        self._ledger.check_allocation(request.size, domain)
        memory = self._host.mem_alloc(request.size, domain)
        return abi.MemAllocReply(self._ledger.add_memory(memory), memory.size, memory.offset)

    def _mem_free(self, request: abi.MemFree) -> tuple[int, ...]:
        entry = self._ledger.memories.get(request.memory)
        self._ledger.check_unmapped(entry)
        self._host.mem_free(entry.host.handle)
        self._ledger.remove_memory(request.memory)
        return ()

    def _mem_map(self, request: abi.MemMap) -> tuple[int, ...]:
        # Access path 1, GPU memory to CPU: the guest has its own windows only, so that what it is told
        # here is where its object lies, and not a right.
        memory = self._ledger.memories.get(request.memory).host
        return abi.MemMapReply(_REGIONS[memory.domain], memory.offset, memory.size)

    def _vspace_new(self, _: abi.VspaceNew) -> tuple[int, ...]:
        self._ledger.vspaces.check_room()
        return abi.VspaceNewReply(self._ledger.add_vspace(self._host.vspace_new()))

    def _vspace_free(self, request: abi.VspaceFree) -> tuple[int, ...]:
        entry = self._ledger.vspaces.get(request.vspace)
        self._ledger.check_unused(entry)
        self._host.vspace_free(entry.host)
        self._ledger.remove_vspace(request.vspace)
        return ()

    def _vspace_map(self, request: abi.VspaceMap) -> tuple[int, ...]:
        # Access paths 2 and 3, system memory to GPU and DMA: engines reach what is mapped here and
        # nothing else, so both ends must be this VM's.
        vspace = self._ledger.vspaces.get(request.vspace)
        memory = self._ledger.memories.get(request.memory)
        if request.flags & ~_MAP_FLAGS:
            raise InvalidValueError(f"unknown flags {request.flags:#x}")
        size = request.size
        if request.flags & abi.VSPACE_MAP_TO_END:
            if size:
                raise InvalidValueError("the size must be 0 where the mapping goes up to the end")
            size = memory.host.size - request.offset
        self._ledger.check_mapping(memory, request.offset, size)
        address = self._host.vspace_map(
            vspace.host,
            memory.host.handle,
            offset=request.offset,
            size=size,
            writable=bool(request.flags & abi.VSPACE_MAP_WRITABLE),
        )
        self._ledger.add_mapping(vspace, address, memory, size)
        return abi.VspaceMapReply(address)

    def _vspace_unmap(self, request: abi.VspaceUnmap) -> tuple[int, ...]:
        vspace = self._ledger.vspaces.get(request.vspace)
        self._ledger.check_mapped(vspace, request.address)
        self._host.vspace_unmap(vspace.host, request.address)
        self._ledger.remove_mapping(vspace, request.address)
        return ()

    def _chan_new(self, request: abi.ChanNew) -> tuple[int, ...]:
        vspace = self._ledger.vspaces.get(request.vspace)
        self._ledger.channels.check_room()
        channel = self._host.chan_new(vspace.host)
        return abi.ChanNewReply(self._ledger.add_channel(channel.handle, vspace), channel.page)

    def _chan_free(self, request: abi.ChanFree) -> tuple[int, ...]:
        self._host.chan_free(self._ledger.channels.get(request.channel).host)
        self._ledger.remove_channel(request.channel)
        return ()

    def _fifo_init_ib(self, request: abi.FifoInitIb) -> tuple[int, ...]:
        channel = self._ledger.channels.get(request.channel)
        self._ledger.check_ring(channel, request.ring, request.entries * NVC56F_GP_ENTRY__SIZE)
        self._host.fifo_init_ib(channel.host, request.ring, request.entries)
        return ()

    def _obj_eng_new(self, request: abi.ObjEngNew) -> tuple[int, ...]:
        channel = self._ledger.channels.get(request.channel)
        self._host.obj_eng_new(channel.host, request.engine_class)
        return ()
