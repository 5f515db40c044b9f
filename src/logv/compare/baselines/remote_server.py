"""API remoting, the GPU's side: a process that carries out on its own devices what clients call."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from logv.compare.baselines._session import Session
from logv.errors import LogvError
from logv.machine import Machine, Size


class RemoteServer:
    """A machine whose GPU remote clients use, one client at a time.

    Parameters
    ----------
    path : path
        Of the socket, made here and removed at the end.
    vram : int or str
        GPU memory, as for :class:`Machine`.

    Raises
    ------
    LogvError
        The socket cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], vram: Size = "1GiB") -> None:
        self._path = os.fspath(path)
        self._client: socket.socket | None = None
        self._stopped = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(self._path)
            os.chmod(self._path, 0o600)
            self._listener.listen()
        except OSError as error:
            self._listener.close()
            raise LogvError(f"cannot listen at {self._path!r}: {error}") from None
        try:
            self._machine = Machine(vram, tiered_compilation=False)
        except BaseException:
            self._unlink()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self) -> None:
        """Serve one client after the other until :meth:`stop`; what a client had goes with it."""
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._stopped:
                    return
                raise
            with client:
                self._client = client
                # stop() may have come before the client was known.
                if not self._stopped:
                    Session(client, self._machine.device).run()
            self._client = None

    def stop(self) -> None:
        """Let :meth:`run` return; from any thread or signal handler."""
        self._stopped = True
        for waiting in (self._listener, self._client):
            if waiting is not None:
                with suppress(OSError):
                    waiting.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop the GPU and remove the socket, once :meth:`run` has returned. Twice is harmless."""
        self._machine.close()
        self._unlink()

    def _unlink(self) -> None:
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self._path)


def serve(
    path: str | os.PathLike[str], vram: Size = "1GiB", ready: Callable[[], object] = lambda: None
) -> None:
    """Serve remote clients until SIGTERM or SIGINT; for the main thread of a process of its own.

    Parameters
    ----------
    path : path
        Of the socket.
    vram : int or str
        GPU memory.
    ready : callable
        Called once clients can connect.
    """
    with RemoteServer(path, vram) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: server.stop())
        ready()
        server.run()
