"""A running daemon against the vfio-user specification, through a client that shares no code with it.

What is refused is refused with EINVAL. Where the specification names another number, or leaves the number
open, the test says so.
"""

import errno
import fcntl
import json
import mmap
import os
import select
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from tests.transport import spec_client as spec
from tests.transport.daemon_rig import (
    CALLS,
    CHAN_FREE,
    DEADLINE_S,
    DOORBELL,
    DOORBELL_IRQ_SEQUENCE,
    DOORBELL_IRQ_WAITERS,
    EXECUTE,
    HYPERCALLS,
    ID,
    INVALID_HANDLE,
    PAGE,
    REGISTER_VERSION,
    RESET,
    SYSTEM,
    VRAM,
    VSPACE_NEW,
    Daemon,
    HandDriver,
    eventually,
    serving,
)
from tests.transport.spec_client import Refused, SpecClient

EINVAL = {errno.EINVAL}
ALL_ONES = 0xFFFFFFFF
MSIX = 2
ENABLE = spec.IRQ_DATA_EVENTFD | spec.IRQ_TRIGGER
TRIGGER = spec.IRQ_DATA_NONE | spec.IRQ_TRIGGER

DMA_ADDRESS = 0x10_0000
DMA_SIZE = 0x4000


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One daemon for all tests. BAR2 of `ivi` is larger than what is behind it."""
    with serving("dash:32MiB", "ivi:24MiB") as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[SpecClient]:
    """A client of `dash` that has negotiated."""
    with daemon.open("dash") as connected:
        yield connected


@pytest.fixture
def stranger(daemon: Daemon) -> Iterator[SpecClient]:
    """A client of `dash` that has said nothing yet; the VM is in nobody else's hands."""
    with daemon.open("dash", assert_let_in) as connected:
        yield connected


def assert_let_in(client: SpecClient) -> None:
    """Raise ConnectionResetError if the server hangs up at once, as it does while it sees another one off."""
    hung_up, _, _ = select.select([client.socket], [], [], 0.2)
    if hung_up:
        raise ConnectionResetError


@pytest.fixture
def event() -> Iterator[int]:
    """An eventfd."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.fixture
def memory() -> Iterator[int]:
    """A memfd that cannot change its size."""
    fd = make_memory()
    yield fd
    os.close(fd)


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


# ------------------------------------------------------------------------------------------- negotiation


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


# ------------------------------------------------------------------------------------------- information


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


def test_interrupts_are_one_msix_vector(client: SpecClient) -> None:
    """MSI-X has one vector that signals an eventfd; the other types have none."""
    infos = [client.irq_info(index) for index in range(5)]
    assert [(argsz, index, count) for argsz, _, index, count in infos] == [
        (16, index, int(index == MSIX)) for index in range(5)
    ]
    assert infos[MSIX][1] & 1


# ----------------------------------------------------------------------------------- configuration space


def config(client: SpecClient, offset: int, size: int = 4) -> int:
    """Read a register of the configuration space."""
    return int.from_bytes(client.read(7, offset, size), "little")


def set_config(client: SpecClient, offset: int, value: int, size: int = 4) -> int:
    """Write a register of the configuration space; return what it then reads as."""
    client.write(7, offset, value.to_bytes(size, "little"))
    return config(client, offset, size)


def test_configuration_space_has_a_type_0_header(client: SpecClient) -> None:
    """Identity is there, and cannot be written; all of the space reads at once as it does piece by piece."""
    header = client.read(7, 0, 256)
    assert 0 < config(client, 0x00, 2) < 0xFFFF
    assert 0 < config(client, 0x02, 2) < 0xFFFF
    assert header[0x0E] & 0x7F == 0
    assert b"".join(client.read(7, offset, 4) for offset in range(0, 256, 4)) == header
    for offset in (0x00, 0x08, 0x2C):
        assert set_config(client, offset, ALL_ONES) == int.from_bytes(header[offset : offset + 4], "little")


def test_bars_tell_their_sizes(client: SpecClient) -> None:
    """After all ones, a BAR reads as its size; BAR4 is the one with 64 bits."""
    wide = False
    for bar in range(6):
        at = 0x10 + 4 * bar
        info = client.region_info(bar)
        spec.close_all(info.fds)
        if wide:
            # The upper half of the one before.
            assert info.size == 0
            wide = False
            continue
        kind = config(client, at) & 0xF
        wide = kind & 0x6 == 0x4
        assert wide == (bar == 4)
        mask = set_config(client, at, ALL_ONES)
        if not info.size:
            assert mask == 0
            continue
        assert mask & 0xF == kind
        assert not kind & 1
        mask &= ~0xF
        mask |= set_config(client, at + 4, ALL_ONES) << 32 if wide else ALL_ONES << 32
        assert (~mask & 0xFFFFFFFFFFFFFFFF) + 1 == info.size
        address = 0xE000_0000 & ~(info.size - 1)
        assert set_config(client, at, address | 0xF) & ~0xF == address
        set_config(client, at, 0)
        if wide:
            set_config(client, at + 4, 0)


def test_command_register_keeps_what_it_may(client: SpecClient) -> None:
    """Memory space, bus mastering and the interrupt's disable bit can be set; reserved bits cannot."""
    assert set_config(client, 0x04, 0x0406, 2) & 0x0406 == 0x0406
    assert set_config(client, 0x04, 0xFFFF, 2) & 0xF800 == 0
    assert set_config(client, 0x04, 0x0000, 2) & 0x0406 == 0


def test_msix_capability_points_into_bar0(client: SpecClient) -> None:
    """The capability list leads to MSI-X: one vector, its table and its pending bits in BAR0."""
    assert config(client, 0x06, 2) & 0x10
    at = config(client, 0x34, 1)
    found: dict[int, int] = {}
    while at:
        assert at >= 0x40
        assert at % 4 == 0
        assert at not in found.values(), "the list goes in a circle"
        found[config(client, at, 1)] = at
        at = config(client, at + 1, 1)
    at = found[0x11]
    assert config(client, at + 2, 2) & 0x7FF == 0
    assert config(client, at + 4) == 0x1000
    assert config(client, at + 8) == 0x1800
    assert set_config(client, at + 2, 0xC000, 2) & 0xC7FF == 0xC000
    assert set_config(client, at + 2, 0x0000, 2) & 0xC7FF == 0x0000


def test_msix_table_holds_a_vector(client: SpecClient) -> None:
    """The one entry keeps what is written, and nothing is pending."""
    entry = struct.pack("<IIII", 0xFEE0_0000, 0, 0x41, 1)
    client.write(0, 0x1000, entry)
    assert client.read(0, 0x1000, 16) == entry
    assert client.read(0, 0x1800, 8) == bytes(8)


# --------------------------------------------------------------------------------- hypercalls and engine


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


def by_register(driver: HandDriver, offset: int, value: bytes) -> None:
    """Write GP_PUT through the mapping, and ring by a message to DOORBELL."""
    driver.userd[offset : offset + 4] = value
    driver.write_register(DOORBELL, 1)


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


def assert_work_is_done(client: SpecClient) -> None:
    """Check that a VM's way to the GPU and back is open."""
    driver = HandDriver(client)
    channel = driver.make_channel()
    by_register(driver, *driver.prepare(channel, 0, 7))
    assert eventually(lambda: driver.semaphore(channel) == 7)


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


# -------------------------------------------------------------------------------------------- interrupts


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


# --------------------------------------------------------------------------------------------------- DMA


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


# ---------------------------------------------------------------------------------------------- refusals


def access(offset: int, region: int, count: int, data: bytes = b"") -> bytes:
    """Return the payload of a REGION_READ or REGION_WRITE."""
    return spec.ACCESS.pack(offset, region, count) + data


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


# ----------------------------------------------------------------------------------------------- framing


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


# ----------------------------------------------------------------------------------------------- clients


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
