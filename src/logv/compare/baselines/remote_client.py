"""API remoting, the application's side: every call of the runtime is a message to a server.

So do rCUDA and gVirtuS. The connection persists, a call is one message, bytes are sent from and
received into the application's arrays without a copy in between.
"""

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from logv._fastpath import spin_readable
from logv.compare.baselines import wire
from logv.compare.baselines._rpc_device import RpcDevice
from logv.compare.baselines.wire import Call
from logv.errors import ClosedError, LogvError, Status
from logv.transport.client import REPLY_SPIN_NS


class RemoteConnection:
    """A connection to a :class:`~logv.compare.baselines.remote_server.RemoteServer`.

    Threads may share it; their calls take turns.

    Parameters
    ----------
    path : path
        The server's socket.

    Raises
    ------
    ClosedError
        Nobody listens there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lock = threading.Lock()
        self._reply = bytearray(wire.REPLY.size)
        self._messages = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            wire.widen(self._socket)
            self._socket.connect(os.fspath(path))
        except OSError as error:
            self._socket.close()
            raise ClosedError(f"no server listens at {os.fspath(path)!r} ({error}); start one") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def hypercalls(self) -> int:
        """Messages sent so far: each leaves the VM, as a hypercall does."""
        return self._messages

    def device(self) -> RpcDevice:
        """Return the server's GPU as a new application; close it when done."""
        return RpcDevice(self)

    def call(self, call: Call, device: int = 0, *arguments: int, data: wire.Bytes = b"") -> int:
        """Carry out one call on a device of the server; return its result.

        Raises
        ------
        LogvError
            What the call raised at the server.
        ClosedError
            The connection or the server was closed.
        """
        with self._lock:
            status, size, result = self._exchange(call, device, arguments, data)
            text = self._error_text(size)
        wire.raise_error(status, text)
        return result

    def call_into(self, target: memoryview, call: Call, device: int, *arguments: int) -> None:
        """Carry out one call whose result are the bytes of `target`; errors as :meth:`call` has."""
        with self._lock:
            status, size, _ = self._exchange(call, device, arguments, b"")
            start = 0
            while status == Status.OK and 0 < size <= len(target) - start:
                self._receive(target[start : start + size])
                start += size
                if start == len(target):
                    return
                status, size, _ = self._header()
            text = self._error_text(size)
        wire.raise_error(status, text)
        self._hang_up()
        raise LogvError("the server sent what does not belong to the copy; it is another version, or broken")

    def close(self) -> None:
        """Close the connection; the server returns everything of it. Closing twice is harmless."""
        # Whoever waits for a reply has the lock, and gets none.
        self._hang_up()
        with self._lock:
            self._socket.close()

    def _hang_up(self) -> None:
        """Let every call fail from now on: what follows on the socket could not be understood."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _exchange(
        self, call: Call, device: int, arguments: Sequence[int], data: wire.Bytes
    ) -> tuple[int, int, int]:
        """Send a request and receive the header of the reply, for a holder of the lock."""
        padding = (0,) * (wire.ARGUMENTS - len(arguments))
        try:
            wire.send(self._socket, wire.REQUEST.pack(call, device, len(data), *arguments, *padding), data)
        except BaseException:
            self._hang_up()
            raise
        self._messages += 1
        return self._header()

    def _header(self) -> tuple[int, int, int]:
        # As LoGV's own transport does: waking a thread takes longer than most calls.
        spin_readable(self._socket.fileno(), REPLY_SPIN_NS)
        self._receive(self._reply)
        status, size, result = wire.REPLY.unpack(self._reply)
        return status, size, result

    def _error_text(self, size: int) -> bytearray:
        if size > wire.MAX_ERROR_BYTES:
            self._hang_up()
            raise LogvError(f"the server sent an error of {size} bytes; it is another version, or broken")
        text = bytearray(size)
        self._receive(text)
        return text

    def _receive(self, target: bytearray | memoryview) -> None:
        try:
            wire.receive(self._socket, target)
        except BaseException:
            self._hang_up()
            raise
