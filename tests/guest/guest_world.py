"""A VM for the driver contract suite: its processes are the drivers."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.contract.worlds import CHANNELS, SYSTEM_SIZE, VRAM_SIZE, World

from logv.guest import GuestDriver
from logv.host import HostDriver
from logv.hypervisor import Hypervisor, Vm


def held(vm: Vm) -> tuple[int, ...]:
    """Return what a VM's ledger says that it holds."""
    counters = vm.counters
    return (
        counters.memory_used,
        counters.system_memory_used,
        counters.buffers,
        counters.vspaces,
        counters.channels,
    )


@contextmanager
def guest_world(host: HostDriver) -> Iterator[World]:
    """Processes of one VM. They hold what the ledger says, and what the host driver says of the VM."""
    vm = Hypervisor(host).create_vm("contract", VRAM_SIZE, SYSTEM_SIZE, CHANNELS)
    guest = GuestDriver(vm.device)
    yield World(guest.open, lambda: (held(vm), host.usage()))
    guest.close()
    vm.close()
