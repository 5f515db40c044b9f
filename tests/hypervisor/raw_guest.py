"""A guest that writes whatever it likes: slots and registers by hand, no driver in between."""

import mmap
from dataclasses import astuple, replace

from logv import abi
from logv.hypervisor import Vm, VmCounters

PAGE = 4096
NUMBERS = {request: call for call, request in abi.REQUESTS.items()}


class RawGuest:
    """Drives one VM's device.

    Parameters
    ----------
    vm : Vm
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.device: abi.VirtualDevice = vm.device
        region = self.device.region(abi.RegionIndex.SLOTS)
        self.slots = mmap.mmap(region.fd, region.size)

    def write(self, slot: int, call: int, *fields: int) -> None:
        """Fill one slot; missing fields are zeros."""
        abi.pack_request(self.slots, slot, call, fields)

    def execute(self, first: int, count: int) -> int:
        """Write EXECUTE; return STATUS."""
        self.device.write_register(abi.Register.EXECUTE, abi.encode_execute(first, count))
        return self.device.read_register(abi.Register.STATUS)

    def reply(self, slot: int) -> abi.Reply:
        """Return what a slot's reply says."""
        return abi.unpack_reply(self.slots, slot)

    def run(self, *requests: abi.Request, first: int = 0) -> list[abi.Reply]:
        """Carry out a run of requests."""
        for slot, request in enumerate(requests, first):
            self.write(slot, NUMBERS[type(request)], *request)
        self.execute(first, len(requests))
        return [self.reply(slot) for slot in range(first, first + len(requests))]

    def status(self, request: abi.Request) -> int:
        """Carry out one request; return its status."""
        return self.run(request)[0].status

    def make(self, request: abi.Request) -> int:
        """Carry out a request that must succeed; return the first field of the reply."""
        (reply,) = self.run(request)
        assert reply.status == 0, reply
        return reply.fields[0]


def held(vm: Vm) -> VmCounters:
    """Return a VM's counters but for the crossings, which refused ones add to as well."""
    return replace(vm.counters, hypercalls=0)


def holds_nothing(vm: Vm) -> bool:
    """Say whether a VM's ledger is empty."""
    counters = vm.counters
    return not any(
        astuple(counters)[position]
        for position, name in enumerate(VmCounters.__dataclass_fields__)
        if name in ("memory_used", "system_memory_used", "buffers", "vspaces", "channels")
    )
