"""What the conformance tests share: numbers, and what is asserted of every refusal."""

import errno
import fcntl
import os
import select
from collections.abc import Collection, Sequence

import pytest
from tests.transport import spec_client as spec
from tests.transport.daemon_rig import (
    DOORBELL,
    Daemon,
    HandDriver,
    eventually,
)
from tests.transport.spec_client import Refused, SpecClient

EINVAL = {errno.EINVAL}
ALL_ONES = 0xFFFFFFFF
MSIX = 2
ENABLE = spec.IRQ_DATA_EVENTFD | spec.IRQ_TRIGGER
TRIGGER = spec.IRQ_DATA_NONE | spec.IRQ_TRIGGER

DMA_ADDRESS = 0x10_0000
DMA_SIZE = 0x4000


def assert_let_in(client: SpecClient) -> None:
    """Raise ConnectionResetError if the server hangs up at once, as it does while it sees another one off."""
    hung_up, _, _ = select.select([client.socket], [], [], 0.2)
    if hung_up:
        raise ConnectionResetError


def make_memory(*, sealed: bool = True) -> int:
    """Return a memfd of DMA_SIZE bytes."""
    fd = os.memfd_create("client", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(fd, DMA_SIZE)
    if sealed:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def assert_refused(
    client: SpecClient,
    command: int,
    payload: bytes = b"",
    fds: Sequence[int] = (),
    *,
    errors: Collection[int] = EINVAL,
) -> None:
    """Send what must be answered with an error, and check that the connection goes on."""
    with pytest.raises(Refused) as refused:
        client.call(command, payload, fds)
    assert refused.value.errno in errors
    assert_works(client)


def assert_works(client: SpecClient) -> None:
    """Check that the connection is in step."""
    assert client.device_info()[2:] == (9, 5)


def assert_greeting_is_refused(daemon: Daemon, command: int, payload: bytes) -> None:
    """Send a first message that must be answered with EINVAL, and check that the VM can be had afterwards.

    The specification lets a server close the connection as well; this one says why first.
    """

    def greet(client: SpecClient) -> None:
        client.send(command, payload, id=1)
        with pytest.raises(Refused) as refused:
            client.receive_reply(1, command)
        assert refused.value.errno == errno.EINVAL

    daemon.open("dash", greet).close()
    with daemon.open("dash") as client:
        assert_works(client)


def access(offset: int, region: int, count: int, data: bytes = b"") -> bytes:
    """Return the payload of a REGION_READ or REGION_WRITE."""
    return spec.ACCESS.pack(offset, region, count) + data


def ask_doorbell(client: SpecClient, *, keep: list[int] | None = None) -> tuple[int, ...]:
    """Return region 0's one sub-region; its descriptor is closed, or put into `keep`."""
    reply, fds = client.call(spec.DEVICE_GET_REGION_IO_FDS, spec.INFO.pack(4096, 0, 0, 0))
    if keep is None:
        spec.close_all(fds)
    else:
        keep += fds
    assert len(fds) == 1
    assert spec.INFO.unpack_from(reply) == (spec.INFO.size + spec.IO_FD.size, 0, 0, 1)
    return spec.IO_FD.unpack(reply[spec.INFO.size :])


def assert_work_is_done(client: SpecClient) -> None:
    """Check that a VM's way to the GPU and back is open."""
    driver = HandDriver(client)
    channel = driver.make_channel()
    by_register(driver, *driver.prepare(channel, 0, 7))
    assert eventually(lambda: driver.semaphore(channel) == 7)


def by_register(driver: HandDriver, offset: int, value: bytes) -> None:
    """Write GP_PUT through the mapping, and ring by a message to DOORBELL."""
    driver.userd[offset : offset + 4] = value
    driver.write_register(DOORBELL, 1)
