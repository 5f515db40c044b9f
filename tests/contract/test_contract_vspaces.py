import itertools
from collections.abc import Callable

import pytest
from tests.contract.worlds import PAGE, VRAM_SIZE, World

from logv.errors import BusyError, ClosedError, ExhaustedError, InvalidHandleError, InvalidValueError
from logv.hw.software_gpu import APERTURE_VA_BITS, MAX_VSPACES
from logv.uapi import Domain, Driver

_SIZE = 4 * PAGE


def test_map_and_unmap(world: World, driver: Driver) -> None:
    """Addresses are page-aligned, above null and below the aperture's end; unmapping returns all."""
    space = driver.vspace_new()
    memories = [driver.mem_alloc(size, domain) for domain in Domain for size in (PAGE, 65536, 2 << 20)]
    before = world.usage()
    addresses = [driver.vspace_map(space, memory.handle) for memory in memories]
    for memory, address in zip(memories, addresses, strict=True):
        assert address % PAGE == 0
        assert address > 0
        assert address + memory.size < 1 << APERTURE_VA_BITS
    for address in addresses:
        driver.vspace_unmap(space, address)
    assert world.usage() == before


def test_mappings_keep_apart(driver: Driver) -> None:
    """Between two mappings lies at least one unmapped page."""
    space = driver.vspace_new()
    sizes = [PAGE, 3 * PAGE, 65536, PAGE, 2 << 20, 2 * PAGE, 65536 + PAGE]
    ranges = sorted((driver.vspace_map(space, driver.mem_alloc(size).handle), size) for size in sizes)
    for (address, size), (following, _) in itertools.pairwise(ranges):
        assert address + size + PAGE <= following


def test_one_object_many_mappings(driver: Driver) -> None:
    """The same pages may be mapped again, in the same and in other address spaces."""
    memory = driver.mem_alloc(_SIZE)
    first, second = driver.vspace_new(), driver.vspace_new()
    addresses = {driver.vspace_map(first, memory.handle, writable=bool(turn)) for turn in range(3)}
    assert len(addresses) == 3
    driver.vspace_map(second, memory.handle, offset=PAGE, size=PAGE)


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, 0),
        (0, 1),
        (0, PAGE - 1),
        (0, PAGE + 1),
        (0, _SIZE + PAGE),
        (0, -PAGE),
        (0, 2**32),
        (0, 2**63),
        (0, 2**64 - PAGE),
        (0, 2**64),
        (1, PAGE),
        (PAGE - 1, PAGE),
        (PAGE, _SIZE),
        (_SIZE, None),
        (_SIZE, PAGE),
        (-PAGE, PAGE),
        (-PAGE, None),
        (2**32, PAGE),
        (2**63, PAGE),
        (2**64 - PAGE, PAGE),
        (2**64 - PAGE, 2 * PAGE),
        (2**64, PAGE),
        (0.0, PAGE),
        (0, 4096.0),
        (None, PAGE),
        ("0", PAGE),
        (0, "4096"),
        (False, PAGE),
    ],
)
def test_impossible_ranges(world: World, driver: Driver, offset: object, size: object) -> None:
    """Only whole pages inside the buffer object can be mapped, however the sums would wrap."""
    space, memory = driver.vspace_new(), driver.mem_alloc(_SIZE)
    with world.refuses(InvalidValueError):
        driver.vspace_map(space, memory.handle, offset=offset, size=size)  # type: ignore[arg-type]


def test_size_defaults_to_the_rest(driver: Driver) -> None:
    """Without a size, everything from the offset on is mapped."""
    space, memory = driver.vspace_new(), driver.mem_alloc(_SIZE)
    address = driver.vspace_map(space, memory.handle, offset=PAGE)
    channel = driver.chan_new(space)
    # The last ring that fits ends with the mapping; the next does not lie within it.
    with pytest.raises(InvalidValueError):
        driver.fifo_init_ib(channel.handle, address + _SIZE - PAGE - 8, 2)
    driver.fifo_init_ib(channel.handle, address + _SIZE - PAGE - 16, 2)


@pytest.mark.parametrize("shift", [1, 8, PAGE, -PAGE, _SIZE, 2**32, -(2**33), 2**49, 2**63, 2**64, -(2**64)])
def test_unmap_takes_the_exact_address(world: World, driver: Driver, shift: int) -> None:
    """An address inside, before or far from a mapping unmaps nothing."""
    space = driver.vspace_new()
    address = driver.vspace_map(space, driver.mem_alloc(_SIZE).handle)
    with world.refuses(InvalidValueError):
        driver.vspace_unmap(space, address + shift)
    driver.vspace_unmap(space, address)
    with world.refuses(InvalidValueError):
        driver.vspace_unmap(space, address)


@pytest.mark.parametrize("address", [None, 1.5, "4096"])
def test_unmap_takes_an_integer(world: World, driver: Driver, address: object) -> None:
    """An address of another type is an impossible value."""
    space = driver.vspace_new()
    with world.refuses(InvalidValueError):
        driver.vspace_unmap(space, address)  # type: ignore[arg-type]


def test_unmap_in_another_space(world: World, driver: Driver) -> None:
    """An address belongs to the address space that returned it."""
    first, second = driver.vspace_new(), driver.vspace_new()
    address = driver.vspace_map(first, driver.mem_alloc(_SIZE).handle)
    with world.refuses(InvalidValueError):
        driver.vspace_unmap(second, address)


def test_freeing_frees_the_mappings(world: World, driver: Driver) -> None:
    """An address space takes its mappings with it; its buffer objects can be freed then."""
    before = world.usage()
    space, memory = driver.vspace_new(), driver.mem_alloc(3 << 20)
    for offset in (0, PAGE, 2 << 20):
        driver.vspace_map(space, memory.handle, offset=offset)
    driver.vspace_free(space)
    driver.mem_free(memory.handle)
    assert world.usage() == before


def test_free_while_a_channel_uses_it(world: World, driver: Driver) -> None:
    """An address space outlives its channels."""
    space = driver.vspace_new()
    channels = [driver.chan_new(space).handle for _ in range(2)]
    for channel in channels:
        with world.refuses(BusyError):
            driver.vspace_free(space)
        driver.chan_free(channel)
    driver.vspace_free(space)


def test_exhaustion(world: World, driver: Driver) -> None:
    """Address spaces are a fixed number; when it is used up, one more is refused and freeing helps."""
    spaces: list[int] = []

    def fill() -> None:
        for _ in range(MAX_VSPACES + 1):
            spaces.append(driver.vspace_new())

    with pytest.raises(ExhaustedError):
        fill()
    assert len(spaces) >= 8
    with world.refuses(ExhaustedError):
        driver.vspace_new()
    driver.vspace_free(spaces.pop())
    driver.vspace_new()


_USES: dict[str, Callable[[Driver, int], object]] = {
    "vspace_free": lambda driver, handle: driver.vspace_free(handle),
    "vspace_unmap": lambda driver, handle: driver.vspace_unmap(handle, 1 << 32),
    "chan_new": lambda driver, handle: driver.chan_new(handle),
}


@pytest.mark.parametrize("use", _USES)
def test_wrong_spaces(world: World, driver: Driver, use: str) -> None:
    """Only an address space of this process, not yet freed, is one."""
    space, memory = driver.vspace_new(), driver.mem_alloc(PAGE)
    freed = driver.vspace_new()
    driver.vspace_free(freed)
    other = world.open()
    theirs = [other.vspace_new() for _ in range(3)][-1]
    channel = driver.chan_new(space).handle
    for handle in (freed, theirs, memory.handle, channel, 0, -1, 2**64 - 1, 2**64):
        with world.refuses(InvalidHandleError):
            _USES[use](driver, handle)


def test_wrong_handles_for_a_mapping(world: World, driver: Driver) -> None:
    """Both ends of a mapping are this process's own."""
    space, memory = driver.vspace_new(), driver.mem_alloc(PAGE)
    other = world.open()
    their_space = [other.vspace_new() for _ in range(3)][-1]
    their_memory = [other.mem_alloc(PAGE).handle for _ in range(3)][-1]
    for which, what in (
        (their_space, memory.handle),
        (space, their_memory),
        (memory.handle, space),
        (space, space),
        (0, memory.handle),
        (space, 2**64 - 1),
    ):
        with world.refuses(InvalidHandleError):
            driver.vspace_map(which, what)


def test_everything_can_be_mapped(driver: Driver) -> None:
    """All of the owner's memory in one mapping."""
    driver.vspace_map(driver.vspace_new(), driver.mem_alloc(VRAM_SIZE).handle)


def test_close_then_use(world: World) -> None:
    """After close, address-space calls are refused."""
    driver = world.open()
    space, memory = driver.vspace_new(), driver.mem_alloc(PAGE).handle
    address = driver.vspace_map(space, memory)
    driver.close()
    for call in (
        driver.vspace_new,
        lambda: driver.vspace_free(space),
        lambda: driver.vspace_map(space, memory),
        lambda: driver.vspace_unmap(space, address),
    ):
        with world.refuses(ClosedError):
            call()
