"""Messages that are refused.

A running daemon against the vfio-user specification, through a client that shares no code with it. What is
refused is refused with EINVAL. Where the specification names another number, or leaves the number open, the
test says so.
"""

import errno
import struct
from contextlib import suppress

import pytest
from tests.transport import spec_client as spec
from tests.transport.conformance import (
    ALL_ONES,
    DMA_ADDRESS,
    ENABLE,
    MSIX,
    TRIGGER,
    access,
    assert_refused,
    assert_works,
)
from tests.transport.daemon_rig import (
    PAGE,
    Daemon,
    eventually,
)
from tests.transport.spec_client import Refused, SpecClient

REFUSED: dict[str, tuple[int, bytes]] = {
    "info: short": (spec.DEVICE_GET_INFO, bytes(15)),
    "info: empty": (spec.DEVICE_GET_INFO, b""),
    "info: argsz": (spec.DEVICE_GET_INFO, spec.INFO.pack(15, 0, 0, 0)),
    "region: short": (spec.DEVICE_GET_REGION_INFO, spec.REGION_INFO.pack(4096, 0, 1, 0, 0, 0)[:-1]),
    "region: argsz": (spec.DEVICE_GET_REGION_INFO, spec.REGION_INFO.pack(31, 0, 1, 0, 0, 0)),
    "region: index": (spec.DEVICE_GET_REGION_INFO, spec.REGION_INFO.pack(4096, 0, 9, 0, 0, 0)),
    "region: all ones": (spec.DEVICE_GET_REGION_INFO, spec.REGION_INFO.pack(4096, 0, ALL_ONES, 0, 0, 0)),
    "io fds: short": (spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(4096, 0, 0, 0)[:-1]),
    "io fds: argsz": (spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(15, 0, 0, 0)),
    "io fds: flags": (spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(4096, 1, 0, 0)),
    "io fds: count": (spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(4096, 0, 0, 1)),
    "io fds: index": (spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(4096, 0, 9, 0)),
    "irq: short": (spec.DEVICE_GET_IRQ_INFO, spec.INFO.pack(16, 0, 2, 0)[:-1]),
    "irq: argsz": (spec.DEVICE_GET_IRQ_INFO, spec.INFO.pack(15, 0, 2, 0)),
    "irq: index": (spec.DEVICE_GET_IRQ_INFO, spec.INFO.pack(16, 0, 5, 0)),
    "irqs: short": (spec.DEVICE_SET_IRQS, spec.IRQ_SET.pack(20, TRIGGER, MSIX, 0, 1)[:-1]),
    "irqs: argsz": (spec.DEVICE_SET_IRQS, spec.IRQ_SET.pack(3, TRIGGER, MSIX, 0, 1)),
    "map: short": (spec.DMA_MAP, spec.DMA_MAP_REQUEST.pack(32, 3, 0, DMA_ADDRESS, PAGE)[:-1]),
    "map: long": (spec.DMA_MAP, spec.DMA_MAP_REQUEST.pack(32, 3, 0, DMA_ADDRESS, PAGE) + bytes(8)),
    "unmap: short": (spec.DMA_UNMAP, spec.DMA_UNMAP_REQUEST.pack(24, 2, 0, 0)[:-1]),
    "unmap: argsz": (spec.DMA_UNMAP, spec.DMA_UNMAP_REQUEST.pack(23, 2, 0, 0)),
    "unmap: long": (spec.DMA_UNMAP, spec.DMA_UNMAP_REQUEST.pack(24, 2, 0, 0) + bytes(8)),
    "reset: long": (spec.DEVICE_RESET, bytes(1)),
    "read: short": (spec.REGION_READ, access(0, 0, 4)[:-1]),
    "read: long": (spec.REGION_READ, access(0, 0, 4, bytes(4))),
    "read: behind": (spec.REGION_READ, access(256, 7, 4)),
    "read: straddles": (spec.REGION_READ, access(254, 7, 4)),
    "read: far": (spec.REGION_READ, access((1 << 64) - 1, 2, 1)),
    "read: wraps": (spec.REGION_READ, access((1 << 64) - 4, 2, 8)),
    "read: empty region": (spec.REGION_READ, access(0, 5, 4)),
    "read: no region": (spec.REGION_READ, access(0, 9, 4)),
    "read: region all ones": (spec.REGION_READ, access(0, ALL_ONES, 4)),
    "read: count all ones": (spec.REGION_READ, access(0, 2, ALL_ONES)),
    "write: short": (spec.REGION_WRITE, access(0, 2, 8, bytes(7))),
    "write: long": (spec.REGION_WRITE, access(0, 2, 8, bytes(9))),
    "write: no data": (spec.REGION_WRITE, access(0, 2, 8)),
    "write: behind": (spec.REGION_WRITE, access(8192, 1, 4, bytes(4))),
    "write: straddles": (spec.REGION_WRITE, access(8190, 1, 4, bytes(4))),
    "write: wraps": (spec.REGION_WRITE, access((1 << 64) - 4, 2, 8, bytes(8))),
    "write: empty region": (spec.REGION_WRITE, access(0, 8, 4, bytes(4))),
    "write: no region": (spec.REGION_WRITE, access(0, 9, 4, bytes(4))),
    "write: count all ones": (spec.REGION_WRITE, access(0, 2, ALL_ONES, bytes(8))),
    "command 0": (0, bytes(32)),
    "command 11, the server's own": (11, bytes(16)),
    "command 12, the server's own": (12, bytes(16)),
    "command 14": (14, b""),
    "command 19": (19, bytes(32)),
    "command all ones": (0xFFFF, b""),
}
"""A command and a payload that no server may accept."""


@pytest.mark.parametrize(("command", "payload"), REFUSED.values(), ids=REFUSED)
def test_impossible_messages_are_refused(client: SpecClient, command: int, payload: bytes) -> None:
    """Sizes, indices, ranges and commands that do not exist: EINVAL, and the connection goes on."""
    assert_refused(client, command, payload)


@pytest.mark.parametrize("region", [0, 7])
@pytest.mark.parametrize(("offset", "count"), [(0, 1), (2, 4), (3, 2), (16, 8), (0, 256), (1, 255), (64, 0)])
def test_registers_survive_odd_accesses(client: SpecClient, region: int, offset: int, count: int) -> None:
    """Any width at any place is answered (with what is open), and the identity stays."""
    before = client.read(region, 0, 4)
    with suppress(Refused):
        client.read(region, offset, count)
    for byte in (b"\xff", b"\0"):
        with suppress(Refused):
            client.write(region, offset, byte * count)
    assert client.read(region, 0, 4) == before


@pytest.mark.parametrize("command", [16, 17, 18])
def test_migration_is_refused(client: SpecClient, command: int) -> None:
    """The device cannot be migrated. Which error says so is open."""
    request = struct.pack("<II", 16, 1 | 1 << 16) + bytes(8)
    assert_refused(client, command, request, errors={errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENOSYS})


def test_several_writes_come_in_one_message_if_that_was_agreed(client: SpecClient) -> None:
    """REGION_WRITE_MULTI works for a server that offers it, and is refused by one that does not."""
    writes = [(0x80, 1, 4, b"abcd"), (0x84, 1, 8, b"efghijkl")]
    payload = struct.pack("<Q", 2) + b"".join(struct.pack("<QII8s", *write) for write in writes)
    if not client.offered.get("write_multiple"):
        assert_refused(client, spec.REGION_WRITE_MULTI, payload)
        return
    assert client.ask(spec.REGION_WRITE_MULTI, payload) == struct.pack("<Q", 2)
    assert client.read(1, 0x80, 12) == b"abcdefghijkl"


def test_transfers_have_a_largest_size(client: SpecClient) -> None:
    """What was negotiated can be read and written at once, and one byte more cannot."""
    most = client.offered["max_data_xfer_size"]
    data = bytes(range(256)) * (most // 256)
    client.write(2, 0, data)
    assert client.read(2, 0, len(data)) == data
    assert_refused(client, spec.REGION_READ, access(0, 2, most + 1))


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (spec.DEVICE_GET_INFO, spec.INFO.pack(16, 0, 0, 0)),
        (spec.DEVICE_GET_REGION_INFO, spec.REGION_INFO.pack(4096, 0, 1, 0, 0, 0)),
        (spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(4096, 0, 0, 0)),
        (spec.DEVICE_GET_IRQ_INFO, spec.INFO.pack(16, 0, 2, 0)),
        (spec.REGION_READ, access(0, 0, 4)),
        (spec.REGION_WRITE, access(0x80, 1, 4, bytes(4))),
        (spec.DMA_UNMAP, spec.DMA_UNMAP_REQUEST.pack(24, 2, 0, 0)),
        (spec.DEVICE_RESET, b""),
        (19, b""),
    ],
    ids=lambda value: f"command {value}" if isinstance(value, int) else "",
)
def test_surplus_descriptors_are_refused(
    client: SpecClient, event: int, command: int, payload: bytes
) -> None:
    """A message that takes no descriptor comes without one."""
    assert_refused(client, command, payload, [event])


def test_refused_descriptors_are_closed(daemon: Daemon, client: SpecClient, event: int, memory: int) -> None:
    """A burst of messages with descriptors that are refused leaves the daemon with as many as before."""
    before = daemon.descriptors()
    dma = spec.DMA_MAP_REQUEST.pack(32, 3, 0, DMA_ADDRESS, PAGE - 1)
    irqs = spec.IRQ_SET.pack(20, ENABLE, MSIX, 1, 1)
    for _ in range(20):
        assert_refused(client, spec.DEVICE_GET_INFO, spec.INFO.pack(16, 0, 0, 0), [event])
        assert_refused(client, spec.DMA_MAP, dma, [memory])
        assert_refused(client, spec.DMA_MAP, dma, [memory, event])
        assert_refused(client, spec.DEVICE_SET_IRQS, irqs, [event])
        assert_refused(client, spec.DEVICE_SET_IRQS, irqs[:8], [event] * 3)
        assert_refused(client, 0xFFFF, b"", [event, memory])
    assert eventually(lambda: daemon.descriptors() <= before)


def test_more_descriptors_than_agreed_are_closed(daemon: Daemon, event: int) -> None:
    """As many as the kernel lets through at once: EINVAL or the end of the connection, and none is kept."""
    with daemon.open("ivi") as client:
        before = daemon.descriptors()
        client.send(spec.DEVICE_GET_INFO, spec.INFO.pack(16, 0, 0, 0), [event] * 253, id=1)
        with pytest.raises((Refused, ConnectionError)):
            client.receive_reply(1, spec.DEVICE_GET_INFO)
        assert eventually(lambda: daemon.descriptors() <= before)
    with daemon.open("ivi") as client:
        assert_works(client)
