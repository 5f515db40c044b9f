"""The daemon's directory of sockets, which nobody but its owner may enter."""

import fcntl
import os
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from logv.errors import BusyError, InvalidValueError

BACKLOG = 16
_MAX_PATH = 107
"""Bytes of a Unix socket's path (unix(7))."""

_CREDENTIALS = struct.Struct("iII")


class Peer(NamedTuple):
    """Who is at the other end of a Unix socket."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected, as the kernel says."""
    option = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer._make(_CREDENTIALS.unpack(option))


class SocketDirectory:
    """A directory of sockets that one daemon has to itself while it lives.

    Made if it is missing. Sockets in it that a daemon left which crashed are replaced.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InvalidValueError
        It is no directory of this user's, or others may enter it.
    BusyError
        Another daemon has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sockets: list[Path] = []
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidValueError(f"socket directory {path}: {error.strerror}") from None
        try:
            self._take()
        except BaseException:
            os.close(self._fd)
            raise

    def listen(self, name: str) -> socket.socket:
        """Return a listening socket at ``NAME.sock``.

        Raises
        ------
        InvalidValueError
            The path is too long, or something else is there.
        """
        path = self._path / f"{name}.sock"
        if len(os.fsencode(path)) > _MAX_PATH:
            raise InvalidValueError(f"{path} is longer than the {_MAX_PATH} bytes of a socket's path")
        try:
            if stat.S_ISSOCK(path.lstat().st_mode):
                # This daemon has the directory, so whoever made it is gone.
                path.unlink()
            else:
                raise InvalidValueError(f"{path} exists and is no socket; remove it, or rename the VM")
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.bind(os.fspath(path))
            self._sockets.append(path)
            path.chmod(0o600)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def close(self) -> None:
        """Remove the sockets, and give the directory up."""
        for path in self._sockets:
            path.unlink(missing_ok=True)
        self._sockets.clear()
        os.close(self._fd)

    def _take(self) -> None:
        """Have the directory to ourselves, or raise."""
        path, status = self._path, os.fstat(self._fd)
        if status.st_uid != os.geteuid():
            raise InvalidValueError(f"socket directory {path} belongs to another user; name another one")
        if status.st_mode & 0o077:
            raise InvalidValueError(
                f"socket directory {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}): "
                f"chmod 700 {path}, or name another one"
            )
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another daemon serves in {path}; stop it, or name another one") from None
