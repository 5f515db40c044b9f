from collections.abc import Iterator

import pytest
from tests.hypervisor.raw_guest import RawGuest

from logv.gpu import Gpu
from logv.host import HostDriver
from logv.hypervisor import Hypervisor

VRAM_QUOTA = 8 << 20
SYSTEM_QUOTA = 2 << 20
CHANNELS = 4


@pytest.fixture(scope="package")
def hypervisor_gpu() -> Iterator[Gpu]:
    """One software GPU for these tests."""
    gpu = Gpu()
    yield gpu
    gpu.close()


@pytest.fixture
def host(hypervisor_gpu: Gpu) -> Iterator[HostDriver]:
    """A host driver on which nothing may be left at the end."""
    host = HostDriver(hypervisor_gpu, 64 << 20, 16 << 20)
    before = host.usage()
    yield host
    assert host.usage() == before, "a VM's close has not returned everything"
    host.close()


@pytest.fixture
def hypervisor(host: HostDriver) -> Iterator[Hypervisor]:
    """A hypervisor, closed at the end with all of its VMs."""
    hypervisor = Hypervisor(host)
    yield hypervisor
    hypervisor.close()


@pytest.fixture
def guest(hypervisor: Hypervisor) -> RawGuest:
    """A hostile guest in a VM of its own."""
    return RawGuest(hypervisor.create_vm("mallory", VRAM_QUOTA, SYSTEM_QUOTA, CHANNELS))


@pytest.fixture
def neighbour(hypervisor: Hypervisor) -> RawGuest:
    """Another VM's guest."""
    return RawGuest(hypervisor.create_vm("alice", VRAM_QUOTA, SYSTEM_QUOTA, CHANNELS))
