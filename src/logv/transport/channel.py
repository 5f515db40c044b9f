"""A socket that carries whole messages and the descriptors beside them."""

import array
import os
import select
import socket
from collections.abc import Sequence
from typing import Self

from logv._fastpath import spin_readable
from logv.transport.messages import HEADER, MAX_FDS, MAX_MESSAGE, Header, invalid

_Ancillary = Sequence[tuple[int, int, bytes]]
# As plain integers: the operators of enumerations take as long as a system call.
_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_TRUNCATED = int(socket.MSG_CTRUNC)
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

    __slots__ = ("_fds", "truncated")

    def __init__(self, ancillary: _Ancillary = (), flags: int = 0) -> None:
        self._fds: list[int] = []
        self.truncated = False
        if ancillary or flags:
            self.add(ancillary, flags)

    def __len__(self) -> int:
        return len(self._fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fds:
            self.close()

    def close(self) -> None:
        """Close those that nobody took."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def take(self) -> int:
        """Return the first, which is the caller's to close from now on."""
        return self._fds.pop(0)

    def peek(self) -> int:
        """Return the first, which stays here."""
        return self._fds[0]

    def add(self, ancillary: _Ancillary, flags: int) -> None:
        """Take in what ``recvmsg`` returned."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._fds.extend(numbers)
        if flags & _TRUNCATED:
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
                if not message:
                    return
            self._socket.sendall(message)
        except OSError as error:
            raise DisconnectedError(f"the peer is gone: {error}") from error

    def spin(self, spin_ns: int) -> None:
        """Poll for a message for at most `spin_ns`, before :meth:`receive` sleeps until one comes.

        Waking a thread on another CPU takes as long as several messages.
        """
        spin_readable(self._socket.fileno(), spin_ns)

    def receive(self, ahead: int = 0) -> tuple[Header, bytes, Fds]:
        """Wait for a message; return its header, its payload and its descriptors.

        Parameters
        ----------
        ahead : int
            Bytes to read with the header in one go; only where no other message can follow this one.

        Raises
        ------
        DisconnectedError
            The peer is gone.
        ProtocolError
            The size in the header is impossible: where the next message begins is unknown.
        """
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(HEADER.size + ahead, _FD_BYTES, _CLOEXEC)
        except OSError as error:
            raise DisconnectedError(f"the peer is gone: {error}") from error
        fds = Fds(ancillary, flags) if ancillary or flags & _TRUNCATED else Fds()
        try:
            if len(data) < HEADER.size:
                data += self._read(HEADER.size - len(data), fds, started=bool(data))
            header = Header(*HEADER.unpack_from(data))
            if not HEADER.size <= header.size <= MAX_MESSAGE:
                raise invalid(f"a message of {header.size} bytes")  # noqa: TRY301  (closes what came)
            if len(data) < header.size:
                data += self._read(header.size - len(data), fds)
        except BaseException:
            fds.close()
            raise
        return header, data[HEADER.size :], fds

    def _read(self, size: int, fds: Fds, *, started: bool = True) -> bytes:
        """Return the next `size` bytes of a message."""
        parts = bytearray()
        while len(parts) < size:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(size - len(parts), _FD_BYTES, _CLOEXEC)
            except OSError as error:
                raise DisconnectedError(f"the peer is gone: {error}") from error
            if ancillary or flags & _TRUNCATED:
                fds.add(ancillary, flags)
            if not data:
                where = "in the middle of a message" if started or parts else "the connection"
                raise DisconnectedError(f"the peer closed {where}")
            if len(data) == size:
                return data
            parts += data
        return bytes(parts)

    def set_patience(self, seconds: float) -> None:
        """Let whatever takes longer than `seconds` from now on raise DisconnectedError; 0 waits for ever."""
        # In the kernel: Python's own time-outs cost a poll for each call.
        value = array.array("l", divmod(int(seconds * 1e6), 1_000_000)).tobytes()
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
