from collections.abc import Callable

import pytest
from tests.contract.rigs import ChannelRig
from tests.contract.worlds import CHANNELS, PAGE, World
from tests.gpu.gpu_rig import copy, immediate

from logv.errors import (
    BusyError,
    ClosedError,
    ExhaustedError,
    InvalidHandleError,
    InvalidValueError,
    NotSupportedError,
)
from logv.hw import clc7b5, clc7c0, clc56f, dev_ram
from logv.hw.software_gpu import MAX_GPFIFO_ENTRIES, MIN_GPFIFO_ENTRIES
from logv.uapi import Channel, Domain, Driver, Fault

_CLASSES = [
    clc7b5.AMPERE_DMA_COPY_A,
    clc7b5.AMPERE_DMA_COPY_B,
    clc7c0.AMPERE_COMPUTE_A,
    clc7c0.AMPERE_COMPUTE_B,
    clc7c0.ADA_COMPUTE_A,
]


def _idle_channel(driver: Driver, size: int = PAGE) -> tuple[Channel, int]:
    """Return a channel without a ring, and the address of `size` mapped bytes."""
    space = driver.vspace_new()
    address = driver.vspace_map(space, driver.mem_alloc(size).handle)
    return driver.chan_new(space), address


def test_channel_pages(driver: Driver) -> None:
    """Each channel has a zeroed page of its own; the doorbell page is common."""
    space = driver.vspace_new()
    channels = [driver.chan_new(space) for _ in range(3)]
    assert len({channel.page for channel in channels}) == 3
    for channel in channels:
        assert 1 <= channel.page <= CHANNELS
        assert (channel.userd.nbytes, channel.doorbell.nbytes) == (dev_ram.USERD_PAGE_SIZE,) * 2
        assert not any(channel.userd)
        assert channel.doorbell_fd == channels[0].doorbell_fd
    channels[0].userd[0] = 1
    assert channels[1].userd[0] == 0


def test_pages_are_zeroed_on_reuse(driver: Driver) -> None:
    """What one channel's application wrote into USERD does not reach the next."""
    space = driver.vspace_new()
    for _ in range(CHANNELS + 1):
        channel = driver.chan_new(space)
        assert not any(channel.userd)
        channel.userd[:] = b"\xff" * dev_ram.USERD_PAGE_SIZE
        driver.chan_free(channel.handle)


@pytest.mark.parametrize("domain", list(Domain))
def test_a_channel_runs(driver: Driver, domain: Domain) -> None:
    """Ring, pushbuffer and semaphore work in either kind of memory; GP_GET follows GP_PUT."""
    rig = ChannelRig(driver, domain)
    assert all(rig.run() for _ in range(40))
    assert rig.channel.userd[dev_ram.NV_RAMUSERD_GP_GET] == rig.channel.userd[dev_ram.NV_RAMUSERD_GP_PUT]


@pytest.mark.parametrize("source", list(Domain))
@pytest.mark.parametrize("target", list(Domain))
@pytest.mark.parametrize("size", [PAGE, 65536, (2 << 20) - PAGE])
def test_copies_between_mappings(driver: Driver, source: Domain, target: Domain, size: int) -> None:
    """The engine reaches what is mapped, where it is mapped, in all page sizes."""
    rig = ChannelRig(driver)
    pattern = bytes(range(251)) * (size // 251 + 1)
    memories = [driver.mem_alloc(size, domain) for domain in (source, target)]
    views = [driver.mem_map(memory.handle) for memory in memories]
    views[0][:] = pattern[:size]
    addresses = [driver.vspace_map(rig.space, memory.handle) for memory in memories]
    assert rig.run(copy(addresses[1], addresses[0], size))
    assert views[1] == views[0]


def test_reads_only_where_read_only(driver: Driver) -> None:
    """A read-only mapping can be read; writing stops the channel with the address in its notifier."""
    rig = ChannelRig(driver)
    memory = driver.mem_alloc(2 * PAGE)
    view = driver.mem_map(memory.handle)
    view[:4] = b"keep"
    writable = driver.vspace_map(rig.space, memory.handle, offset=PAGE)
    protected = driver.vspace_map(rig.space, memory.handle, size=PAGE, writable=False)
    assert rig.run(copy(writable, protected, PAGE))
    assert bytes(view[PAGE : PAGE + 4]) == b"keep"
    view[PAGE : PAGE + 4] = b"lost"
    assert not rig.run(copy(protected, writable, PAGE))
    assert (rig.fault(), rig.fault_address()) == (Fault.MMU_FAULT, protected)
    assert bytes(view[:4]) == b"keep"


def test_unmapped_is_unreachable(driver: Driver) -> None:
    """After unmapping, the engine faults where it could copy before; other channels go on."""
    rig, neighbour = ChannelRig(driver), ChannelRig(driver)
    memory = driver.mem_alloc(2 * PAGE)
    address = driver.vspace_map(rig.space, memory.handle)
    assert rig.run(copy(address, address + PAGE, PAGE))
    driver.vspace_unmap(rig.space, address)
    driver.mem_free(memory.handle)
    assert not rig.run(copy(address, address + PAGE, PAGE))
    assert rig.fault() is Fault.MMU_FAULT
    assert address <= rig.fault_address() < address + 2 * PAGE
    assert neighbour.run()


def test_running_over_the_end_faults(driver: Driver) -> None:
    """Behind a mapping nothing is mapped, whatever was mapped next."""
    rig = ChannelRig(driver)
    memories = [driver.mem_alloc(PAGE) for _ in range(8)]
    addresses = [driver.vspace_map(rig.space, memory.handle) for memory in memories]
    for memory in memories:
        driver.mem_map(memory.handle)[:] = b"\x5a" * PAGE
    assert not rig.run(copy(addresses[3], addresses[0], 2 * PAGE))
    assert rig.fault() is Fault.MMU_FAULT
    assert set(driver.mem_map(memories[4].handle)) == {0x5A}


def test_address_spaces_keep_apart(world: World, driver: Driver) -> None:
    """An address of one process's address space means nothing in another's."""
    mine, theirs = ChannelRig(driver), ChannelRig(world.open())
    memory = driver.mem_alloc(1 << 20)
    address = driver.vspace_map(mine.space, memory.handle)
    assert mine.run(copy(address, address + PAGE, PAGE))
    assert not theirs.run(copy(address, address + PAGE, PAGE))
    assert theirs.fault() is Fault.MMU_FAULT
    assert mine.run()


def test_freeing_a_channel_stops_it(driver: Driver) -> None:
    """A freed channel fetches nothing any more; its address space can go."""
    rig = ChannelRig(driver)
    driver.chan_free(rig.channel.handle)
    get = rig.channel.userd[dev_ram.NV_RAMUSERD_GP_GET]
    rig.channel.userd[dev_ram.NV_RAMUSERD_GP_PUT] = get + 1
    assert ChannelRig(driver).run()
    driver.vspace_free(rig.space)


def test_interrupts(driver: Driver) -> None:
    """An interrupt of a channel counts one, and ends the wait for it."""
    rig = ChannelRig(driver)
    seen = driver.irq_sequence()
    assert rig.run(immediate(0, clc56f.NVC56F_NON_STALL_INTERRUPT, 0))
    assert driver.wait_irq(seen, 20.0) == (seen + 1) % 2**32
    assert driver.irq_sequence() == (seen + 1) % 2**32


def test_waiting_ends_with_the_time(driver: Driver) -> None:
    """Without an interrupt the count stays as it was."""
    seen = driver.irq_sequence()
    assert driver.wait_irq(seen, 0.001) == seen
    assert driver.wait_irq(seen, 0) == seen
    assert driver.wait_irq((seen + 1) % 2**32, 20.0) == seen


@pytest.mark.parametrize(
    ("seen", "timeout_s"), [(-1, 0.0), (2**32, 0.0), (0, float("nan")), (None, 0.0), (0, "1")]
)
def test_impossible_waits(world: World, driver: Driver, seen: object, timeout_s: object) -> None:
    """Counts have 32 bits, and a time is a number."""
    with world.refuses(InvalidValueError):
        driver.wait_irq(seen, timeout_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("entries", [2, 4, 512])
def test_ring_sizes(driver: Driver, entries: int) -> None:
    """A ring of any power of two that its mapping holds."""
    channel, address = _idle_channel(driver)
    driver.fifo_init_ib(channel.handle, address, entries)


def test_largest_ring(driver: Driver) -> None:
    """The largest ring there is."""
    channel, address = _idle_channel(driver, 8 * MAX_GPFIFO_ENTRIES)
    driver.fifo_init_ib(channel.handle, address, MAX_GPFIFO_ENTRIES)


@pytest.mark.parametrize(
    "entries",
    [
        -2,
        0,
        1,
        3,
        MIN_GPFIFO_ENTRIES // 2,
        1000,
        MAX_GPFIFO_ENTRIES - 1,
        MAX_GPFIFO_ENTRIES * 2,
        2**32,
        2**61,
        2**64,
        None,
        2.0,
        True,
    ],
)
def test_impossible_ring_sizes(world: World, driver: Driver, entries: object) -> None:
    """Anything but a power of two from 2 to 65,536 is refused; the channel can still get a ring."""
    channel, address = _idle_channel(driver, 8 * MAX_GPFIFO_ENTRIES)
    with world.refuses(InvalidValueError):
        driver.fifo_init_ib(channel.handle, address, entries)  # type: ignore[arg-type]
    driver.fifo_init_ib(channel.handle, address, 2)


@pytest.mark.parametrize("shift", [1, 4, 7, -8, -PAGE, PAGE, PAGE - 8, 2**32, 2**40, 2**49, 2**63, 2**64])
def test_impossible_ring_places(world: World, driver: Driver, shift: int) -> None:
    """A ring is 8-byte aligned and lies in one mapping of its address space, wholly."""
    channel, address = _idle_channel(driver)
    with world.refuses(InvalidValueError):
        driver.fifo_init_ib(channel.handle, address + shift, 2)
    driver.fifo_init_ib(channel.handle, address + PAGE - 16, 2)


@pytest.mark.parametrize("ring", [0, -8, 2**64 - 8, None, 4096.0])
def test_impossible_ring_addresses(world: World, driver: Driver, ring: object) -> None:
    """No ring lies at null, below it, at the end of all addresses, or at something else than a number."""
    channel, _ = _idle_channel(driver)
    with world.refuses(InvalidValueError):
        driver.fifo_init_ib(channel.handle, ring, 2)  # type: ignore[arg-type]


def test_ring_in_another_space(world: World, driver: Driver) -> None:
    """The ring is in the channel's own address space."""
    channel, _ = _idle_channel(driver)
    memory = driver.mem_alloc(1 << 20)
    elsewhere = driver.vspace_map(driver.vspace_new(), memory.handle)
    with world.refuses(InvalidValueError):
        driver.fifo_init_ib(channel.handle, elsewhere + 65536, 2)


def test_ring_where_something_was_mapped(world: World, driver: Driver) -> None:
    """A mapping that is gone holds no ring."""
    space, memory = driver.vspace_new(), driver.mem_alloc(PAGE)
    address = driver.vspace_map(space, memory.handle)
    channel = driver.chan_new(space)
    driver.vspace_unmap(space, address)
    with world.refuses(InvalidValueError):
        driver.fifo_init_ib(channel.handle, address, 2)


def test_one_ring_in_a_life(world: World, driver: Driver) -> None:
    """A channel that has a ring keeps it."""
    channel, address = _idle_channel(driver)
    driver.fifo_init_ib(channel.handle, address, 2)
    with world.refuses(BusyError):
        driver.fifo_init_ib(channel.handle, address + 64, 4)


@pytest.mark.parametrize("engine_class", _CLASSES)
def test_engine_classes(driver: Driver, engine_class: int) -> None:
    """The copy and compute classes are allowed, before and after the ring, and twice."""
    channel, address = _idle_channel(driver)
    driver.obj_eng_new(channel.handle, engine_class)
    driver.fifo_init_ib(channel.handle, address, 2)
    driver.obj_eng_new(channel.handle, engine_class)


@pytest.mark.parametrize(
    "engine_class", [0, 1, clc56f.AMPERE_CHANNEL_GPFIFO_A, 0xFFFF, 2**16 + 0xC7B5, 2**32 - 1]
)
def test_unknown_classes(world: World, driver: Driver, engine_class: int) -> None:
    """Every other class is refused."""
    channel, _ = _idle_channel(driver)
    with world.refuses(NotSupportedError):
        driver.obj_eng_new(channel.handle, engine_class)


@pytest.mark.parametrize("engine_class", [-1, 2**64, None, "C7B5", 1.5])
def test_impossible_classes(world: World, driver: Driver, engine_class: object) -> None:
    """What is no class number at all is an impossible value."""
    channel, _ = _idle_channel(driver)
    with world.refuses(InvalidValueError):
        driver.obj_eng_new(channel.handle, engine_class)  # type: ignore[arg-type]


def test_exhaustion(world: World, driver: Driver) -> None:
    """Channels are a fixed number for all processes of an owner; freed ones can be had again."""
    other = world.open()
    space, their_space = driver.vspace_new(), other.vspace_new()
    handles = [driver.chan_new(space).handle for _ in range(CHANNELS - 1)]
    other.chan_new(their_space)
    for process, where in ((driver, space), (other, their_space)):
        with world.refuses(ExhaustedError):
            process.chan_new(where)
    driver.chan_free(handles[0])
    other.chan_new(their_space)
    other.close()
    driver.chan_new(space)


_USES: dict[str, Callable[[Driver, int], object]] = {
    "chan_free": lambda driver, handle: driver.chan_free(handle),
    "fifo_init_ib": lambda driver, handle: driver.fifo_init_ib(handle, 1 << 32, 2),
    "obj_eng_new": lambda driver, handle: driver.obj_eng_new(handle, clc7b5.AMPERE_DMA_COPY_B),
}


@pytest.mark.parametrize("use", _USES)
def test_wrong_channels(world: World, driver: Driver, use: str) -> None:
    """Only a channel of this process, not yet freed, is one."""
    space, memory = driver.vspace_new(), driver.mem_alloc(PAGE)
    driver.chan_new(space)
    freed = driver.chan_new(space).handle
    driver.chan_free(freed)
    other = world.open()
    their_space = other.vspace_new()
    theirs = [other.chan_new(their_space).handle for _ in range(3)][-1]
    for handle in (freed, theirs, memory.handle, space, 0, -1, 2**64 - 1, 2**64):
        with world.refuses(InvalidHandleError):
            _USES[use](driver, handle)


def test_closing_with_a_channel_at_work(world: World) -> None:
    """Closing stops what runs; the fixture sees that everything is back. The engine goes on."""
    driver = world.open()
    rig = ChannelRig(driver)
    assert rig.run()
    driver.close()
    assert ChannelRig(world.open()).run()


def test_close_then_use(world: World) -> None:
    """After close, channel calls are refused."""
    driver = world.open()
    channel, address = _idle_channel(driver)
    driver.close()
    for call in (
        lambda: driver.chan_new(1),
        lambda: driver.chan_free(channel.handle),
        lambda: driver.fifo_init_ib(channel.handle, address, 2),
        lambda: driver.obj_eng_new(channel.handle, clc7b5.AMPERE_DMA_COPY_B),
        driver.irq_sequence,
        lambda: driver.wait_irq(0, 0.0),
    ):
        with world.refuses(ClosedError):
            call()
