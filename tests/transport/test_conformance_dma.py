"""Memory that a client announces.

A running daemon against the vfio-user specification, through a client that shares no code with it. What is
refused is refused with EINVAL. Where the specification names another number, or leaves the number open, the
test says so.
"""

import errno
import os
from contextlib import suppress

import pytest
from tests.transport import spec_client as spec
from tests.transport.conformance import (
    DMA_ADDRESS,
    DMA_SIZE,
    assert_refused,
    assert_work_is_done,
    make_memory,
)
from tests.transport.daemon_rig import (
    PAGE,
    Daemon,
    eventually,
)
from tests.transport.spec_client import Refused, SpecClient


def test_memory_is_announced_and_taken_back(client: SpecClient, memory: int) -> None:
    """Neighbours may touch; what was taken back is unknown, and may be announced again."""
    client.dma_map(DMA_ADDRESS, DMA_SIZE, memory)
    client.dma_map(DMA_ADDRESS + DMA_SIZE, PAGE, memory, offset=PAGE)
    client.dma_map(DMA_ADDRESS - PAGE, PAGE, memory, flags=1)
    # No descriptor: the device would ask by message.
    client.dma_map(2 * DMA_ADDRESS, PAGE, None)
    client.dma_unmap(2 * DMA_ADDRESS, PAGE)
    client.dma_unmap(DMA_ADDRESS, DMA_SIZE)
    with pytest.raises(Refused):
        client.dma_unmap(DMA_ADDRESS, DMA_SIZE)
    client.dma_map(DMA_ADDRESS, DMA_SIZE, memory)
    client.dma_unmap(0, 0, flags=2)
    client.dma_map(DMA_ADDRESS - PAGE, 2 * PAGE, memory)


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (DMA_ADDRESS, DMA_SIZE),
        (DMA_ADDRESS + PAGE, PAGE),
        (DMA_ADDRESS - PAGE, 2 * PAGE),
        (DMA_ADDRESS + DMA_SIZE - PAGE, 2 * PAGE),
    ],
)
def test_memory_over_other_memory_is_refused(
    client: SpecClient, memory: int, address: int, size: int
) -> None:
    """The specification names EEXIST for this one."""
    client.dma_map(DMA_ADDRESS, DMA_SIZE, memory)
    request = spec.DMA_MAP_REQUEST.pack(spec.DMA_MAP_REQUEST.size, 3, 0, address, size)
    assert_refused(client, spec.DMA_MAP, request, [memory], errors={errno.EEXIST})
    client.dma_unmap(DMA_ADDRESS, DMA_SIZE)


@pytest.mark.parametrize(
    ("argsz", "flags", "offset", "address", "size"),
    [
        (31, 3, 0, DMA_ADDRESS, PAGE),
        (32, 7, 0, DMA_ADDRESS, PAGE),
        (32, 1 << 31, 0, DMA_ADDRESS, PAGE),
        (32, 3, 0, DMA_ADDRESS, 0),
        (32, 3, 0, DMA_ADDRESS, PAGE - 1),
        (32, 3, 0, DMA_ADDRESS + 1, PAGE),
        (32, 3, 8, DMA_ADDRESS, PAGE),
        (32, 3, 0, DMA_ADDRESS, DMA_SIZE + PAGE),
        (32, 3, DMA_SIZE, DMA_ADDRESS, PAGE),
        (32, 3, (1 << 64) - PAGE, DMA_ADDRESS, 2 * PAGE),
        (32, 3, 0, (1 << 64) - PAGE, 2 * PAGE),
        (32, 3, 0, PAGE, (1 << 64) - PAGE),
    ],
)
def test_impossible_memory_is_refused(
    client: SpecClient, memory: int, argsz: int, flags: int, offset: int, address: int, size: int
) -> None:
    """Sizes of 0, sums that wrap, parts of pages, unknown flags, more than the file holds."""
    request = spec.DMA_MAP_REQUEST.pack(argsz, flags, offset, address, size)
    assert_refused(client, spec.DMA_MAP, request, [memory])
    client.dma_map(DMA_ADDRESS, DMA_SIZE, memory)


def test_files_that_are_no_sealed_memory_are_refused(client: SpecClient, event: int, memory: int) -> None:
    """A file that can shrink would raise SIGBUS in the daemon, and other descriptors are no memory at all.

    Sealing is this server's own demand; the specification is silent.
    """
    unsealed = make_memory(sealed=False)
    request = spec.DMA_MAP_REQUEST.pack(spec.DMA_MAP_REQUEST.size, 3, 0, DMA_ADDRESS, PAGE)
    for fds in ([unsealed], [event], [client.socket.fileno()], [memory, memory]):
        assert_refused(client, spec.DMA_MAP, request, fds)
    os.close(unsealed)


@pytest.mark.parametrize(
    ("flags", "address", "size"),
    [
        (0, DMA_ADDRESS, PAGE),
        (0, DMA_ADDRESS + PAGE, DMA_SIZE - PAGE),
        (0, DMA_ADDRESS, 2 * DMA_SIZE),
        (0, 0, 0),
        (2, DMA_ADDRESS, DMA_SIZE),
        (3, 0, 0),
        (1, DMA_ADDRESS, DMA_SIZE),
        (4, DMA_ADDRESS, DMA_SIZE),
    ],
)
def test_only_what_was_announced_is_taken_back(
    client: SpecClient, memory: int, flags: int, address: int, size: int
) -> None:
    """Exactly one mapping, or all: nothing in between. The specification leaves the error number open."""
    client.dma_map(DMA_ADDRESS, DMA_SIZE, memory)
    request = spec.DMA_UNMAP_REQUEST.pack(spec.DMA_UNMAP_REQUEST.size, flags, address, size)
    assert_refused(client, spec.DMA_UNMAP, request, errors={errno.EINVAL, errno.ENOENT, errno.ENOTSUP})
    client.dma_unmap(DMA_ADDRESS, DMA_SIZE)


def test_memory_in_very_many_pieces_takes_nothing_from_others(
    daemon: Daemon, client: SpecClient, memory: int
) -> None:
    """More pieces than a process has descriptors: some may be refused, but the other VM can still connect."""
    before = daemon.descriptors()
    for piece in range(1200):
        # Which error is open; that there is a limit at all is the server's to say.
        with suppress(Refused):
            client.dma_map(piece * PAGE, PAGE, memory)
    with daemon.open("ivi") as other:
        assert_work_is_done(other)
    client.dma_unmap(0, 0, flags=2)
    # A few may be the daemon's own, for the other VM's work.
    assert eventually(lambda: daemon.descriptors() < before + 8)
