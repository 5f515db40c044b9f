"""One client of a remote server, from its first request to its last."""

import itertools
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from logv._fastpath import spin_readable
from logv.compare.baselines import wire
from logv.compare.baselines._served_device import ServedDevice, check_range
from logv.compare.baselines.wire import Call
from logv.errors import InvalidHandleError, LogvError, NotSupportedError, Status
from logv.runtime import Device
from logv.transport.session import COMMAND_SPIN_NS

_log = logging.getLogger(__name__)

_DATA_LIMITS: dict[int, int] = {Call.LOAD: wire.MAX_TEXT_BYTES, Call.LAUNCH: wire.MAX_LAUNCH_BYTES}


class Session:
    """Carries out a client's calls in order, and returns what it holds when it is gone.

    Parameters
    ----------
    connection : socket
    open_device : callable
        Returns a new device.
    """

    def __init__(self, connection: socket.socket, open_device: Callable[[], Device]) -> None:
        self._connection = connection
        self._open_device = open_device
        self._devices: dict[int, ServedDevice] = {}
        self._numbers = itertools.count(1)

    def run(self) -> None:
        """Serve until the client closes the connection."""
        wire.widen(self._connection)
        request = bytearray(wire.REQUEST.size)
        with ExitStack() as stack:
            stack.callback(self._close)
            try:
                while True:
                    # As LoGV's own transport does: waking a thread takes longer than most calls.
                    spin_readable(self._connection.fileno(), COMMAND_SPIN_NS)
                    wire.receive(self._connection, request)
                    self._serve(*wire.REQUEST.unpack(request))
            except wire.DisconnectedError:
                return

    def _serve(self, call: int, device: int, size: int, *arguments: int) -> None:
        """Carry out one call, and reply."""
        status, data, result = int(Status.OK), b"", 0
        try:
            if call == Call.COPY_IN:
                self._copy_in(device, size, arguments)
            else:
                sent = self._data(call, size)
                if call == Call.COPY_OUT:
                    self._copy_out(device, arguments)
                    return
                result = self._carry_out(call, device, arguments, sent)
        except wire.DisconnectedError:
            raise
        except LogvError as error:
            status, data = wire.pack_error(error)
        except Exception:
            _log.exception("a call of a remote client failed")
            status, data = Status.INTERNAL, b"the server failed; see its log"
        wire.send(self._connection, wire.REPLY.pack(status, len(data), result), data)

    def _data(self, call: int, size: int) -> bytearray:
        """Receive the data of a call that is not a copy."""
        if size > _DATA_LIMITS.get(call, 0):
            wire.discard(self._connection, size)
            raise NotSupportedError(f"call {call} does not take {size} bytes of data")
        data = bytearray(size)
        wire.receive(self._connection, data)
        return data

    def _carry_out(self, call: int, device: int, arguments: Sequence[int], data: bytearray) -> int:
        if call == Call.OPEN:
            number = next(self._numbers)
            self._devices[number] = ServedDevice(self._open_device())
            return number
        served = self._device(device)
        if call == Call.CLOSE:
            del self._devices[device]
            served.close()
            return 0
        handler = served.handlers.get(call)
        if handler is None:
            raise NotSupportedError(f"there is no call {call}")
        return handler(arguments, data)

    def _copy_in(self, device: int, size: int, arguments: Sequence[int]) -> None:
        handle, target = arguments[:2]
        try:
            served = self._device(device)
            stream, transfers = served.stream(handle), served.transfers()
            check_range(target, size)
        except LogvError:
            wire.discard(self._connection, size)
            raise
        transfers.receive(self._connection, stream, target, size)

    def _copy_out(self, device: int, arguments: Sequence[int]) -> None:
        served = self._device(device)
        stream, source, size = arguments[:3]
        check_range(source, size)
        served.transfers().send(self._connection, served.stream(stream), source, size)

    def _device(self, number: int) -> ServedDevice:
        try:
            return self._devices[number]
        except KeyError:
            raise InvalidHandleError(f"no open device has number {number}") from None

    def _close(self) -> None:
        with ExitStack() as stack:
            for served in self._devices.values():
                stack.callback(served.close)
