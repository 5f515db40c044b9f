"""The client's side of vfio-user: what a VM sends to the daemon that emulates its device."""

import errno
import json
import os
import socket
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from logv.errors import BusyError, ClosedError, NotSupportedError
from logv.hw import vfio_user as hw
from logv.transport import messages
from logv.transport.channel import DisconnectedError, Fds, MessageSocket
from logv.transport.messages import Header, ProtocolError, invalid

HANDSHAKE_S = 5.0
"""How long a server may take to answer the first message."""

REPLY_SPIN_NS = 300_000
"""How long to poll for a reply: longer than most calls take."""

_RETRY_S = 0.02
_MOST_REPLIES = 256
"""Bytes of a reply that are read with its header: the server sends nothing unasked."""

_CAPABILITIES = {"max_msg_fds": messages.MAX_FDS, "max_data_xfer_size": messages.MAX_DATA}


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


def _leave_to_parent() -> None:
    """Give up, in a process that was forked, what is its parent's; the connection itself stays up."""
    for client in list(_clients):
        client.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)


class MappableRegion(NamedTuple):
    """A region's size, how much of it can be mapped from its file's start, and the file (-1: none)."""

    size: int
    mapped: int
    fd: int


class Client:
    """A connection to a vfio-user server. Threads may share it.

    Parameters
    ----------
    path : str or os.PathLike
        The server's Unix socket.
    timeout_s : float
        How long to try while the device has another client.

    Raises
    ------
    ClosedError
        Nobody serves there.
    BusyError
        The device has another client.
    NotSupportedError
        The server speaks another version.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 1.0) -> None:
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._next_id = 0
        self._closed = False
        # The message id of a command whose reply nobody has waited for yet.
        self._posted: int | None = None
        deadline = time.monotonic() + timeout_s
        while True:
            self._channel = MessageSocket(_connect(self.path))
            try:
                self._channel.set_patience(HANDSHAKE_S)
                self._negotiate()
                self._channel.set_patience(0)
            except DisconnectedError:
                # A server that turns a client away closes the connection; a client that just died may
                # still be there for a moment.
                self._channel.close()
                if time.monotonic() > deadline:
                    raise BusyError(f"{self.path}: the VM is in use by another process") from None
                time.sleep(_RETRY_S)
            except BaseException:
                self._channel.close()
                raise
            else:
                _clients.add(self)
                return

    @property
    def connected(self) -> bool:
        """Whether the server is still there. Sends nothing."""
        return not self._closed and self._channel.connected

    def region(self, index: int) -> MappableRegion:
        """Ask for a region; the descriptor is the caller's to close."""
        layout = messages.REGION_INFO
        argsz = layout.size
        while True:
            payload, fds = self.call(
                hw.VFIO_USER_DEVICE_GET_REGION_INFO, layout.pack(argsz, 0, index, 0, 0, 0)
            )
            with fds:
                needed, flags, _, capabilities, size, _ = self._unpack(layout, payload)
                if needed > argsz:
                    argsz = needed
                    continue
                if not flags & hw.VFIO_REGION_INFO_FLAG_MMAP or not fds:
                    return MappableRegion(size, 0, -1)
                mapped = size
                if flags & hw.VFIO_REGION_INFO_FLAG_CAPS:
                    mapped = self._sparse_size(payload, capabilities)
                return MappableRegion(size, mapped, fds.take())

    def io_eventfd(self, index: int, offset: int) -> int:
        """Return the eventfd that stands for writes to `offset` of a region; the caller closes it."""
        layout = messages.IO_FDS
        room = layout.size + messages.MAX_FDS * messages.IO_FD.size
        payload, fds = self.call(hw.VFIO_USER_DEVICE_GET_REGION_IO_FDS, layout.pack(room, 0, index, 0))
        with fds:
            entries = payload[layout.size :]
            whole = len(entries) - len(entries) % messages.IO_FD.size
            for where, _, number, *_ in messages.IO_FD.iter_unpack(entries[:whole]):
                if where == offset and number == 0 and fds:
                    return fds.take()
        raise NotSupportedError(f"{self.path}: the device has no eventfd at {offset:#x} of region {index}")

    def read_region(self, index: int, offset: int, count: int) -> bytes:
        """Read from a region by message."""
        payload, fds = self.call(hw.VFIO_USER_REGION_READ, messages.REGION_ACCESS.pack(offset, index, count))
        with fds:
            return payload[messages.REGION_ACCESS.size :]

    def write_region(self, index: int, offset: int, data: bytes) -> None:
        """Write to a region by message; the device has taken it in when this returns."""
        head = messages.REGION_ACCESS.pack(offset, index, len(data))
        _, fds = self.call(hw.VFIO_USER_REGION_WRITE, head + data)
        with fds:
            return

    def post_region(self, index: int, offset: int, data: bytes) -> None:
        """Write to a region by message, and go on; the next command waits until the device has acted."""
        payload = messages.REGION_ACCESS.pack(offset, index, len(data)) + data
        with self._lock, self._connected():
            self._collect()
            self._posted = self._send(hw.VFIO_USER_REGION_WRITE, payload)

    def finish_posted(self) -> None:
        """Wait until the device has acted on what was posted."""
        with self._lock, self._connected():
            self._collect()

    def call(self, command: int, payload: bytes) -> tuple[bytes, Fds]:
        """Send a command; return the reply's payload and descriptors.

        Raises
        ------
        ClosedError
            The server is gone.
        ProtocolError
            The server refused.
        """
        with self._connected():
            return self._exchange(command, payload)

    def leave_to_parent(self) -> None:
        """Close the descriptor, and nothing else: the connection is the process's that made it."""
        self._lock = threading.Lock()
        self._closed = True
        self._channel.close()

    def close(self) -> None:
        """Disconnect: the server takes back what this client holds. Closing twice is harmless."""
        if self._closed:
            return
        # Whoever waits for a reply has the lock, and gets none.
        self._channel.hang_up()
        with self._lock:
            self._closed = True
            self._channel.close()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Turn the end of the connection into the error that users see."""
        if self._closed:
            raise ClosedError(f"{self.path}: the connection was closed, or is the parent process's")
        try:
            yield
        except DisconnectedError as error:
            raise ClosedError(f"{self.path}: the daemon is gone, or has closed the VM ({error})") from None

    def _exchange(self, command: int, payload: bytes) -> tuple[bytes, Fds]:
        with self._lock:
            self._collect()
            return self._receive(command, self._send(command, payload))

    def _send(self, command: int, payload: bytes) -> int:
        """Send a command, and return its message id."""
        self._next_id = message_id = (self._next_id + 1) & 0xFFFF
        self._channel.send(messages.pack_command(message_id, command, payload))
        return message_id

    def _collect(self) -> None:
        """Take the reply to what was posted."""
        if self._posted is not None:
            posted, self._posted = self._posted, None
            self._receive(hw.VFIO_USER_REGION_WRITE, posted)

    def _receive(self, command: int, message_id: int) -> tuple[bytes, Fds]:
        self._channel.spin(REPLY_SPIN_NS)
        header, reply, fds = self._channel.receive(_MOST_REPLIES)
        if (header.message_id, header.command) != (message_id, command):
            # Also after a caller was interrupted while it waited: whose reply comes next is unknown.
            fds.close()
            self._channel.hang_up()
            raise invalid(f"the server answers command {header.command} instead of {command}")
        if header.flags != hw.VFIO_USER_F_TYPE_REPLY:
            fds.close()
            raise ProtocolError(_code(header), f"the server refused command {command}")
        return reply, fds

    def _negotiate(self) -> None:
        text = json.dumps({"capabilities": _CAPABILITIES}).encode() + b"\0"
        proposal = messages.VERSION.pack(hw.VFIO_USER_MAJOR, hw.VFIO_USER_MINOR) + text
        try:
            reply, fds = self._exchange(hw.VFIO_USER_VERSION, proposal)
        except ProtocolError as error:
            raise NotSupportedError(f"{self.path} is no vfio-user server that LoGV knows: {error}") from None
        with fds:
            if reply[:2] != proposal[:2]:
                raise NotSupportedError(f"{self.path}: the server speaks another version of vfio-user")

    def _unpack(self, layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
        if len(payload) < layout.size:
            raise ClosedError(f"{self.path}: a reply of {len(payload)} bytes instead of {layout.size}")
        return layout.unpack_from(payload)

    def _sparse_size(self, payload: bytes, offset: int) -> int:
        """Return how much of a region can be mapped, from its start."""
        areas = offset + messages.CAPABILITY.size
        area = areas + messages.SPARSE_AREAS.size
        if len(payload) < area + messages.SPARSE_AREA.size:
            return 0
        kind, _, _ = messages.CAPABILITY.unpack_from(payload, offset)
        count, _ = messages.SPARSE_AREAS.unpack_from(payload, areas)
        start, size = messages.SPARSE_AREA.unpack_from(payload, area)
        return size if kind == hw.VFIO_REGION_INFO_CAP_SPARSE_MMAP and count and not start else 0


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except (OSError, ValueError) as error:
        connection.close()
        raise ClosedError(
            f"nobody serves a VM at {path}: {error}; start `logv serve`, or check the path"
        ) from None
    return connection


def _code(header: Header) -> int:
    return header.error if header.error in errno.errorcode else errno.EIO
