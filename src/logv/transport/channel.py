"""A socket that carries whole messages and the descriptors beside them."""

import array
import os
import select
import socket
from collections.abc import Sequence
from typing import Self

from logv.transport.messages import HEADER, MAX_FDS, MAX_MESSAGE, Header, invalid

_FD_BYTES = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)


class DisconnectedError(ConnectionError):
    """The peer is gone, or went away in the middle of a message."""


class Fds:
    """Descriptors that came with a message; closed at the end of a ``with``, but for those taken.

    Attributes
    ----------
    truncated : bool
        There were more than ``MAX_FDS``; the kernel has closed the rest.
    """

    def __init__(self) -> None:
        self._fds: list[int] = []
        self.truncated = False

    def __len__(self) -> int:
        return len(self._fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def take(self) -> int:
        """Return the first, which is the caller's to close from now on."""
        return self._fds.pop(0)

    def peek(self) -> int:
        """Return the first, which stays here."""
        return self._fds[0]

    def add(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> None:
        """Take in what ``recvmsg`` returned."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._fds.extend(numbers)
        if flags & socket.MSG_CTRUNC:
            self.truncated = True


class MessageSocket:
    """One end of a connection. One thread sends and receives.

    Parameters
    ----------
    connected : socket.socket
        A connected Unix stream socket; closed with this.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send(self, message: bytes, fds: Sequence[int] = ()) -> None:
        """Send a message.

        Raises
        ------
        DisconnectedError
            The peer is gone.
        """
        try:
            if fds:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
                sent = self._socket.sendmsg([message], rights)
                message = message[sent:]
            if message:
                self._socket.sendall(message)
        except OSError as error:
            raise DisconnectedError(f"the peer is gone: {error}") from error

    def receive(self) -> tuple[Header, bytes, Fds]:
        """Wait for a message; return its header, its payload and its descriptors.

        Raises
        ------
        DisconnectedError
            The peer is gone.
        ProtocolError
            The size in the header is impossible: where the next message begins is unknown.
        """
        fds = Fds()
        try:
            header = Header._make(HEADER.unpack(self._read(HEADER.size, fds)))
            return header, self._read_payload(header, fds), fds
        except BaseException:
            fds.__exit__()
            raise

    def _read_payload(self, header: Header, fds: Fds) -> bytes:
        if not HEADER.size <= header.size <= MAX_MESSAGE:
            raise invalid(f"a message of {header.size} bytes")
        return self._read(header.size - HEADER.size, fds) if header.size > HEADER.size else b""

    def _read(self, size: int, fds: Fds) -> bytes:
        """Return the next `size` bytes."""
        try:
            data = self._part(size, fds)
            if len(data) == size:
                return data
            parts = bytearray(data)
            while len(parts) < size:
                parts += self._part(size - len(parts), fds)
        except OSError as error:
            raise DisconnectedError(f"the peer is gone: {error}") from error
        return bytes(parts)

    def _part(self, size: int, fds: Fds) -> bytes:
        data, ancillary, flags, _ = self._socket.recvmsg(size, _FD_BYTES, socket.MSG_CMSG_CLOEXEC)
        if ancillary or flags & socket.MSG_CTRUNC:
            fds.add(ancillary, flags)
        if not data:
            raise DisconnectedError("the peer closed the connection")
        return data

    def set_patience(self, seconds: float) -> None:
        """Let whatever takes longer than `seconds` from now on raise DisconnectedError; 0 waits for ever."""
        # In the kernel: Python's own time-outs cost a poll for each call.
        microseconds = int(seconds * 1e6)
        value = array.array("l", divmod(microseconds, 1_000_000)).tobytes()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, value)

    @property
    def connected(self) -> bool:
        """Whether the peer is still there. Sends nothing."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return not poll.poll(0)

    def hang_up(self) -> None:
        """End the connection, also under a thread that waits in :meth:`receive`."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the peer was faster

    def close(self) -> None:
        """Give up the descriptor."""
        self._socket.close()
