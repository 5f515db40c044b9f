"""A small vfio-user client, written from the specification and from nothing else.

It shares no code with the server that it is pointed at, so a mistake made on both sides of the library's own
client and server shows here. Source: QEMU, docs/interop/vfio-user.rst; structures of <linux/vfio.h>.
"""

import json
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
DEVICE_GET_INFO = 4
DEVICE_GET_REGION_INFO = 5
DEVICE_GET_REGION_IO_FDS = 6
DEVICE_GET_IRQ_INFO = 7
DEVICE_SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10
DEVICE_RESET = 13
REGION_WRITE_MULTI = 15

HEADER = struct.Struct("<HHIII")  # id, command, size with this header, flags, error
TYPE_REPLY = 1
TYPE_MASK = 0xF
NO_REPLY = 1 << 4
ERROR = 1 << 5

VERSION_NUMBERS = struct.Struct("<HH")  # major, minor; the JSON follows
INFO = struct.Struct("<IIII")  # argsz, flags, then two of: regions and irqs, or index and count
REGION_INFO = struct.Struct("<IIIIQQ")  # argsz, flags, index, capability offset, size, offset
CAPABILITY = struct.Struct("<HHI")  # id, version, offset of the next
CAPABILITY_SPARSE_MMAP = 1
SPARSE_COUNT = struct.Struct("<II")  # areas, reserved
SPARSE_AREA = struct.Struct("<QQ")  # offset, size
IO_FD = struct.Struct("<QQIIIIQ")  # offset, size, descriptor's index, type, flags, padding, datamatch
IRQ_SET = struct.Struct("<IIIII")  # argsz, flags, index, start, count; the data follow
DMA_MAP_REQUEST = struct.Struct("<IIQQQ")  # argsz, flags, offset, address, size
DMA_UNMAP_REQUEST = struct.Struct("<IIQQ")  # argsz, flags, address, size
ACCESS = struct.Struct("<QII")  # offset, region, count; the data follow

REGION_FLAG_READ = 1
REGION_FLAG_WRITE = 2
REGION_FLAG_MMAP = 4
REGION_FLAG_CAPS = 8

IRQ_DATA_NONE = 1
IRQ_DATA_BOOL = 2
IRQ_DATA_EVENTFD = 4
IRQ_MASK = 8
IRQ_UNMASK = 16
IRQ_TRIGGER = 32

PROPOSED: dict[str, Any] = {
    "max_msg_fds": 8,
    "max_data_xfer_size": 1 << 20,
    "max_dma_maps": 65535,
    "pgsizes": 4096,
    "write_multiple": True,
}
_MOST_FDS = 64


class Refused(Exception):  # noqa: N818 - a reply, not a fault of the client
    """The server answered with the error flag.

    Attributes
    ----------
    errno : int
    """

    def __init__(self, errno: int) -> None:
        super().__init__(f"refused: {os.strerror(errno)} ({errno})")
        self.errno = errno


class Message(NamedTuple):
    """One message as it was received; whoever receives it closes `fds`."""

    id: int
    command: int
    flags: int
    error: int
    payload: bytes
    fds: list[int]


class RegionInfo(NamedTuple):
    """A reply to DEVICE_GET_REGION_INFO: its fixed part, the areas to map, the descriptors."""

    argsz: int
    flags: int
    cap_offset: int
    size: int
    offset: int
    areas: list[tuple[int, int]]
    fds: list[int]


class SpecClient:
    """One connection. Nothing is sent before it is asked for, not even VERSION.

    Parameters
    ----------
    path : Path
        The server's socket.
    timeout_s : float
        How long to wait for any reply before TimeoutError.

    Attributes
    ----------
    version : tuple of int
        Major and minor that were negotiated.
    offered : dict
        The server's capabilities.
    """

    def __init__(self, path: Path, *, timeout_s: float = 20.0) -> None:
        self._next_id = 1
        self.version = (0, 0)
        self.offered: dict[str, Any] = {}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.settimeout(timeout_s)
            self.socket.connect(str(path))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, as the client's death would."""
        self.socket.close()

    def send(
        self, command: int, payload: bytes = b"", fds: Sequence[int] = (), *, flags: int = 0, id: int = 0
    ) -> int:
        """Send one message; return its id."""
        if not id:
            id = self._next_id
            self._next_id = id % 0xFFFF + 1
        self.send_bytes(HEADER.pack(id, command, HEADER.size + len(payload), flags, 0) + payload, fds)
        return id

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send bytes of any meaning, the descriptors with the first of them."""
        sent = socket.send_fds(self.socket, [data], list(fds))
        self.socket.sendall(data[sent:])

    def receive(self) -> Message:
        """Return the next message; raise ConnectionError if the server has closed the connection."""
        fds: list[int] = []
        try:
            id, command, size, flags, error = HEADER.unpack(self._read(HEADER.size, fds))
            payload = self._read(size - HEADER.size, fds)
        except BaseException:
            close_all(fds)
            raise
        return Message(id, command, flags, error, payload, fds)

    def _read(self, size: int, fds: list[int]) -> bytes:
        data = b""
        while len(data) < size:
            part, received, _, _ = socket.recv_fds(
                self.socket, size - len(data), _MOST_FDS, socket.MSG_CMSG_CLOEXEC
            )
            fds += received
            if not part:
                raise ConnectionResetError("the server has closed the connection")
            data += part
        return data

    def receive_reply(self, id: int, command: int) -> tuple[bytes, list[int]]:
        """Return payload and descriptors of the reply to one command; raise Refused if it is an error."""
        reply = self.receive()
        if reply.flags & ERROR:
            close_all(reply.fds)
        assert (reply.id, reply.command) == (id, command)
        assert reply.flags & TYPE_MASK == TYPE_REPLY
        if reply.flags & ERROR:
            assert not reply.payload, "an error's reply is a header only"
            assert not reply.fds
            raise Refused(reply.error)
        return reply.payload, reply.fds

    def call(self, command: int, payload: bytes = b"", fds: Sequence[int] = ()) -> tuple[bytes, list[int]]:
        """Send a command and return what its reply carries."""
        return self.receive_reply(self.send(command, payload, fds), command)

    def ask(self, command: int, payload: bytes = b"", fds: Sequence[int] = ()) -> bytes:
        """Send a command whose reply brings no descriptors; return its payload."""
        reply, received = self.call(command, payload, fds)
        close_all(received)
        assert not received
        return reply

    def negotiate(self) -> None:
        """Propose version 0.1 with all capabilities, and remember what the server offers."""
        proposal = json.dumps({"capabilities": PROPOSED}).encode() + b"\0"
        reply = self.ask(VERSION, VERSION_NUMBERS.pack(0, 1) + proposal)
        major, minor = VERSION_NUMBERS.unpack_from(reply)
        self.version = major, minor
        data = reply[VERSION_NUMBERS.size :]
        if data:
            assert data.endswith(b"\0")
            self.offered = json.loads(data[:-1]).get("capabilities", {})

    def device_info(self) -> tuple[int, int, int, int]:
        """Return argsz, flags, number of regions, number of interrupt types."""
        return _four(self.ask(DEVICE_GET_INFO, INFO.pack(INFO.size, 0, 0, 0)))

    def irq_info(self, index: int) -> tuple[int, int, int, int]:
        """Return argsz, flags, index, number of interrupts of that type."""
        return _four(self.ask(DEVICE_GET_IRQ_INFO, INFO.pack(INFO.size, 0, index, 0)))

    def region_info(self, index: int, argsz: int = 4096) -> RegionInfo:
        """Ask about a region; its descriptors are the caller's to close."""
        payload, fds = self.call(DEVICE_GET_REGION_INFO, REGION_INFO.pack(argsz, 0, index, 0, 0, 0))
        needed, flags, replied, cap_offset, size, base = REGION_INFO.unpack_from(payload)
        assert replied == index
        areas: list[tuple[int, int]] = []
        offset = cap_offset
        while offset:
            number, version, following = CAPABILITY.unpack_from(payload, offset)
            if number == CAPABILITY_SPARSE_MMAP and version == 1:
                (count, _) = SPARSE_COUNT.unpack_from(payload, offset + CAPABILITY.size)
                start = offset + CAPABILITY.size + SPARSE_COUNT.size
                areas += SPARSE_AREA.iter_unpack(payload[start : start + count * SPARSE_AREA.size])
            assert following == 0 or following > offset, "capabilities go in a circle"
            offset = following
        return RegionInfo(needed, flags, cap_offset, size, base, areas, fds)

    def map(self, index: int) -> mmap.mmap:
        """Map a region, or its first area."""
        info = self.region_info(index)
        try:
            offset, size = info.areas[0] if info.areas else (0, info.size)
            return mmap.mmap(info.fds[0], size, offset=info.offset + offset)
        finally:
            close_all(info.fds)

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Read `count` bytes of a region by message."""
        reply = self.ask(REGION_READ, ACCESS.pack(offset, region, count))
        assert ACCESS.unpack_from(reply) == (offset, region, count)
        assert len(reply) == ACCESS.size + count
        return reply[ACCESS.size :]

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Write bytes of a region by message."""
        reply = self.ask(REGION_WRITE, ACCESS.pack(offset, region, len(data)) + data)
        assert reply == ACCESS.pack(offset, region, len(data))

    def set_irqs(
        self, flags: int, index: int, start: int, count: int, data: bytes = b"", fds: Sequence[int] = ()
    ) -> None:
        """Set what interrupts of one type do."""
        head = IRQ_SET.pack(IRQ_SET.size + len(data), flags, index, start, count)
        assert not self.ask(DEVICE_SET_IRQS, head + data, fds)

    def dma_map(self, address: int, size: int, fd: int | None, *, offset: int = 0, flags: int = 3) -> None:
        """Announce memory of the client's own."""
        request = DMA_MAP_REQUEST.pack(DMA_MAP_REQUEST.size, flags, offset, address, size)
        assert not self.ask(DMA_MAP, request, () if fd is None else [fd])

    def dma_unmap(self, address: int, size: int, *, flags: int = 0) -> None:
        """Take memory back; the reply repeats the request."""
        request = DMA_UNMAP_REQUEST.pack(DMA_UNMAP_REQUEST.size, flags, address, size)
        reply = self.ask(DMA_UNMAP, request)
        # Flags are VFIO's, where the reply to "all" says how many bytes that was.
        assert reply == request or flags
        assert len(reply) == len(request)

    def reset(self) -> None:
        """Reset the device."""
        assert not self.ask(DEVICE_RESET)


def close_all(fds: Sequence[int]) -> None:
    """Close every descriptor of a message."""
    for fd in fds:
        os.close(fd)


def _four(payload: bytes) -> tuple[int, int, int, int]:
    """Return a payload of four words, and of no byte more."""
    first, second, third, fourth = INFO.unpack(payload)
    return first, second, third, fourth
