import gc
import os
import threading

import pytest

from logv.errors import ClosedError, ExhaustedError, InvalidValueError, LogvError, OutOfMemoryError
from logv.gpu import Gpu
from logv.host import HostDriver, Partition, Usage
from logv.hw.software_gpu import MAX_CHANNELS
from logv.uapi import Domain, Driver, Param

_PAGE = 4096
_VRAM = 64 << 20
_SYSTEM = 16 << 20


def test_session_is_a_driver(host: HostDriver) -> None:
    """A session is what a runtime asks for."""
    driver: Driver = host.open(host.create_partition("native"))
    assert driver.get_param(Param.VRAM_SIZE) == _VRAM


def test_reservation_gives_exact_windows(host: HostDriver) -> None:
    """A VM's windows have exactly the size asked for, and its figures say so."""
    partition = host.create_partition("vm", vram=8 << 20, system=3 * _PAGE, channels=5)
    assert {domain: place.window.size for domain, place in partition.placements.items()} == {
        Domain.VRAM: 8 << 20,
        Domain.SYSTEM: 3 * _PAGE,
    }
    session = host.open(partition)
    figures = [Param.VRAM_SIZE, Param.VRAM_FREE, Param.SYSTEM_SIZE, Param.SYSTEM_FREE, Param.MAX_CHANNELS]
    assert [session.get_param(param) for param in figures] == [8 << 20, 8 << 20, 3 * _PAGE, 3 * _PAGE, 5]


def test_reservations_and_native_use_share_one_budget(host: HostDriver) -> None:
    """What is set aside cannot be used natively, and what is used natively cannot be set aside."""
    native = host.open(host.create_partition("native"))
    vm = host.create_partition("vm", vram=_VRAM // 2)
    assert native.get_param(Param.VRAM_FREE) == _VRAM // 2
    with pytest.raises(OutOfMemoryError):
        native.mem_alloc(_VRAM // 2 + 1)
    memory = native.mem_alloc(_VRAM // 2)
    with pytest.raises(OutOfMemoryError, match="GPU memory"):
        host.create_partition("late", vram=_PAGE)
    native.mem_free(memory.handle)
    late = host.create_partition("late", vram=_VRAM // 2)
    assert host.free(Domain.VRAM) == 0
    with pytest.raises(OutOfMemoryError):
        native.mem_alloc(1)
    late.close()
    vm.close()
    assert host.free(Domain.VRAM) == _VRAM
    native.mem_alloc(_VRAM)


def test_creation_that_fails_gives_everything_back(host: HostDriver) -> None:
    """When system memory does not suffice, the VRAM reservation and its window are undone."""
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(OutOfMemoryError, match="system memory"):
            host.create_partition("vm", vram=_VRAM, system=_SYSTEM + _PAGE)
    assert host.free(Domain.VRAM) == _VRAM
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_closing_gives_everything_back(host: HostDriver) -> None:
    """A partition's close returns its sessions' objects, its windows, and its reservation."""
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    partition = host.create_partition("vm", vram=_VRAM, system=_SYSTEM)
    session = host.open(partition)
    space = session.vspace_new()
    session.vspace_map(space, session.mem_alloc(_PAGE).handle)
    session.chan_new(space)
    partition.close()
    partition.close()
    assert host.usage() == partition.usage() == Usage()
    assert (host.free(Domain.VRAM), host.free(Domain.SYSTEM)) == (_VRAM, _SYSTEM)
    with pytest.raises(ClosedError):
        session.mem_alloc(1)
    with pytest.raises(ClosedError, match="'vm' is closed"):
        host.open(partition)
    # The last mapping of the port goes with the last object that shows it.
    del session, partition
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_nothing_of_one_partition_reaches_the_next(host: HostDriver) -> None:
    """A new partition gets new memory: what an earlier one left is not in it."""
    pattern = b"remember me" * 100
    first = host.create_partition("first", vram=1 << 20)
    session = host.open(first)
    session.mem_map(session.mem_alloc(1 << 20).handle)[: len(pattern)] = pattern
    first.close()
    second = host.open(host.create_partition("second", vram=1 << 20))
    assert not any(second.mem_map(second.mem_alloc(1 << 20).handle))


@pytest.mark.parametrize("size", [0, -_PAGE, 1, _PAGE + 1, 2**64, 2.0 * _PAGE, "4096", True])
@pytest.mark.parametrize("which", ["vram", "system"])
def test_impossible_reservations(host: HostDriver, which: str, size: object) -> None:
    """Sizes that are no whole pages are refused, and nothing is taken."""
    with pytest.raises(InvalidValueError, match=which):
        host.create_partition("vm", **{which: size})  # type: ignore[arg-type]
    assert (host.free(Domain.VRAM), host.free(Domain.SYSTEM)) == (_VRAM, _SYSTEM)


@pytest.mark.parametrize("channels", [0, -1, MAX_CHANNELS + 1, None, 1.0])
def test_impossible_channel_counts(host: HostDriver, channels: object) -> None:
    """A partition has 1 channel at least, and no more than the GPU has."""
    with pytest.raises(InvalidValueError, match="channels"):
        host.create_partition("vm", channels=channels)  # type: ignore[arg-type]


@pytest.mark.parametrize(("vram", "system"), [(0, _PAGE), (_PAGE, 0), (_PAGE + 1, _PAGE), (-_PAGE, _PAGE)])
def test_impossible_drivers(gpu: Gpu, vram: int, system: int) -> None:
    """A host driver needs memory of both kinds, in whole pages."""
    with pytest.raises(InvalidValueError, match="_size"):
        HostDriver(gpu, vram, system)


def test_partitions_are_bounded(host: HostDriver) -> None:
    """Partitions without end are refused; those there are stay usable, and room comes back."""
    made: list[Partition] = []

    def fill() -> None:
        while True:
            made.append(host.create_partition("vm", vram=_PAGE, system=_PAGE, channels=1))

    with pytest.raises(ExhaustedError):
        fill()
    host.open(made[-1]).mem_alloc(1)
    made.pop().close()
    host.create_partition("vm", vram=_PAGE, system=_PAGE, channels=1)


def test_channels_of_one_partition_leave_room(host: HostDriver) -> None:
    """A partition that takes all its channels does not keep another from its first."""
    greedy = host.open(host.create_partition("greedy", channels=4))
    space = greedy.vspace_new()
    for _ in range(4):
        greedy.chan_new(space)
    with pytest.raises(ExhaustedError, match="channels"):
        greedy.chan_new(space)
    other = host.open(host.create_partition("other"))
    other.chan_new(other.vspace_new())


def test_partition_of_another_driver(gpu: Gpu, host: HostDriver) -> None:
    """A partition is opened at the driver that made it."""
    other = HostDriver(gpu, _PAGE, _PAGE)
    partition = other.create_partition("elsewhere")
    with pytest.raises(InvalidValueError, match="another host driver"):
        host.open(partition)
    other.close()


def test_closing_the_driver(gpu: Gpu) -> None:
    """Closing the driver closes what hangs on it; afterwards it refuses, and closing again is harmless."""
    host = HostDriver(gpu, _VRAM, _SYSTEM)
    session = host.open(host.create_partition("native"))
    session.chan_new(session.vspace_new())
    host.close()
    host.close()
    assert host.usage() == Usage()
    with pytest.raises(ClosedError):
        session.vspace_new()
    with pytest.raises(ClosedError):
        host.create_partition("late")


def test_usage_adds_up(host: HostDriver) -> None:
    """The driver's usage is the sum of its partitions'."""
    sessions = [host.open(host.create_partition(name)) for name in ("a", "b")]
    for session in sessions:
        session.vspace_map(session.vspace_new(), session.mem_alloc(1).handle)
        session.mem_alloc(_PAGE + 1, Domain.SYSTEM)
    usage = host.usage()
    assert (usage.sessions, usage.buffers, usage.vspaces, usage.mappings) == (2, 4, 2, 2)
    assert (usage.vram_bytes, usage.system_bytes) == (2 * _PAGE, 4 * _PAGE)


def test_threads_share_a_partition(host: HostDriver) -> None:
    """Many threads that allocate, map and free at once end where they began."""
    partition = host.create_partition("native")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(12):
                session = host.open(partition)
                space = session.vspace_new()
                memory = session.mem_alloc((number + turn + 1) * _PAGE)
                view = session.mem_map(memory.handle)
                assert not any(view)
                view[:] = bytes([number + 1]) * len(view)
                address = session.vspace_map(space, memory.handle)
                session.chan_new(space)
                assert set(view) == {number + 1}
                if turn % 2:
                    session.vspace_unmap(space, address)
                session.close()
        except (AssertionError, LogvError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert partition.usage() == Usage()
    assert partition.counters().faults == 0
