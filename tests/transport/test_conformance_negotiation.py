"""What a device says of itself: negotiation, information, regions.

A running daemon against the vfio-user specification, through a client that shares no code with it. What is
refused is refused with EINVAL. Where the specification names another number, or leaves the number open, the
test says so.
"""

import json
import mmap
import os
from contextlib import ExitStack

import pytest
from tests.transport import spec_client as spec
from tests.transport.conformance import (
    MSIX,
    ask_doorbell,
    assert_greeting_is_refused,
    assert_refused,
    assert_works,
)
from tests.transport.daemon_rig import (
    DOORBELL,
    PAGE,
    Daemon,
)
from tests.transport.spec_client import SpecClient


def test_version_names_numbers_and_capabilities(client: SpecClient) -> None:
    """The server speaks 0.1, and offers no capability that was not proposed."""
    assert client.version == (0, 1)
    assert set(client.offered) <= set(spec.PROPOSED)
    assert client.offered["max_msg_fds"] >= 1
    assert client.offered["max_data_xfer_size"] >= PAGE
    assert_works(client)


@pytest.mark.parametrize(
    ("minor", "data", "expected"),
    [
        (1, b"", 1),
        (1, b"{}\0", 1),
        (1, b'{"capabilities": {}}\0', 1),
        (1, b'{"capabilities": {"of a later version": [1]}, "other": null}\0', 1),
        (0, b"", 0),
        (7, b"", 1),
    ],
)
def test_version_data_is_optional(daemon: Daemon, minor: int, data: bytes, expected: int) -> None:
    """JSON and capabilities may be absent or unknown; the lower minor version is spoken."""
    replies = []
    request = spec.VERSION_NUMBERS.pack(0, minor) + data
    with daemon.open("dash", lambda client: replies.append(client.ask(spec.VERSION, request))) as client:
        assert spec.VERSION_NUMBERS.unpack_from(replies[0]) == (0, expected)
        # A server states its own limits unasked, as the reference server does; features must be proposed.
        for feature in (b"later version", b"write_multiple", b"twin_socket"):
            assert feature not in replies[0]
        assert_works(client)


def capability(name: str, value: object) -> bytes:
    """Return the VERSION payload that proposes one capability."""
    return spec.VERSION_NUMBERS.pack(0, 1) + json.dumps({"capabilities": {name: value}}).encode() + b"\0"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0\1",
        spec.VERSION_NUMBERS.pack(1, 0),
        spec.VERSION_NUMBERS.pack(999, 1) + b"{}\0",
        spec.VERSION_NUMBERS.pack(0, 1) + b"{}",
        spec.VERSION_NUMBERS.pack(0, 1) + b"{\0",
        spec.VERSION_NUMBERS.pack(0, 1) + b'"\0',
        spec.VERSION_NUMBERS.pack(0, 1) + b"{}\0{}\0",
        spec.VERSION_NUMBERS.pack(0, 1) + b"\xff\xfe\0",
        spec.VERSION_NUMBERS.pack(0, 1) + b"[]\0",
        spec.VERSION_NUMBERS.pack(0, 1) + b"null\0",
        spec.VERSION_NUMBERS.pack(0, 1) + b'{"capabilities": "23"}\0',
        spec.VERSION_NUMBERS.pack(0, 1) + b'{"capabilities": {"max_msg_fds": 1e999}}\0',
        spec.VERSION_NUMBERS.pack(0, 1) + b'{"capabilities": {"max_msg_fds": ' + b"9" * 9000 + b"}}\0",
        spec.VERSION_NUMBERS.pack(0, 1) + b"[" * 40_000 + b"\0",
        capability("max_msg_fds", "foo"),
        capability("max_msg_fds", -1),
        capability("max_msg_fds", True),
        capability("max_data_xfer_size", [1]),
        capability("max_data_xfer_size", -4096),
        capability("write_multiple", "yes"),
        capability("twin_socket", "23"),
    ],
    ids=lambda payload: str(payload[:48]),
)
def test_impossible_versions_are_refused(daemon: Daemon, payload: bytes) -> None:
    """Other major versions, malformed JSON, and values of the wrong type."""
    assert_greeting_is_refused(daemon, spec.VERSION, payload)


@pytest.mark.parametrize("command", [0, *range(2, 19), 0xFFFF])
def test_nothing_is_answered_before_version(daemon: Daemon, command: int) -> None:
    """Any other command is refused until VERSION."""
    assert_greeting_is_refused(daemon, command, bytes(32))


def test_second_version_is_refused(client: SpecClient) -> None:
    """VERSION comes once; the connection goes on as it was negotiated."""
    assert_refused(client, spec.VERSION, spec.VERSION_NUMBERS.pack(0, 1))


def test_device_is_a_pci_device_that_can_be_reset(client: SpecClient) -> None:
    """Both flags, nine regions, five types of interrupts; a larger argsz changes nothing."""
    assert client.device_info() == (16, 3, 9, 5)
    roomy = client.ask(spec.DEVICE_GET_INFO, spec.INFO.pack(4096, 0, 0, 0))
    assert spec.INFO.unpack(roomy) == (16, 3, 9, 5)


@pytest.mark.parametrize("vm", ["dash", "ivi"])
def test_regions_say_what_can_be_mapped(daemon: Daemon, vm: str) -> None:
    """Sizes are powers of two; a descriptor comes with the mmap flag and reaches as far as the areas do."""
    with daemon.open(vm) as client:
        infos = [client.region_info(index) for index in range(9)]
    with ExitStack() as undo:
        for info in infos:
            undo.callback(spec.close_all, info.fds)
        assert [info.size > 0 for info in infos] == [True] * 5 + [False, False, True, False]
        assert infos[7].size in {256, 4096}
        for index, info in enumerate(infos):
            assert info.size & (info.size - 1) == 0
            assert bool(info.flags & spec.REGION_FLAG_MMAP) == (index in {1, 2, 3, 4})
            assert bool(info.flags & spec.REGION_FLAG_CAPS) == bool(info.cap_offset)
            # The specification speaks of one descriptor, however many areas there are.
            assert len(info.fds) == (index in {1, 2, 3, 4})
            if info.size:
                assert info.flags & 3 == spec.REGION_FLAG_READ | spec.REGION_FLAG_WRITE
            for fd in info.fds:
                for offset, size in info.areas or [(0, info.size)]:
                    assert size > 0
                    assert offset % PAGE == size % PAGE == info.offset % PAGE == 0
                    assert offset + size <= info.size
                    assert info.offset + offset + size <= os.fstat(fd).st_size
                    mmap.mmap(fd, size, offset=info.offset + offset).close()


def test_region_information_grows_with_argsz(daemon: Daemon) -> None:
    """Where the capabilities do not fit, the reply names the size that does, and leaves them all out."""
    with daemon.open("ivi") as client:
        full = client.region_info(2)
        spec.close_all(full.fds)
        assert full.areas == [(0, 24 << 20)]
        assert full.argsz == spec.REGION_INFO.size + 16 + 16 * len(full.areas)
        for argsz in (spec.REGION_INFO.size, full.argsz - 1):
            short = client.region_info(2, argsz)
            spec.close_all(short.fds)
            assert short.argsz == full.argsz
            assert (short.flags & spec.REGION_FLAG_CAPS, short.cap_offset, short.areas) == (0, 0, [])
            assert short.size == full.size
            # What is left out of a short reply is open; but whoever says MMAP sends a descriptor.
            assert len(short.fds) == bool(short.flags & spec.REGION_FLAG_MMAP)
        exact = client.region_info(2, full.argsz)
        spec.close_all(exact.fds)
        assert exact[:6] == full[:6]


@pytest.mark.parametrize("region", [1, 2, 3, 4])
def test_mapped_memory_is_the_region(client: SpecClient, region: int) -> None:
    """What is written by message is seen in the mapping, and the other way round."""
    view = client.map(region)
    offset = PAGE + 0x400  # in BAR3: in the page of a channel that does not exist
    client.write(region, offset, b"by message")
    assert view[offset : offset + 10] == b"by message"
    view[offset : offset + 10] = b"by mapping"
    assert client.read(region, offset, 10) == b"by mapping"


def test_ioeventfds_are_offered_for_the_doorbell_only(client: SpecClient) -> None:
    """Region 0 has one sub-region, an ioeventfd on DOORBELL; the other regions have none."""
    for region in (1, 2, 3, 4, 7):
        reply = client.ask(spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(4096, 0, region, 0))
        assert spec.INFO.unpack(reply) == (spec.INFO.size, 0, region, 0)
    offset, size, index, kind, flags, _, _ = ask_doorbell(client)
    # A size of 0 would leave the width of the access open.
    assert (offset, index, kind, flags) == (DOORBELL, 0, 0, 0)
    assert size in {0, 4}
    short = client.ask(spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(spec.INFO.size, 0, 0, 0))
    assert spec.INFO.unpack_from(short)[0] == spec.INFO.size + spec.IO_FD.size


def test_interrupts_are_one_msix_vector(client: SpecClient) -> None:
    """MSI-X has one vector that signals an eventfd; the other types have none."""
    infos = [client.irq_info(index) for index in range(5)]
    assert [(argsz, index, count) for argsz, _, index, count in infos] == [
        (16, index, int(index == MSIX)) for index in range(5)
    ]
    assert infos[MSIX][1] & 1
