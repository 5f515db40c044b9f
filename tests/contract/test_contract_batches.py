import pytest
from tests.contract.worlds import PAGE, VRAM_SIZE, World

from logv.errors import (
    BusyError,
    ClosedError,
    InvalidHandleError,
    InvalidValueError,
    LogvError,
    NotSupportedError,
    OutOfMemoryError,
)
from logv.hw.clc7b5 import AMPERE_DMA_COPY_B
from logv.hw.clc7c0 import AMPERE_COMPUTE_B
from logv.uapi import Domain, Driver, Pending


def test_a_whole_application(world: World, driver: Driver) -> None:
    """A batch makes what single calls would; each result stands for its object in the calls after it."""
    with driver.batch() as batch:
        space = batch.vspace_new()
        memory = batch.mem_alloc(PAGE, Domain.SYSTEM)
        view = batch.mem_map(memory)
        address = batch.vspace_map(space, memory, writable=True)
        channel = batch.chan_new(space)
        ring = batch.fifo_init_ib(channel, address, 16)
        batch.obj_eng_new(channel, AMPERE_DMA_COPY_B)
        batch.obj_eng_new(channel, AMPERE_COMPUTE_B)
    assert isinstance(ring, Pending)
    assert (memory.value.size, memory.value.domain) == (PAGE, Domain.SYSTEM)
    view.value[:4] = b"seen"
    assert bytes(driver.mem_map(memory.value.handle)[:4]) == b"seen"
    with world.refuses(BusyError):
        driver.fifo_init_ib(channel.value.handle, address.value, 16)
    driver.chan_free(channel.value.handle)
    driver.vspace_unmap(space.value, address.value)
    driver.vspace_free(space.value)
    driver.mem_free(memory.value.handle)


def test_nothing_happens_before_the_end(world: World, driver: Driver) -> None:
    """Calls are carried out when the block ends, not before."""
    before = world.usage()
    with driver.batch() as batch:
        memory = batch.mem_alloc(PAGE)
        batch.vspace_new()
        assert world.usage() == before
        with pytest.raises(LogvError, match="not run"):
            _ = memory.value
    assert world.usage() != before


def test_empty_batch(world: World, driver: Driver) -> None:
    """A batch without calls does nothing."""
    before = world.usage()
    with driver.batch():
        pass
    assert world.usage() == before


def test_objects_made_before(driver: Driver) -> None:
    """Numbers of objects made by single calls, and results of an earlier batch, are arguments too."""
    memory = driver.mem_alloc(PAGE)
    with driver.batch() as first:
        space = first.vspace_new()
    with driver.batch() as second:
        address = second.vspace_map(space.value, memory.handle)
    with driver.batch() as third:
        channel = third.chan_new(space.value)
        third.fifo_init_ib(channel, address.value, 2)


def test_block_that_raises(world: World, driver: Driver) -> None:
    """An exception in the block passes through, and no call is carried out."""
    before = world.usage()
    with pytest.raises(ZeroDivisionError), driver.batch() as batch:  # noqa: PT012 (the block is the test)
        memory = batch.mem_alloc(PAGE)
        _ = 1 // 0
    assert world.usage() == before
    with pytest.raises(LogvError):
        _ = memory.value


def test_undo(world: World, driver: Driver) -> None:
    """When one call fails, those before it are undone, and no result is left behind."""
    pending: list[Pending[object]] = []

    def run(size: int) -> None:
        with driver.batch() as batch:
            space, memory = batch.vspace_new(), batch.mem_alloc(PAGE)
            address = batch.vspace_map(space, memory)
            channel = batch.chan_new(space)
            batch.fifo_init_ib(channel, address, 16)
            batch.obj_eng_new(channel, AMPERE_DMA_COPY_B)
            pending.extend([space, memory, address, channel, batch.mem_alloc(size), batch.vspace_new()])  # type: ignore[list-item]

    with world.refuses(OutOfMemoryError):
        run(VRAM_SIZE)
    for result in pending:
        with pytest.raises(LogvError):
            _ = result.value
    run(PAGE)


def test_undo_of_what_concerns_older_objects(world: World, driver: Driver) -> None:
    """A mapping, and a ring, that a failed batch gave to older objects are gone again."""
    space, memory = driver.vspace_new(), driver.mem_alloc(PAGE)
    address = driver.vspace_map(space, memory.handle)
    channel = driver.chan_new(space)

    def run() -> None:
        with driver.batch() as batch:
            batch.vspace_map(space, memory.handle)
            batch.fifo_init_ib(channel.handle, address, 4)
            batch.obj_eng_new(channel.handle, AMPERE_DMA_COPY_B)
            batch.mem_alloc(0)

    with world.refuses(InvalidValueError):
        run()
    driver.fifo_init_ib(channel.handle, address, 4)
    driver.vspace_unmap(space, address)
    driver.mem_free(memory.handle)


_FAILURES = {
    "mem_alloc": (lambda batch, space, memory, channel: batch.mem_alloc(-1), InvalidValueError),
    "domain": (lambda batch, space, memory, channel: batch.mem_alloc(PAGE, 7), InvalidValueError),
    "mem_map": (lambda batch, space, memory, channel: batch.mem_map(1), InvalidHandleError),
    "vspace_map space": (
        lambda batch, space, memory, channel: batch.vspace_map(1, memory),
        InvalidHandleError,
    ),
    "vspace_map memory": (
        lambda batch, space, memory, channel: batch.vspace_map(space, 1),
        InvalidHandleError,
    ),
    "vspace_map range": (
        lambda batch, space, memory, channel: batch.vspace_map(space, memory, offset=PAGE),
        InvalidValueError,
    ),
    "chan_new": (lambda batch, space, memory, channel: batch.chan_new(memory), InvalidHandleError),
    "fifo_init_ib": (
        lambda batch, space, memory, channel: batch.fifo_init_ib(channel, 8, 2),
        InvalidValueError,
    ),
    "obj_eng_new": (
        lambda batch, space, memory, channel: batch.obj_eng_new(channel, 1),
        NotSupportedError,
    ),
    "not a handle": (lambda batch, space, memory, channel: batch.mem_map("memory"), InvalidHandleError),
    "nothing": (lambda batch, space, memory, channel: batch.chan_new(None), InvalidHandleError),
}


@pytest.mark.parametrize("failure", _FAILURES)
def test_failure_in_the_middle(world: World, driver: Driver, failure: str) -> None:
    """Whichever call fails, its own error is raised, and nothing of the batch is left."""
    call, error = _FAILURES[failure]

    def run() -> None:
        with driver.batch() as batch:
            space, memory = batch.vspace_new(), batch.mem_alloc(PAGE)
            channel = batch.chan_new(space)
            call(batch, space, memory, channel)  # type: ignore[no-untyped-call]
            batch.vspace_map(space, memory)

    with world.refuses(error):
        run()


def test_pending_of_another_batch(world: World, driver: Driver) -> None:
    """A result that another batch has not produced yet cannot be an argument."""
    first, second = driver.batch(), driver.batch()

    def run() -> None:
        with first, second:
            memory = first.mem_alloc(PAGE)
            second.vspace_new()
            second.mem_map(memory)

    with world.refuses(LogvError):
        run()


def test_pending_of_the_wrong_kind(world: World, driver: Driver) -> None:
    """A result that is no handle, or another kind's, is refused like a wrong number."""

    def run() -> None:
        with driver.batch() as batch:
            view = batch.mem_map(batch.mem_alloc(PAGE))
            batch.chan_new(view)  # type: ignore[arg-type]

    with world.refuses(InvalidHandleError):
        run()


def test_a_batch_is_carried_out_once(world: World, driver: Driver) -> None:
    """Outside of its block a batch takes no calls, and it is not entered twice."""
    batch = driver.batch()
    with world.refuses(ClosedError):
        batch.mem_alloc(PAGE)
    with batch:
        batch.vspace_new()
    with world.refuses(ClosedError):
        batch.mem_alloc(PAGE)
    with world.refuses(ClosedError):
        batch.__enter__()


def test_batch_of_a_closed_driver(world: World) -> None:
    """A closed driver gives out no batch, and one that it gave out before does nothing any more."""
    driver = world.open()
    batch = driver.batch()
    driver.close()
    with world.refuses(ClosedError):
        driver.batch()

    def run() -> None:
        with batch:
            batch.mem_alloc(PAGE)

    with world.refuses(ClosedError):
        run()


def test_taking_things_back(world: World, driver: Driver) -> None:
    """A batch unmaps and frees, after everything else and in order."""
    before = world.usage()
    space, memory = driver.vspace_new(), driver.mem_alloc(PAGE)
    held = world.usage()
    address = driver.vspace_map(space, memory.handle)
    with driver.batch() as batch:
        batch.vspace_unmap(space, address)
        batch.mem_free(memory.handle)
        other = batch.mem_alloc(PAGE)
    assert world.usage() == held
    with world.refuses(InvalidHandleError):
        driver.mem_free(memory.handle)
    driver.mem_free(other.value.handle)
    driver.vspace_free(space)
    assert world.usage() == before


def test_taking_back_what_is_in_use(world: World, driver: Driver) -> None:
    """A free that is refused comes last: what was made is undone, what was freed before it stays freed."""
    space, first, second = driver.vspace_new(), driver.mem_alloc(PAGE), driver.mem_alloc(PAGE)
    address = driver.vspace_map(space, second.handle)

    def run() -> None:
        with driver.batch() as batch:
            batch.mem_alloc(PAGE)
            batch.mem_free(first.handle)
            batch.mem_free(second.handle)

    before = world.usage()
    with pytest.raises(BusyError):
        run()
    with world.refuses(InvalidHandleError):
        driver.mem_free(first.handle)
    driver.vspace_unmap(space, address)
    driver.mem_free(second.handle)
    assert world.usage() != before
    driver.vspace_free(space)
