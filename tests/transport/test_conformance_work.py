"""Hypercalls, submissions and interrupts by hand.

A running daemon against the vfio-user specification, through a client that shares no code with it. What is
refused is refused with EINVAL. Where the specification names another number, or leaves the number open, the
test says so.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.transport import spec_client as spec
from tests.transport.conformance import (
    ALL_ONES,
    ENABLE,
    MSIX,
    TRIGGER,
    ask_doorbell,
    assert_refused,
    assert_work_is_done,
    assert_works,
    by_register,
)
from tests.transport.daemon_rig import (
    CALLS,
    CHAN_FREE,
    DEADLINE_S,
    DOORBELL_IRQ_SEQUENCE,
    DOORBELL_IRQ_WAITERS,
    HYPERCALLS,
    ID,
    INVALID_HANDLE,
    PAGE,
    REGISTER_VERSION,
    RESET,
    SYSTEM,
    VRAM,
    Daemon,
    HandDriver,
    eventually,
)
from tests.transport.spec_client import Refused, SpecClient


def test_hypercalls_by_hand(client: SpecClient) -> None:
    """A run of slots is one hypercall, and makes a channel that the VM did not have."""
    driver = HandDriver(client)
    assert driver.register(ID) == int.from_bytes(b"LoGV", "little")
    assert driver.register(REGISTER_VERSION) == 1
    hypercalls, calls = driver.register(HYPERCALLS), driver.register(CALLS)
    channel = driver.make_channel()
    assert channel.page >= 1
    assert driver.register(HYPERCALLS) == hypercalls + 1
    assert driver.register(CALLS) == calls + 6


def by_ioeventfd(driver: HandDriver, offset: int, value: bytes) -> None:
    """Write GP_PUT through the mapping, and ring through the ioeventfd."""
    fds: list[int] = []
    ask_doorbell(driver.client, keep=fds)
    driver.userd[offset : offset + 4] = value
    os.eventfd_write(fds[0], 1)
    spec.close_all(fds)


def by_message(driver: HandDriver, offset: int, value: bytes) -> None:
    """Write GP_PUT itself by message."""
    driver.client.write(3, offset, value)


@pytest.mark.parametrize("domain", [VRAM, SYSTEM], ids=["vram", "system"])
@pytest.mark.parametrize("submit", [by_ioeventfd, by_register, by_message])
def test_work_submitted_by_hand_raises_an_interrupt(
    client: SpecClient, event: int, domain: int, submit: Callable[[HandDriver, int, bytes], None]
) -> None:
    """Every way to ring wakes the engine, which writes the semaphore and signals the vector's eventfd."""
    driver = HandDriver(client)
    channel = driver.make_channel(domain)
    client.set_irqs(ENABLE, MSIX, 0, 1, fds=[event])
    driver.userd[DOORBELL_IRQ_WAITERS : DOORBELL_IRQ_WAITERS + 4] = b"\1\0\0\0"
    for number in range(2):
        assert eventually(driver.sleeps)
        interrupts = driver.word(DOORBELL_IRQ_SEQUENCE)
        submit(driver, *driver.prepare(channel, number, 0x1_2345_6789 + number))
        assert is_signalled(event)
        # The interrupt follows the release, so whoever saw the one sees the other.
        assert driver.semaphore(channel) == 0x1_2345_6789 + number
        assert driver.word(DOORBELL_IRQ_SEQUENCE) != interrupts


def is_signalled(event: int, timeout_s: float = DEADLINE_S) -> bool:
    """Wait for an eventfd, and take what it has counted."""
    ready, _, _ = select.select([event], [], [], timeout_s)
    return bool(ready) and os.eventfd_read(event) > 0


def test_reset_takes_everything_back(client: SpecClient) -> None:
    """Memory and handles are gone after either reset; the counters go on, and channels can be made anew."""
    driver = HandDriver(client)
    free = driver.vram_free()
    resets: list[Callable[[], None]] = [
        client.reset,
        lambda: driver.write_register(RESET, int.from_bytes(b"rset", "little")),
    ]
    for reset in resets:
        channel = driver.make_channel()
        assert driver.vram_free() < free
        hypercalls, calls = driver.register(HYPERCALLS), driver.register(CALLS)
        reset()
        assert (driver.register(HYPERCALLS), driver.register(CALLS)) == (hypercalls, calls)
        assert driver.vram_free() == free
        assert driver.run((CHAN_FREE, channel.handle))[0][0] == INVALID_HANDLE
    driver.make_channel()


def test_client_triggers_its_own_vector(client: SpecClient, event: int) -> None:
    """A trigger without data, or with a true boolean, signals the eventfd; a false one does not."""
    client.set_irqs(ENABLE, MSIX, 0, 1, fds=[event])
    client.set_irqs(TRIGGER, MSIX, 0, 1)
    assert is_signalled(event)
    client.set_irqs(spec.IRQ_DATA_BOOL | spec.IRQ_TRIGGER, MSIX, 0, 1, b"\0")
    assert not is_signalled(event, 0)
    client.set_irqs(spec.IRQ_DATA_BOOL | spec.IRQ_TRIGGER, MSIX, 0, 1, b"\1")
    assert is_signalled(event)


def test_vector_is_given_another_eventfd_and_none(client: SpecClient, event: int) -> None:
    """The last eventfd counts; no descriptor, or a count of 0 without data, takes it back."""
    other = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    client.set_irqs(ENABLE, MSIX, 0, 1, fds=[event])
    client.set_irqs(ENABLE, MSIX, 0, 1, fds=[other])
    client.set_irqs(TRIGGER, MSIX, 0, 1)
    assert (is_signalled(other), is_signalled(event, 0)) == (True, False)
    client.set_irqs(ENABLE, MSIX, 0, 1)
    client.set_irqs(TRIGGER, MSIX, 0, 1)
    assert not is_signalled(other, 0)
    client.set_irqs(ENABLE, MSIX, 0, 1, fds=[other])
    client.set_irqs(TRIGGER, MSIX, 0, 0)
    client.set_irqs(TRIGGER, MSIX, 0, 1)
    assert not is_signalled(other, 0)
    os.close(other)


@pytest.mark.parametrize(
    ("flags", "index", "start", "count", "data", "fds"),
    [
        (TRIGGER, 5, 0, 0, b"", 0),
        (TRIGGER, ALL_ONES, 0, 0, b"", 0),
        (TRIGGER, MSIX, 1, 1, b"", 0),
        (TRIGGER, MSIX, 0, 2, b"", 0),
        (TRIGGER, MSIX, ALL_ONES, 1, b"", 0),
        (TRIGGER, MSIX, ALL_ONES, ALL_ONES, b"", 0),
        (TRIGGER, MSIX, 0, ALL_ONES, b"", 0),
        (TRIGGER, MSIX, 2, 0, b"", 0),
        (TRIGGER, 0, 0, 1, b"", 0),
        (ENABLE, 1, 0, 1, b"", 1),
        (0, MSIX, 0, 1, b"", 0),
        (spec.IRQ_DATA_NONE, MSIX, 0, 1, b"", 0),
        (spec.IRQ_TRIGGER, MSIX, 0, 1, b"", 0),
        (TRIGGER | spec.IRQ_DATA_BOOL, MSIX, 0, 1, b"\1", 0),
        (TRIGGER | spec.IRQ_DATA_EVENTFD, MSIX, 0, 1, b"", 1),
        (TRIGGER | spec.IRQ_MASK, MSIX, 0, 1, b"", 0),
        (spec.IRQ_DATA_NONE | spec.IRQ_MASK | spec.IRQ_UNMASK, MSIX, 0, 1, b"", 0),
        (TRIGGER | 1 << 6, MSIX, 0, 1, b"", 0),
        (TRIGGER | 1 << 31, MSIX, 0, 1, b"", 0),
        (spec.IRQ_DATA_BOOL | spec.IRQ_TRIGGER, MSIX, 0, 1, b"", 0),
        (spec.IRQ_DATA_BOOL | spec.IRQ_TRIGGER, MSIX, 0, 1, b"\1\1", 0),
        (spec.IRQ_DATA_BOOL | spec.IRQ_TRIGGER, MSIX, 0, 1, b"\1", 1),
        (TRIGGER, MSIX, 0, 1, b"", 1),
        (TRIGGER, MSIX, 0, 1, b"\1", 0),
        (ENABLE, MSIX, 0, 1, b"", 2),
        (ENABLE, MSIX, 0, 2, b"", 1),
        (ENABLE, MSIX, 0, 0, b"", 1),
    ],
)
def test_impossible_interrupts_are_refused(
    client: SpecClient, event: int, flags: int, index: int, start: int, count: int, data: bytes, fds: int
) -> None:
    """Types, ranges, flags, data and descriptors that do not fit together; the eventfd set before stays."""
    client.set_irqs(ENABLE, MSIX, 0, 1, fds=[event])
    head = spec.IRQ_SET.pack(spec.IRQ_SET.size + len(data), flags, index, start, count)
    assert_refused(client, spec.DEVICE_SET_IRQS, head + data, [event] * fds)
    assert not is_signalled(event, 0)
    client.set_irqs(TRIGGER, MSIX, 0, 1)
    assert is_signalled(event)


@pytest.mark.parametrize("flags", [spec.IRQ_DATA_BOOL | spec.IRQ_TRIGGER, ENABLE])
def test_no_vectors_are_no_change(client: SpecClient, event: int, flags: int) -> None:
    """A count of 0 means all vectors only without data. Whether it is an error with data is open."""
    client.set_irqs(ENABLE, MSIX, 0, 1, fds=[event])
    with suppress(Refused):
        client.set_irqs(flags, MSIX, 0, 0)
    client.set_irqs(TRIGGER, MSIX, 0, 1)
    assert is_signalled(event)


@pytest.mark.parametrize("kind", ["eventfd", "pipe"])
def test_descriptor_that_takes_no_more_stalls_nobody(daemon: Daemon, client: SpecClient, kind: str) -> None:
    """A client can fill what it gave as eventfd; a server that waited for room would wait for ever.

    Whether a descriptor that is no eventfd is an error is open.
    """
    if kind == "eventfd":
        fds = [os.eventfd(0, os.EFD_CLOEXEC)]
        os.eventfd_write(fds[0], 0xFFFFFFFFFFFFFFFE)
    else:
        fds = list(os.pipe())
        os.set_blocking(fds[1], False)
        with suppress(BlockingIOError):
            while True:
                os.write(fds[1], bytes(PAGE))
        os.set_blocking(fds[1], True)
    driver = HandDriver(client)
    driver.userd[DOORBELL_IRQ_WAITERS : DOORBELL_IRQ_WAITERS + 4] = b"\1\0\0\0"
    channel = driver.make_channel()
    with suppress(Refused):
        client.set_irqs(ENABLE, MSIX, 0, 1, fds=fds[-1:])
    for number in range(3):
        client.set_irqs(TRIGGER, MSIX, 0, 1)
        by_register(driver, *driver.prepare(channel, number, number + 1))
    assert eventually(lambda: driver.semaphore(channel) == 3)
    with daemon.open("ivi") as other:
        assert_work_is_done(other)
    assert_works(client)
    spec.close_all(fds)
