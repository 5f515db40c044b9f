"""Pinned memory between a socket and the GPU: one part is copied while the next one crosses."""

import socket
from collections import deque

from logv.compare.baselines import wire
from logv.errors import LogvError, Status
from logv.runtime import Device, Stream, pushbuffer
from logv.runtime.channel import Channel

CHUNKS = 4
CHUNK_BYTES = 256 << 10
"""About what a socket holds: it is filled again while the copy engine works."""


class Transfers:
    """A ring of chunks on one device, which socket and copy engine use in turn.

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device: Device) -> None:
        self._memory = device.allocate_pinned(CHUNKS * CHUNK_BYTES)
        with memoryview(self._memory) as view:
            self._chunks = [view[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES] for i in range(CHUNKS)]
        self._users: list[tuple[Channel, int] | None] = [None] * CHUNKS
        self._turn = 0

    def receive(self, connection: socket.socket, stream: Stream, target: int, size: int) -> None:
        """Receive `size` bytes and copy them to a GPU address; returns when all have come.

        All are received whatever becomes of the stream, so that the next request is understood.
        """
        failure: LogvError | None = None
        for start in range(0, size, CHUNK_BYTES):
            part = min(CHUNK_BYTES, size - start)
            index = self._take()
            wire.receive(connection, self._chunks[index][:part])
            try:
                self._copy(stream, index, target + start, self._address(index), part)
            except LogvError as error:
                failure = error
        if failure is not None:
            raise failure

    def send(self, connection: socket.socket, stream: Stream, source: int, size: int) -> None:
        """Copy `size` bytes from a GPU address and send them, in parts that are replies each."""
        under_way: deque[tuple[int, int, int]] = deque()
        for start in range(0, size, CHUNK_BYTES):
            if len(under_way) == CHUNKS:
                self._land(connection, stream, *under_way.popleft())
            part = min(CHUNK_BYTES, size - start)
            index = self._take()
            value = self._copy(stream, index, self._address(index), source + start, part)
            under_way.append((index, value, part))
        while under_way:
            self._land(connection, stream, *under_way.popleft())

    def close(self) -> None:
        """Let go of the memory, which goes with its device."""
        for chunk in self._chunks:
            chunk.release()

    def _address(self, index: int) -> int:
        return self._memory.handle + index * CHUNK_BYTES

    def _take(self) -> int:
        """Return the next chunk, once the copy engine is done with it."""
        index = self._turn
        user = self._users[index]
        if user is not None:
            channel, value = user
            channel.settle(value)
            self._users[index] = None
        self._turn = (index + 1) % CHUNKS
        return index

    def _copy(self, stream: Stream, index: int, target: int, source: int, size: int) -> int:
        value = stream.channel.submit(pushbuffer.linear_copy(target, source, size))
        self._users[index] = stream.channel, value
        return value

    def _land(self, connection: socket.socket, stream: Stream, index: int, value: int, part: int) -> None:
        stream.channel.wait(value)
        wire.send(connection, wire.REPLY.pack(Status.OK, part, 0), self._chunks[index][:part])
