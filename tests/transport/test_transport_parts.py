import errno
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logv.errors import BusyError, ClosedError, NotSupportedError
from logv.hw import pci_regs as pci
from logv.hw import vfio_user as hw
from logv.memfd import sealed_memfd
from logv.transport import messages
from logv.transport.channel import DisconnectedError, MessageSocket
from logv.transport.client import Client
from logv.transport.config_space import Bar, ConfigSpace
from logv.transport.dma import MAX_DMA_MAPS, PAGE_SIZE, DmaTable
from logv.transport.interrupts import Relay, check_eventfd
from logv.transport.messages import ProtocolError
from logv.transport.session import check_capabilities

DEADLINE_S = 10


@pytest.fixture
def pair() -> Iterator[tuple[MessageSocket, socket.socket]]:
    """A message socket, and the raw socket at its other end."""
    ours, theirs = socket.socketpair()
    channel = MessageSocket(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def is_open(fd: int) -> bool:
    """Say whether a descriptor is open."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def readable(fd: int) -> bool:
    """Wait until a descriptor can be read; False when the deadline is over."""
    return bool(select.select([fd], [], [], DEADLINE_S)[0])


def test_a_message_may_come_in_pieces(pair: tuple[MessageSocket, socket.socket]) -> None:
    """A message is put together from whatever pieces the stream delivers."""
    channel, peer = pair
    message = messages.pack_command(7, hw.VFIO_USER_REGION_READ, b"payload")

    def dribble() -> None:
        for byte in message:
            peer.send(bytes([byte]))

    thread = threading.Thread(target=dribble)
    thread.start()
    header, payload, fds = channel.receive()
    thread.join()
    assert (header.message_id, header.command, payload, len(fds)) == (
        7,
        hw.VFIO_USER_REGION_READ,
        b"payload",
        0,
    )


def test_two_messages_do_not_mix(pair: tuple[MessageSocket, socket.socket]) -> None:
    """Messages that arrive together are received one by one, each with its own descriptors."""
    channel, peer = pair
    first, second = (messages.pack_command(number, 2, b"x" * number) for number in (1, 2))
    peer.sendall(first)
    fd = os.eventfd(0)
    socket.send_fds(peer, [second], [fd])
    os.close(fd)
    header, payload, fds = channel.receive()
    assert (header.message_id, payload, len(fds)) == (1, b"x", 0)
    header, payload, fds = channel.receive()
    assert (header.message_id, payload, len(fds)) == (2, b"xx", 1)
    received = fds.peek()
    assert fcntl.fcntl(received, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    fds.close()
    assert not is_open(received)


@pytest.mark.parametrize("size", [0, 15, messages.MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_an_impossible_size_closes_what_came(pair: tuple[MessageSocket, socket.socket], size: int) -> None:
    """A header with an impossible size is refused at once, and its descriptors are closed."""
    channel, peer = pair
    reader, writer = os.pipe()
    socket.send_fds(peer, [messages.HEADER.pack(1, 2, size, 0, 0)], [writer])
    os.close(writer)
    with pytest.raises(ProtocolError):
        channel.receive()
    # The last writer is gone: end of file.
    assert readable(reader)
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize("length", [0, 5, 16, 20])
def test_a_peer_that_goes_away(pair: tuple[MessageSocket, socket.socket], length: int) -> None:
    """A connection that ends, between messages or within one, is reported as such."""
    channel, peer = pair
    peer.sendall(messages.pack_command(1, 2, b"payload")[:length])
    peer.close()
    with pytest.raises(DisconnectedError):
        channel.receive()


def test_more_descriptors_than_a_message_may_have(pair: tuple[MessageSocket, socket.socket]) -> None:
    """Descriptors beyond the limit are cut off and reported."""
    channel, peer = pair
    fds = [os.eventfd(0) for _ in range(messages.MAX_FDS + 4)]
    socket.send_fds(peer, [messages.pack_command(1, 2, b"")], fds)
    _, _, received = channel.receive()
    with received:
        assert received.truncated
        assert len(received) <= messages.MAX_FDS + 1
    for fd in fds:
        os.close(fd)


@given(data=st.binary(max_size=64))
def test_capabilities_never_fail_otherwise(data: bytes) -> None:
    """Whatever version data a peer sends is understood or refused with EINVAL."""
    try:
        code = 0 if isinstance(check_capabilities(data), dict) else -1
    except ProtocolError as error:
        code = error.code
    assert code in (0, errno.EINVAL)


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"[]\0",
        b"{\0",
        b"\xff\0",
        b'{"capabilities": 1}\0',
        b'{"capabilities": {"max_msg_fds": "8"}}\0',
        b'{"capabilities": {"max_msg_fds": true}}\0',
        b'{"capabilities": {"max_data_xfer_size": -1}}\0',
        b"[" * 100_000 + b"\0",
    ],
)
def test_malformed_capabilities(text: bytes) -> None:
    """Version data that is no object of the right shape is refused."""
    with pytest.raises(ProtocolError):
        check_capabilities(text)


@given(
    number=st.integers(0, 4),
    exponent=st.integers(12, 31),
    wide=st.booleans(),
    writes=st.lists(st.tuples(st.integers(0, 255), st.binary(min_size=1, max_size=8)), max_size=20),
)
def test_config_space_model(number: int, exponent: int, wide: bool, writes: list[tuple[int, bytes]]) -> None:
    """Whatever is written, ids and capabilities stay, and a BAR says its size when all ones are written."""
    size = 1 << exponent
    space = ConfigSpace({number: Bar(size, wide=wide)}, msix_bar=0, msix_table=0x1000, msix_pba=0x1800)
    before = space.read(0, pci.PCI_CFG_SPACE_SIZE)
    for offset, data in writes:
        space.write(offset, data[: pci.PCI_CFG_SPACE_SIZE - offset])
    for start, end in ((0, 4), (6, 12), (14, 16), (0x28, 0x3C), (0x44, 256)):
        assert space.read(start, end - start) == before[start:end]
    bar = pci.PCI_BASE_ADDRESS_0 + 4 * number
    width = 8 if wide else 4
    space.write(bar, b"\xff" * width)
    said = int.from_bytes(space.read(bar, width), "little")
    assert -(said & ~0xF) % (1 << 8 * width) == size
    space.reset()
    assert space.read(0, pci.PCI_CFG_SPACE_SIZE) == before


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 7), st.integers(1, 4)), max_size=30))
def test_dma_table_model(steps: list[tuple[bool, int, int]]) -> None:
    """Regions never overlap, and only what was mapped can be unmapped: the same as a set of pages."""
    table = DmaTable()
    model: dict[int, set[int]] = {}
    for is_map, page, pages in steps:
        span = set(range(page, page + pages))
        if is_map:
            overlaps = any(span & other for other in model.values())
            if overlaps:
                with pytest.raises(ProtocolError) as caught:
                    table.map(3, 0, page * PAGE_SIZE, pages * PAGE_SIZE, None)
                assert caught.value.code == errno.EEXIST
            else:
                table.map(3, 0, page * PAGE_SIZE, pages * PAGE_SIZE, None)
                model[page] = span
        elif model.get(page) == span:
            assert table.unmap(0, page * PAGE_SIZE, pages * PAGE_SIZE) == pages * PAGE_SIZE
            del model[page]
        else:
            with pytest.raises(ProtocolError):
                table.unmap(0, page * PAGE_SIZE, pages * PAGE_SIZE)
        assert len(table) == len(model)


def test_dma_regions_are_bounded() -> None:
    """A client cannot fill the server with regions."""
    table = DmaTable()
    for page in range(MAX_DMA_MAPS):
        table.map(1, 0, page * PAGE_SIZE, PAGE_SIZE, None)
    with pytest.raises(ProtocolError) as caught:
        table.map(1, 0, MAX_DMA_MAPS * PAGE_SIZE, PAGE_SIZE, None)
    assert caught.value.code == errno.ENOSPC


def test_dma_files() -> None:
    """Only files that cannot shrink, and are as large as they have to be, are taken."""
    table = DmaTable()
    sealed = sealed_memfd("test", 2 * PAGE_SIZE)
    bare = os.memfd_create("test")
    os.ftruncate(bare, 2 * PAGE_SIZE)
    reader, writer = os.pipe()
    for fd, offset, size in ((bare, 0, 4096), (sealed, 0, 12288), (sealed, 8192, 4096), (reader, 0, 4096)):
        with pytest.raises(ProtocolError):
            table.map(3, offset, 0, size, fd)
    table.map(3, 4096, 0, 4096, sealed)
    for fd in (sealed, bare, reader, writer):
        os.close(fd)


def test_relay_passes_interrupts_on() -> None:
    """What the GPU signals arrives at the client's eventfd; what came before the client asked does not."""
    source, target = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0)
    os.eventfd_write(source, 5)
    relay = Relay(source, os.dup(target))
    os.eventfd_write(source, 1)
    assert readable(target)
    assert os.eventfd_read(target) == 1
    relay.trigger()
    assert readable(target)
    relay.close()
    os.close(source)
    os.close(target)


def test_a_client_that_fills_its_eventfd_blocks_nobody() -> None:
    """A full, blocking counter keeps neither the GPU nor the end of the connection waiting."""
    source, target = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0)
    os.eventfd_write(target, 2**64 - 2)
    relay = Relay(source, os.dup(target))
    for _ in range(3):
        os.eventfd_write(source, 1)
        os.set_blocking(target, True)
    relay.close()
    os.close(source)
    os.close(target)
    assert not any(thread.name == "logv-interrupts" for thread in threading.enumerate())


def test_only_eventfds_are_signalled() -> None:
    """A pipe, a memfd or a socket is no interrupt."""
    reader, writer = os.pipe()
    memory = os.memfd_create("test")
    for fd in (reader, writer, memory):
        with pytest.raises(ProtocolError):
            check_eventfd(fd)
        os.close(fd)
    fd = os.eventfd(0)
    check_eventfd(fd)
    os.close(fd)


class BadServer:
    """A server that answers every message with the same bytes."""

    def __init__(self, path: str, answer: bytes | None) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._answer = answer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                if self._answer is not None:
                    connection.sendall(self._answer)

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, BusyError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", NotSupportedError),
        (struct.pack("<HHIII", 9, 9, 16, 1, 0), NotSupportedError),
        (struct.pack("<HHIII", 1, 1, 16, 0x21, errno.EINVAL), NotSupportedError),
        (struct.pack("<HHIIIHH", 1, 1, 20, 1, 0, 5, 0), NotSupportedError),
    ],
)
def test_a_server_that_is_none(
    tmp_path_factory: pytest.TempPathFactory, answer: bytes | None, error: type
) -> None:
    """A client of something that is no vfio-user server gets an error, at once or after its patience."""
    path = str(tmp_path_factory.mktemp("s") / "x.sock")
    server = BadServer(path, answer)
    with pytest.raises(error):
        Client(path, timeout_s=0.1)
    server.close()


def test_nobody_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without a server, the error names the socket."""
    path = str(tmp_path_factory.mktemp("s") / "nobody.sock")
    with pytest.raises(ClosedError, match=r"nobody\.sock"):
        Client(path)
