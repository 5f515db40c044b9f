from collections.abc import Iterator

import pytest

from logv.gpu import Gpu
from logv.guest import GuestDriver, Process
from logv.host import HostDriver
from logv.hypervisor import Hypervisor, Vm


@pytest.fixture(scope="package")
def guest_gpu() -> Iterator[Gpu]:
    """One software GPU for these tests."""
    gpu = Gpu()
    yield gpu
    gpu.close()


@pytest.fixture
def vm(guest_gpu: Gpu) -> Iterator[Vm]:
    """A VM whose close returns everything to the host driver."""
    host = HostDriver(guest_gpu, 32 << 20, 8 << 20)
    before = host.usage()
    hypervisor = Hypervisor(host)
    yield hypervisor.create_vm("vm", 8 << 20, 2 << 20, channels=40)
    hypervisor.close()
    assert host.usage() == before
    host.close()


@pytest.fixture
def guest(vm: Vm) -> Iterator[GuestDriver]:
    """The VM's guest driver, whose close leaves the VM with nothing."""
    guest = GuestDriver(vm.device)
    yield guest
    guest.close()
    counters = vm.counters
    assert not any((counters.buffers, counters.vspaces, counters.channels, counters.memory_used))


@pytest.fixture
def process(guest: GuestDriver) -> Process:
    """One process of the VM."""
    return guest.open()
