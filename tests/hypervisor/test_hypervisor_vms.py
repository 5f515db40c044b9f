"""VMs: how they begin, what they count, and that they leave nothing behind."""

import errno
import gc
import os
from types import SimpleNamespace
from typing import Any

import pytest
from tests.hypervisor.raw_guest import PAGE, RawGuest, held, holds_nothing
from tests.hypervisor.test_hypervisor_calls import Objects

from logv import abi
from logv.errors import (
    ClosedError,
    InvalidValueError,
    LogvError,
    OutOfMemoryError,
    Status,
)
from logv.host import HostDriver, Partition, Session
from logv.hw.software_gpu import CHANNELS_PER_CLIENT
from logv.hypervisor import Hypervisor, slot_memory
from logv.uapi import Domain, Memory


@pytest.mark.parametrize("name", ["a", "x" * 64, "VM_1.local-2", "..", "-"])
def test_names(hypervisor: Hypervisor, name: str) -> None:
    """A VM has its name until it is closed."""
    vm = hypervisor.create_vm(name, 1 << 20)
    assert vm.name == name
    assert hypervisor.vms == {name: vm}
    with pytest.raises(InvalidValueError, match="choose another"):
        hypervisor.create_vm(name, 1 << 20)
    vm.close()
    assert hypervisor.vms == {}
    assert hypervisor.create_vm(name, 1 << 20) is not vm


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "a\n", "\u00e4", "a\0", None, 7, b"a"])
def test_names_that_are_none(hypervisor: Hypervisor, host: HostDriver, name: Any) -> None:
    """Names go into file names and logs, so only harmless characters are in them."""
    before = host.usage(), host.free(Domain.VRAM)
    with pytest.raises(InvalidValueError):
        hypervisor.create_vm(name, 1 << 20)
    assert (host.usage(), host.free(Domain.VRAM)) == before


@pytest.mark.parametrize("size", [0, -1, None, 1.5, "1MiB", True])
def test_sizes_that_are_none(hypervisor: Hypervisor, size: Any) -> None:
    """A size is a number of bytes, more than 0."""
    for sizes in ((size, 4096), (4096, size)):
        if sizes != (4096, None):
            with pytest.raises(InvalidValueError):
                hypervisor.create_vm("vm", *sizes)
    assert hypervisor.vms == {}


@pytest.mark.parametrize("channels", [0, -1, CHANNELS_PER_CLIENT + 1, None, 1.0])
def test_channels_that_are_none(hypervisor: Hypervisor, channels: Any) -> None:
    """A VM has at least one channel, and leaves some to others."""
    with pytest.raises(InvalidValueError):
        hypervisor.create_vm("vm", 1 << 20, channels=channels)


@pytest.mark.parametrize(("vram", "system"), [(1 << 40, 4096), (4096, 1 << 40), (2**64, 4096), (4096, 2**64)])
def test_more_than_there_is(hypervisor: Hypervisor, host: HostDriver, vram: int, system: int) -> None:
    """A share that does not fit is refused whole."""
    before = host.usage(), host.free(Domain.VRAM), host.free(Domain.SYSTEM)
    with pytest.raises(LogvError) as caught:
        hypervisor.create_vm("vm", vram, system)
    assert isinstance(caught.value, OutOfMemoryError | InvalidValueError)
    assert (host.usage(), host.free(Domain.VRAM), host.free(Domain.SYSTEM)) == before
    assert hypervisor.vms == {}


def test_shares(hypervisor: Hypervisor, host: HostDriver) -> None:
    """Memory is set aside in whole pages, as much system memory as VRAM unless asked otherwise."""
    free = host.free(Domain.VRAM), host.free(Domain.SYSTEM)
    vm = hypervisor.create_vm("vm", PAGE + 1)
    assert vm.counters.memory_quota == 2 * PAGE
    assert (host.free(Domain.VRAM), host.free(Domain.SYSTEM)) == tuple(size - 2 * PAGE for size in free)
    vm.close()
    assert (host.free(Domain.VRAM), host.free(Domain.SYSTEM)) == free


def test_close_returns_everything(hypervisor: Hypervisor, host: HostDriver) -> None:
    """A VM that is closed in the middle of things holds nothing afterwards; twice is harmless."""
    before = host.usage()
    vm = hypervisor.create_vm("vm", 1 << 20)
    guest = RawGuest(vm)
    Objects(guest)
    Objects(guest, domain=Domain.SYSTEM)
    hypercalls = vm.counters.hypercalls
    vm.close()
    vm.close()
    assert holds_nothing(vm)
    assert host.usage() == before
    assert vm.counters.hypercalls == hypercalls
    assert "closed" in repr(vm)


def test_closing_the_hypervisor(hypervisor: Hypervisor) -> None:
    """Closing it closes its VMs, and no new one can be made."""
    vms = [hypervisor.create_vm(name, 1 << 20) for name in "ab"]
    hypervisor.close()
    hypervisor.close()
    assert hypervisor.vms == {}
    assert all(vm.device.region(abi.RegionIndex.VRAM).size == 0 for vm in vms)
    with pytest.raises(ClosedError):
        hypervisor.create_vm("c", 1 << 20)


def test_descriptors_come_back(hypervisor: Hypervisor) -> None:
    """No VM leaves a descriptor open once Python has let go of its mappings."""
    hypervisor.create_vm("vm", 1 << 20).close()
    before = _descriptors()
    for _ in range(5):
        hypervisor.create_vm("vm", 1 << 20).close()
    assert _descriptors() == before


def _descriptors() -> int:
    """Return how many are open when nothing is left to collect: what is freed may free more."""
    open_now, open_before = len(os.listdir("/proc/self/fd")), -1
    while open_now != open_before:
        gc.collect()
        open_now, open_before = len(os.listdir("/proc/self/fd")), open_now
    return open_now


@pytest.mark.parametrize("by_guest", [True, False])
def test_reset(guest: RawGuest, neighbour: RawGuest, by_guest: bool) -> None:
    """A reset takes everything back, empties the slots, and makes old handles invalid for good."""
    made = Objects(guest)
    theirs = Objects(neighbour)
    counters = guest.vm.counters
    if by_guest:
        guest.device.write_register(abi.Register.RESET, abi.RESET_KEY)
    else:
        guest.vm.reset()
    assert holds_nothing(guest.vm)
    assert not any(bytes(guest.slots))
    assert guest.vm.counters.hypercalls == counters.hypercalls
    assert guest.vm.counters.calls == counters.calls
    Objects(guest)
    for request in (abi.MemFree(made.memory), abi.VspaceFree(made.vspace), abi.ChanFree(made.channel)):
        assert guest.status(request) == Status.INVALID_HANDLE
    assert neighbour.status(abi.MemMap(theirs.memory)) == Status.OK


def test_memory_is_zeroed_after_a_reset(guest: RawGuest) -> None:
    """What lay in the VM's memory before a reset is not in what it allocates afterwards."""
    region = guest.device.region(abi.RegionIndex.VRAM)
    guest.make(abi.MemAlloc(region.size, Domain.VRAM))
    for offset in range(0, region.size, 64 * PAGE):
        os.pwrite(region.fd, b"secret", offset)
    guest.vm.reset()
    guest.make(abi.MemAlloc(region.size, Domain.VRAM))
    assert not any(os.pread(region.fd, region.size, 0))


def test_counters_in_words(guest: RawGuest) -> None:
    """Printed, the counters name what they count, with sizes in units."""
    guest.make(abi.MemAlloc(3 * PAGE, Domain.VRAM))
    text = str(guest.vm.counters)
    assert text.startswith("1 hypercalls (1 calls), 0 submissions, 0 launches, 0 B copied, 0 faults")
    assert f"{3 * PAGE >> 10} KiB of {guest.vm.counters.memory_quota >> 20} MiB memory used" in text
    assert "hypercalls=1" in repr(guest.vm.counters)


def test_no_room_for_slots(hypervisor: Hypervisor, host: HostDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VM whose call slots cannot be mapped is not created, and its share is given back."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    before = host.usage(), host.free(Domain.VRAM)
    monkeypatch.setattr(slot_memory, "mmap", SimpleNamespace(mmap=full))
    with pytest.raises(OutOfMemoryError, match="call slots"):
        hypervisor.create_vm("vm", 1 << 20)
    assert (host.usage(), host.free(Domain.VRAM)) == before
    assert hypervisor.vms == {}


class _Session(Session):
    """A host session in which one call goes wrong in a way that no guest can cause."""

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Memory:
        """Fail like a bug."""
        raise RuntimeError("a secret of the host")


class _FailingHost:
    """A host driver that opens such sessions, or none at all."""

    def __init__(self, host: HostDriver) -> None:
        self._host = host
        self.down = False

    def create_partition(self, name: str, *, vram: int, system: int, channels: int) -> Partition:
        """As the real one."""
        return self._host.create_partition(name, vram=vram, system=system, channels=channels)

    def open(self, partition: Partition) -> Session:
        """Return a session."""
        if self.down:
            raise ClosedError("the host driver is closed")
        return _Session(partition)


def test_a_bug_below_stays_below(host: HostDriver, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception becomes a status and a line in the log; the VM goes on."""
    hypervisor = Hypervisor(_FailingHost(host))
    guest = RawGuest(hypervisor.create_vm("vm", 1 << 20))
    before = held(guest.vm)
    replies = guest.run(abi.MemAlloc(PAGE, Domain.VRAM), abi.VspaceNew())
    assert [reply.status for reply in replies] == [Status.INTERNAL, Status.ABORTED]
    assert "secret" not in replies[0].message
    assert "a secret of the host" in caplog.text
    assert held(guest.vm) == before
    guest.make(abi.VspaceNew())
    hypervisor.close()


def test_a_host_that_goes_down(host: HostDriver) -> None:
    """Where the host driver refuses, a VM is not created, and a reset leaves one that only says so."""
    failing = _FailingHost(host)
    hypervisor = Hypervisor(failing)
    before = host.usage(), host.free(Domain.VRAM)
    failing.down = True
    with pytest.raises(ClosedError):
        hypervisor.create_vm("vm", 1 << 20)
    assert (host.usage(), host.free(Domain.VRAM)) == before
    failing.down = False
    guest = RawGuest(hypervisor.create_vm("vm", 1 << 20))
    failing.down = True
    guest.device.write_register(abi.Register.RESET, abi.RESET_KEY)
    assert guest.device.read_register(abi.Register.STATUS) == Status.CLOSED
    assert guest.status(abi.VspaceNew()) == Status.CLOSED
    hypervisor.close()
