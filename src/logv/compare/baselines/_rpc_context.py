"""What a remote device, its streams and its buffers are made of: each method is a message."""

import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from logv.compare.baselines import wire
from logv.compare.baselines.wire import Call
from logv.errors import ClosedError, NotSupportedError
from logv.runtime import Buffer
from logv.uapi import Domain, Memory, Param

if TYPE_CHECKING:
    from logv.compare.baselines.remote_client import RemoteConnection


class RpcDriver:
    """One device of the server.

    Parameters
    ----------
    connection : RemoteConnection
    """

    def __init__(self, connection: "RemoteConnection") -> None:
        self._connection = connection
        self._device = connection.call(Call.OPEN)

    def call(self, call: Call, *arguments: int, data: wire.Bytes = b"") -> int:
        """Carry out one call; see :meth:`RemoteConnection.call`."""
        return self._connection.call(call, self._device, *arguments, data=data)

    def call_into(self, target: memoryview, call: Call, *arguments: int) -> None:
        """Carry out one call that fills `target`."""
        self._connection.call_into(target, call, self._device, *arguments)

    def get_param(self, param: Param) -> int:
        """Return one figure of the server's GPU."""
        return self.call(Call.GET_PARAM, param)

    def close(self) -> None:
        """Close the device; a server that is gone has closed it already."""
        with suppress(ClosedError):
            self.call(Call.CLOSE)


class RpcChannel:
    """A stream at the server, where the runtime's streams have a channel.

    Parameters
    ----------
    driver : RpcDriver
    """

    submitted = 0
    """The server counts: waiting and polling are for everything."""

    def __init__(self, driver: RpcDriver) -> None:
        self.handle = driver.call(Call.STREAM_NEW)
        self.closed = False
        self._driver = driver

    def wait(self, value: int) -> None:
        """Wait for everything submitted."""
        self._driver.call(Call.STREAM_SYNC, self.handle)

    def poll(self, value: int) -> bool:
        """Say whether everything submitted is done."""
        return bool(self._driver.call(Call.STREAM_POLL, self.handle))

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy between GPU addresses."""
        self._driver.call(Call.COPY, self.handle, target, source, size)

    def copy_in(self, target: int, source: memoryview) -> None:
        """Copy to a GPU address."""
        self._driver.call(Call.COPY_IN, self.handle, target, data=source)

    def copy_out(self, source: int, target: memoryview) -> None:
        """Copy from a GPU address."""
        self._driver.call_into(target, Call.COPY_OUT, self.handle, source, len(target))

    def launch(self, kernel: int, data: bytes) -> None:
        """Launch a kernel that the server has loaded, with a geometry and packed arguments."""
        self._driver.call(Call.LAUNCH, self.handle, kernel, data=data)

    def submit(self, words: list[int]) -> NoReturn:
        """Refuse: calls cross, methods of engines do not."""
        raise NotSupportedError("this call is not remoted; streams copy whole ranges, and launch")

    def follow(self, other: object, value: int) -> NoReturn:
        """Refuse, as no workload has streams that wait for each other."""
        raise NotSupportedError("streams that wait for others are not remoted; sync() the other one")

    def close(self) -> None:
        """Wait for what was submitted, and close the stream."""
        self.closed = True
        self._driver.call(Call.STREAM_CLOSE, self.handle)


class RpcStaging:
    """Where the runtime has staging memory: bytes go from the array to the socket and back."""

    def upload(self, channel: RpcChannel, target: int, source: NDArray[np.uint8]) -> None:
        """Copy `source` to a GPU address; returns when the server has it."""
        channel.copy_in(target, source.data)

    def download(self, channel: RpcChannel, source: int, target: NDArray[np.uint8]) -> None:
        """Copy from a GPU address; returns when `target` holds everything."""
        channel.copy_out(source, target.data)


class RpcContext:
    """Where a device has its context.

    Parameters
    ----------
    driver : RpcDriver
    """

    def __init__(self, driver: RpcDriver) -> None:
        self.driver = driver
        self.staging = RpcStaging()
        self.closed = False
        self.buffers: weakref.WeakSet[Buffer] = weakref.WeakSet()
        # Buffers that were dropped without close(), as the runtime's context has them.
        self.dropped: deque[tuple[int, int]] = deque()
        self._channels: list[RpcChannel] = []
        self._lock = threading.Lock()

    def check_open(self) -> None:
        """Raise ClosedError if the device was closed."""
        if self.closed:
            raise ClosedError("the device was closed; open another one")

    def create_channel(self) -> RpcChannel:
        """Make a stream."""
        self.check_open()
        channel = RpcChannel(self.driver)
        self._channels.append(channel)
        return channel

    def close_channel(self, channel: RpcChannel) -> None:
        """Close a stream."""
        channel.close()
        self._channels.remove(channel)

    def map_new(self, size: int, domain: Domain) -> tuple[Memory, int]:
        """Allocate a buffer; return it and its GPU virtual address, which is its handle as well."""
        self.check_open()
        while self.dropped:
            self.unmap(*self.dropped.popleft())
        address = self.driver.call(Call.ALLOCATE, size, domain)
        return Memory(address, size, domain, 0), address

    def unmap(self, memory: int, address: int) -> None:
        """Free a buffer."""
        self.driver.call(Call.FREE, address)

    def view(self, memory: int) -> NoReturn:
        """Refuse: the memory is the server's."""
        raise NotSupportedError("the buffer lies in another process; copy_to() an array instead")

    def settle(self) -> None:
        """Do nothing: the server waits before it frees."""

    def sync(self) -> None:
        """Wait for everything submitted to all streams."""
        self.driver.call(Call.SYNC)

    def close(self) -> None:
        """Close the device at the server."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        try:
            self.driver.close()
        finally:
            for channel in self._channels:
                channel.closed = True
            for buffer in self.buffers:
                buffer.abandon()
