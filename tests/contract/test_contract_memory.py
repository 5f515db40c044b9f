from collections.abc import Callable

import pytest
from tests.contract.worlds import CHANNELS, PAGE, SYSTEM_SIZE, VRAM_SIZE, World

from logv.errors import (
    BusyError,
    ClosedError,
    InvalidHandleError,
    InvalidValueError,
    OutOfMemoryError,
)
from logv.hw.software_gpu import APERTURE_VA_BITS, COMPUTE_CAPABILITY
from logv.uapi import Domain, Driver, Param

_SIZES = {Domain.VRAM: VRAM_SIZE, Domain.SYSTEM: SYSTEM_SIZE}
_FREE = {Domain.VRAM: Param.VRAM_FREE, Domain.SYSTEM: Param.SYSTEM_FREE}
_IMPOSSIBLE_SIZES = [0, -1, -PAGE, -(2**63), -(2**64)]
_TOO_LARGE_SIZES = [
    VRAM_SIZE + 1,
    2**31,
    2**32 - 1,
    2**32,
    2**32 + 1,
    2**63 - 1,
    2**63,
    2**64 - PAGE,
    2**64 - 1,
]


def test_params(driver: Driver) -> None:
    """Each parameter has its documented value."""
    assert {param: driver.get_param(param) for param in Param} == {
        Param.COMPUTE_CAPABILITY: COMPUTE_CAPABILITY,
        Param.VRAM_SIZE: VRAM_SIZE,
        Param.VRAM_FREE: VRAM_SIZE,
        Param.SYSTEM_SIZE: SYSTEM_SIZE,
        Param.SYSTEM_FREE: SYSTEM_SIZE,
        Param.VA_BITS: APERTURE_VA_BITS,
        Param.MAX_CHANNELS: CHANNELS,
        Param.PAGE_SIZE: PAGE,
    }


@pytest.mark.parametrize("param", [-1, len(Param), 2**32, 2**64])
def test_unknown_params(world: World, driver: Driver, param: int) -> None:
    """A parameter that does not exist is refused."""
    with world.refuses(InvalidValueError):
        driver.get_param(param)  # type: ignore[arg-type]


@pytest.mark.parametrize("domain", list(Domain))
@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE, PAGE + 1, 65535, 65536, (2 << 20) + 1])
def test_alloc(driver: Driver, domain: Domain, size: int) -> None:
    """A buffer object has the size asked for, in whole pages, is zeroed, and is charged."""
    memory = driver.mem_alloc(size, domain)
    rounded = -(-size // PAGE) * PAGE
    assert (memory.size, memory.domain) == (rounded, domain)
    assert memory.offset % PAGE == 0
    assert 0 <= memory.offset <= _SIZES[domain] - rounded
    assert driver.get_param(_FREE[domain]) == _SIZES[domain] - rounded
    view = driver.mem_map(memory.handle)
    assert (view.nbytes, view.format, view.readonly) == (rounded, "B", False)
    assert not any(view)
    driver.mem_free(memory.handle)
    assert driver.get_param(_FREE[domain]) == _SIZES[domain]


@pytest.mark.parametrize("domain", list(Domain))
def test_memory_arrives_zeroed_again(driver: Driver, domain: Domain) -> None:
    """What was written into a freed buffer object is not in the next one."""
    for _ in range(3):
        memory = driver.mem_alloc(_SIZES[domain], domain)
        view = driver.mem_map(memory.handle)
        assert bytes(view) == bytes(len(view))
        view[:] = b"\xff" * len(view)
        driver.mem_free(memory.handle)


def test_buffers_do_not_overlap(driver: Driver) -> None:
    """What is written to one buffer object is seen there, through every view, and nowhere else."""
    memories = [driver.mem_alloc(size * PAGE) for size in (1, 17, 3, 16)]
    for number, memory in enumerate(memories):
        view = driver.mem_map(memory.handle)
        view[:] = bytes([number + 1]) * len(view)
    for number, memory in enumerate(memories):
        assert set(driver.mem_map(memory.handle)) == {number + 1}


@pytest.mark.parametrize("size", [*_IMPOSSIBLE_SIZES, 2**64])
@pytest.mark.parametrize("domain", list(Domain))
def test_impossible_sizes(world: World, driver: Driver, size: int, domain: Domain) -> None:
    """Sizes that no buffer object can have."""
    with world.refuses(InvalidValueError):
        driver.mem_alloc(size, domain)


@pytest.mark.parametrize("size", [None, 1.0, "4096", b"1", [4096], True])
def test_sizes_are_integers(world: World, driver: Driver, size: object) -> None:
    """A size of another type is an impossible value, not a TypeError from somewhere below."""
    with world.refuses(InvalidValueError):
        driver.mem_alloc(size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", _TOO_LARGE_SIZES)
@pytest.mark.parametrize("domain", list(Domain))
def test_sizes_beyond_what_there_is(world: World, driver: Driver, size: int, domain: Domain) -> None:
    """A size beyond the owner's memory is refused however close to a power of two it lies."""
    with world.refuses(OutOfMemoryError):
        driver.mem_alloc(size, domain)


@pytest.mark.parametrize("domain", [2, -1, 2**32, 2**64])
def test_unknown_domains(world: World, driver: Driver, domain: int) -> None:
    """Memory is in VRAM or in the system."""
    with world.refuses(InvalidValueError):
        driver.mem_alloc(PAGE, domain)  # type: ignore[arg-type]


@pytest.mark.parametrize("domain", list(Domain))
def test_exhaustion_and_recovery(world: World, driver: Driver, domain: Domain) -> None:
    """All memory can be had, not more, and all of it comes back."""
    before = world.usage()
    piece = _SIZES[domain] // 8
    handles = [driver.mem_alloc(piece, domain).handle for _ in range(8)]
    assert driver.get_param(_FREE[domain]) == 0
    with world.refuses(OutOfMemoryError):
        driver.mem_alloc(1, domain)
    for handle in handles[::2] + handles[1::2]:
        driver.mem_free(handle)
    assert world.usage() == before
    driver.mem_free(driver.mem_alloc(_SIZES[domain], domain).handle)


def test_free_while_mapped(world: World, driver: Driver) -> None:
    """A buffer object that the GPU can reach is not freed; each mapping counts."""
    memory = driver.mem_alloc(2 * PAGE)
    first, second = driver.vspace_new(), driver.vspace_new()
    addresses = [driver.vspace_map(space, memory.handle, size=PAGE) for space in (first, second)]
    with world.refuses(BusyError):
        driver.mem_free(memory.handle)
    driver.vspace_unmap(first, addresses[0])
    with world.refuses(BusyError):
        driver.mem_free(memory.handle)
    driver.vspace_free(second)
    driver.mem_free(memory.handle)


_USES: dict[str, Callable[[Driver, int], object]] = {
    "mem_free": lambda driver, handle: driver.mem_free(handle),
    "mem_map": lambda driver, handle: driver.mem_map(handle),
    "vspace_map": lambda driver, handle: driver.vspace_map(driver.vspace_new(), handle),
}


@pytest.mark.parametrize("use", ["mem_free", "mem_map"])
@pytest.mark.parametrize("handle", [0, 1, -1, 2**32, 2**63, 2**64 - 1, 2**64, None, "memory"])
def test_handles_never_given_out(world: World, driver: Driver, use: str, handle: object) -> None:
    """A number that is no handle is refused, whatever it is."""
    driver.mem_alloc(PAGE)
    with world.refuses(InvalidHandleError):
        _USES[use](driver, handle)  # type: ignore[arg-type]


@pytest.mark.parametrize("use", ["mem_free", "mem_map"])
def test_freed_handles(world: World, driver: Driver, use: str) -> None:
    """A freed handle stays invalid, also when its place is used again."""
    freed = driver.mem_alloc(PAGE).handle
    driver.mem_free(freed)
    for _ in range(3):
        with world.refuses(InvalidHandleError):
            _USES[use](driver, freed)
        driver.mem_alloc(PAGE)


@pytest.mark.parametrize("use", ["mem_free", "mem_map"])
def test_handles_of_another_kind(world: World, driver: Driver, use: str) -> None:
    """An address space or a channel is no buffer object."""
    space = driver.vspace_new()
    channel = driver.chan_new(space)
    for handle in (space, channel.handle):
        with world.refuses(InvalidHandleError):
            _USES[use](driver, handle)


@pytest.mark.parametrize("use", ["mem_free", "mem_map"])
def test_handles_of_another_process(world: World, driver: Driver, use: str) -> None:
    """Another process's handle names nothing here, and its object is safe."""
    other = world.open()
    theirs = [other.mem_alloc(PAGE).handle for _ in range(3)][-1]
    other.mem_map(theirs)[:4] = b"mine"
    driver.mem_alloc(PAGE)
    with world.refuses(InvalidHandleError):
        _USES[use](driver, theirs)
    assert bytes(other.mem_map(theirs)[:4]) == b"mine"


def test_processes_share_the_memory_not_the_objects(world: World, driver: Driver) -> None:
    """Two processes of one owner use up one amount of memory, in different places."""
    other = world.open()
    mine, theirs = driver.mem_alloc(VRAM_SIZE // 2), other.mem_alloc(VRAM_SIZE // 2)
    assert abs(mine.offset - theirs.offset) >= VRAM_SIZE // 2
    with world.refuses(OutOfMemoryError):
        driver.mem_alloc(1)
    other.close()
    driver.mem_alloc(VRAM_SIZE // 2)


def test_close_then_use(world: World) -> None:
    """After close, memory calls are refused; closing again is harmless."""
    driver = world.open()
    handle = driver.mem_alloc(PAGE).handle
    driver.close()
    driver.close()
    for call in (
        lambda: driver.get_param(Param.VRAM_FREE),
        lambda: driver.mem_alloc(PAGE),
        lambda: driver.mem_free(handle),
        lambda: driver.mem_map(handle),
    ):
        with world.refuses(ClosedError):
            call()
