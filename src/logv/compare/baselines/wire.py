"""What crosses between a remote client and its server: one request and one reply for each call.

    request  64 bytes: call, device, bytes of data, six arguments; then the data
    reply    24 bytes: status, bytes of data, result; then the data

Data are the bytes of a copy, the text of a kernel, the geometry and packed arguments of a launch, or
what an error says. They are sent from where they lie and received where they belong. A copy to the
host is replied in parts, each with a header of its own, so that an error half-way can be told.
"""

import socket
import struct
from enum import IntEnum, unique

from logv.errors import ChannelError, ClosedError, GpuFaultError, LogvError, Status, raise_for_status
from logv.hw.software_gpu import MAX_PARAMETER_BYTES, MAX_PROGRAM_BYTES

Bytes = bytes | bytearray | memoryview

ARGUMENTS = 6
REQUEST = struct.Struct(f"<IIQ{ARGUMENTS}Q")
REPLY = struct.Struct("<I4xQQ")
GEOMETRY = struct.Struct("<7I")
"""Grid, block, bytes of dynamic shared memory; in front of a launch's packed arguments."""

MAX_LAUNCH_BYTES = GEOMETRY.size + MAX_PARAMETER_BYTES
MAX_TEXT_BYTES = MAX_PROGRAM_BYTES
"""Bounds what a client can make the server store at a time."""
MAX_ERROR_BYTES = 4096

_ERROR = struct.Struct("<QQ")  # channel, address
_WASTE_BYTES = 64 << 10
_SOCKET_BUFFER = 1 << 20  # the host cuts it to net.core.wmem_max


@unique
class Call(IntEnum):
    """Calls; behind each its arguments, and its result."""

    # An enum hashes its name in Python code; these are keys on the way of every call.
    __hash__ = int.__hash__

    OPEN = 1
    """none; device."""
    CLOSE = 2
    """none; none."""
    GET_PARAM = 3
    """param; value."""
    ALLOCATE = 4
    """size, domain; address."""
    FREE = 5
    """address; none."""
    STREAM_NEW = 6
    """none; stream."""
    STREAM_CLOSE = 7
    """stream; none."""
    STREAM_SYNC = 8
    """stream; none."""
    STREAM_POLL = 9
    """stream; whether all is done."""
    SYNC = 10
    """none; none."""
    COPY_IN = 11
    """stream, target; none. Data: the bytes."""
    COPY_OUT = 12
    """stream, source, size; the bytes, in parts."""
    COPY = 13
    """stream, target, source, size; none."""
    LOAD = 14
    """none; kernel. Data: the kernel's image."""
    LAUNCH = 15
    """stream, kernel; none. Data: geometry, packed arguments."""


@unique
class ErrorKind(IntEnum):
    """Statuses of a reply that ``errors.Status`` has no number for, because no hypercall returns them."""

    CHANNEL = 0x100
    GPU_FAULT = 0x101


class DisconnectedError(ClosedError):
    """The other side of a connection is gone."""


def widen(connection: socket.socket) -> None:
    """Give a socket room for large data."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)


def send(connection: socket.socket, header: bytes, data: Bytes = b"") -> None:
    """Send a header and its data, with one system call if the socket takes them at once.

    Raises
    ------
    DisconnectedError
        The other side is gone.
    """
    total = len(header) + len(data)
    try:
        sent = connection.sendmsg([header, data] if data else [header])
        if sent < total:
            if sent < len(header):
                connection.sendall(header[sent:])
            connection.sendall(memoryview(data)[max(sent - len(header), 0) :])
    except OSError as error:
        raise DisconnectedError(f"the other side closed the connection ({error})") from None


def receive(connection: socket.socket, target: bytearray | memoryview) -> None:
    """Fill `target`.

    Raises
    ------
    DisconnectedError
        The other side is gone.
    """
    missing = memoryview(target)
    while missing:
        try:
            count = connection.recv_into(missing, 0, socket.MSG_WAITALL)
        except OSError as error:
            raise DisconnectedError(f"the other side closed the connection ({error})") from None
        if not count:
            raise DisconnectedError("the other side closed the connection")
        missing = missing[count:]


def discard(connection: socket.socket, size: int) -> None:
    """Receive `size` bytes that nobody wants, so that the next request is understood."""
    waste = memoryview(bytearray(min(size, _WASTE_BYTES)))
    while size:
        part = waste[:size]
        receive(connection, part)
        size -= len(part)


def pack_error(error: LogvError) -> tuple[int, bytes]:
    """Return the status and the data of a reply that says `error`."""
    if not isinstance(error, ChannelError):
        return error.status, str(error).encode()[:MAX_ERROR_BYTES]
    kind, address, texts = ErrorKind.CHANNEL, 0, [str(error), error.reason]
    if isinstance(error, GpuFaultError):
        kind, address, texts = ErrorKind.GPU_FAULT, error.address, [*texts, error.access, error.kernel]
    return kind, _ERROR.pack(error.channel, address) + "\0".join(texts).encode()


def raise_error(status: int, data: Bytes) -> None:
    """Raise what a reply's status and data say; return for ``Status.OK``."""
    if status == Status.OK:
        return
    if status not in (ErrorKind.CHANNEL, ErrorKind.GPU_FAULT):
        raise_for_status(status, str(data, "utf-8", "replace"))
    channel, address = _ERROR.unpack_from(data)
    message, reason, *where = str(data[_ERROR.size :], "utf-8", "replace").split("\0")
    if status == ErrorKind.CHANNEL:
        raise ChannelError(message, channel=channel, reason=reason)
    access, kernel = where
    raise GpuFaultError(
        message, channel=channel, reason=reason, address=address, access=access, kernel=kernel
    )
