"""Streams of messages, and clients that come and go.

A running daemon against the vfio-user specification, through a client that shares no code with it. What is
refused is refused with EINVAL. Where the specification names another number, or leaves the number open, the
test says so.
"""

import errno
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.transport import spec_client as spec
from tests.transport.conformance import (
    ALL_ONES,
    DMA_ADDRESS,
    DMA_SIZE,
    ENABLE,
    MSIX,
    access,
    assert_work_is_done,
    assert_works,
    by_register,
    make_memory,
)
from tests.transport.daemon_rig import (
    EXECUTE,
    VSPACE_NEW,
    Daemon,
    HandDriver,
    eventually,
)
from tests.transport.spec_client import Refused, SpecClient


@pytest.mark.parametrize("kind", [1, 2, 15])
def test_replies_that_nobody_asked_for_are_refused(client: SpecClient, kind: int) -> None:
    """The server has asked nothing, so what is not a command is an error."""
    client.send(spec.DEVICE_GET_INFO, spec.INFO.pack(16, 0, 0, 0), flags=kind, id=77)
    with pytest.raises(Refused) as refused:
        client.receive_reply(77, spec.DEVICE_GET_INFO)
    assert refused.value.errno == errno.EINVAL
    assert_works(client)


def test_message_ids_are_echoed(client: SpecClient) -> None:
    """Ids are the client's own: any number, as often as it likes, also of what is refused."""
    for id in (0xFFFF, 1, 1, 0x8000):
        client.send(spec.DEVICE_GET_INFO, spec.INFO.pack(16, 0, 0, 0), id=id)
        client.receive_reply(id, spec.DEVICE_GET_INFO)
        client.send(0xFFFE, id=id)
        with pytest.raises(Refused):
            client.receive_reply(id, 0xFFFE)


def test_no_reply_means_none(client: SpecClient) -> None:
    """Neither success nor failure is answered; the next reply is the next command's."""
    client.send(spec.REGION_WRITE, access(0x80, 1, 4, b"word"), flags=spec.NO_REPLY)
    client.send(spec.REGION_WRITE, access(0, 9, 4, b"word"), flags=spec.NO_REPLY)
    client.send(0xFFFF, flags=spec.NO_REPLY)
    assert client.read(1, 0x80, 4) == b"word"


def test_messages_are_a_stream(client: SpecClient) -> None:
    """A message may come byte by byte, and several at once; they are answered in order."""
    request = spec.INFO.pack(16, 0, 0, 0)
    header = spec.HEADER.pack(9, spec.DEVICE_GET_INFO, spec.HEADER.size + len(request), 0, 0)
    for byte in header + request:
        client.send_bytes(bytes([byte]))
    client.receive_reply(9, spec.DEVICE_GET_INFO)
    together = b"".join(
        spec.HEADER.pack(id, spec.DEVICE_GET_INFO, spec.HEADER.size + len(request), 0, 0) + request
        for id in range(1, 41)
    )
    client.send_bytes(together)
    for id in range(1, 41):
        client.receive_reply(id, spec.DEVICE_GET_INFO)


@pytest.mark.parametrize("size", [0, 1, 15, 64 << 20, ALL_ONES])
@pytest.mark.parametrize("connection", ["client", "stranger"])
def test_sizes_that_cannot_be_are_refused(
    daemon: Daemon, request: pytest.FixtureRequest, connection: str, size: int
) -> None:
    """Less than a header, or more than anything: no wait for the rest.

    As nobody knows where the next message begins, the connection may end, with or without an error before.
    """
    client: SpecClient = request.getfixturevalue(connection)
    # A busy server may see the last client off only now, and hang up on this one.
    with suppress(BrokenPipeError):
        client.send_bytes(spec.HEADER.pack(1, spec.VERSION, size, 0, 0))
    with pytest.raises((Refused, ConnectionError)) as refused:
        client.receive_reply(1, spec.VERSION)
    assert not isinstance(refused.value, Refused) or refused.value.errno == errno.EINVAL
    client.close()
    with daemon.open("dash") as following:
        assert_works(following)


def version_sent(client: SpecClient) -> None:
    """Propose a version, and do not wait."""
    client.send(spec.VERSION, spec.VERSION_NUMBERS.pack(0, 1))


def half_a_header(client: SpecClient) -> None:
    """Send some bytes."""
    client.send_bytes(b"\1\0\1")


def half_a_message(client: SpecClient) -> None:
    """Negotiate, and send less than was said."""
    client.negotiate()
    client.send_bytes(spec.HEADER.pack(1, spec.REGION_WRITE, 1000, 0, 0) + bytes(20))


def half_a_message_with_memory(client: SpecClient) -> None:
    """Negotiate, and send descriptors with less than was said."""
    client.negotiate()
    fd = make_memory()
    client.send_bytes(spec.HEADER.pack(1, spec.DMA_MAP, 48, 0, 0) + bytes(20), [fd])
    os.close(fd)


def answer_not_read(client: SpecClient) -> None:
    """Ask for descriptors, and do not take them."""
    client.negotiate()
    for region in range(9):
        client.send(spec.DEVICE_GET_REGION_INFO, spec.REGION_INFO.pack(4096, 0, region, 0, 0, 0))


def memory_announced(client: SpecClient) -> None:
    """Leave memory announced and a vector set."""
    client.negotiate()
    fd = make_memory()
    client.dma_map(DMA_ADDRESS, DMA_SIZE, fd)
    os.close(fd)
    fd = os.eventfd(0)
    client.set_irqs(ENABLE, MSIX, 0, 1, fds=[fd])
    os.close(fd)


def call_not_awaited(client: SpecClient) -> None:
    """Leave in the middle of a hypercall."""
    client.negotiate()
    slots = client.map(1)
    slots[0 : 256 * 32] = struct.pack("<I252x", VSPACE_NEW) * 32
    client.send(spec.REGION_WRITE, access(EXECUTE, 0, 4, struct.pack("<I", 32 << 16)))


def work_not_awaited(client: SpecClient) -> None:
    """Leave a channel, and work on it."""
    client.negotiate()
    driver = HandDriver(client)
    channel = driver.make_channel()
    by_register(driver, *driver.prepare(channel, 0, 1))


@pytest.mark.parametrize(
    "step",
    [
        SpecClient.close,
        half_a_header,
        version_sent,
        SpecClient.negotiate,
        half_a_message,
        half_a_message_with_memory,
        answer_not_read,
        memory_announced,
        call_not_awaited,
        work_not_awaited,
    ],
)
def test_client_that_dies_leaves_nothing(daemon: Daemon, step: Callable[[SpecClient], Any]) -> None:
    """Whatever a client was about to do: the VM opens again, with all its memory and no descriptor more."""
    with daemon.open("dash") as client:
        free = HandDriver(client).vram_free()

    def live_and_die() -> None:
        daemon.open("dash", step).close()
        with daemon.open("dash") as client:
            assert HandDriver(client).vram_free() == free

    # The daemon keeps some things from the first times that it needs them; a leak goes on after that.
    before = 0
    for _ in range(3):
        live_and_die()
        before = max(before, daemon.descriptors())
    for _ in range(5):
        live_and_die()
    assert eventually(lambda: daemon.descriptors() <= before)


def test_second_client_is_turned_away(daemon: Daemon, client: SpecClient) -> None:
    """A VM is one client's; the other is told, the first notices nothing, the VM is free afterwards."""
    driver = HandDriver(client)
    channel = driver.make_channel()
    for _ in range(3):
        # The specification leaves open how: an error (of any number), or the end of the connection.
        with pytest.raises((Refused, ConnectionError)), SpecClient(daemon.path("dash")) as second:
            second.negotiate()
    by_register(driver, *driver.prepare(channel, 0, 7))
    assert eventually(lambda: driver.semaphore(channel) == 7)
    client.close()
    with daemon.open("dash") as following:
        assert_work_is_done(following)


@pytest.mark.parametrize("said", [b"", b"\1\0\1", spec.HEADER.pack(1, spec.VERSION, 40, 0, 0)])
def test_silent_client_keeps_nobody_out(daemon: Daemon, stranger: SpecClient, said: bytes) -> None:
    """Who does not finish VERSION has no VM: others get theirs at once, and this one's before long."""
    stranger.send_bytes(said)
    with daemon.open("ivi") as other:
        assert_work_is_done(other)
    with daemon.open("dash") as client:
        assert_work_is_done(client)


def test_unfinished_message_stalls_no_other_vm(daemon: Daemon, client: SpecClient) -> None:
    """A client that stops in the middle of a message holds up its own VM only."""
    client.send_bytes(spec.HEADER.pack(1, spec.REGION_WRITE, 1000, 0, 0) + bytes(20))
    with daemon.open("ivi") as other:
        assert_work_is_done(other)


def test_replies_that_nobody_reads_stall_no_other_vm(daemon: Daemon, client: SpecClient) -> None:
    """A client that asks for more than its socket holds stalls itself, and can still be seen off."""
    for _ in range(64):
        client.send(spec.REGION_READ, access(0, 2, 1 << 20))
    with daemon.open("ivi") as other:
        assert_work_is_done(other)
    client.close()
    with daemon.open("dash") as following:
        assert_work_is_done(following)
