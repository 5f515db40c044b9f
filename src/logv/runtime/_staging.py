"""Pinned memory between host arrays and GPU memory: it makes any array reachable for the copy engine."""

import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray

from logv.runtime import pushbuffer
from logv.runtime.channel import Channel

CHUNKS = 4
CHUNK_BYTES = 1 << 20
"""Large enough that a submission costs little beside its copy, and that the C library copies it as it
copies large arrays; small enough that the first and the last one, which overlap with nothing, are short."""
STAGING_BYTES = CHUNKS * CHUNK_BYTES


class Staging:
    """A ring of chunks. The CPU fills or empties one while the copy engine works on the next.

    Parameters
    ----------
    view : memoryview
        ``STAGING_BYTES`` of system memory.
    address : int
        Its GPU virtual address.
    """

    def __init__(self, view: memoryview, address: int) -> None:
        memory = np.frombuffer(view, np.uint8)
        self._lock = threading.Lock()
        self._chunks = [memory[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES] for i in range(CHUNKS)]
        self._addresses = [address + i * CHUNK_BYTES for i in range(CHUNKS)]
        self._users: list[tuple[Channel, int] | None] = [None] * CHUNKS
        self._turn = 0

    def upload(self, channel: Channel, target: int, source: NDArray[np.uint8]) -> None:
        """Copy `source` to GPU address `target`; returns when `source` has been read."""
        with self._lock:
            for start in range(0, source.size, CHUNK_BYTES):
                part = source[start : start + CHUNK_BYTES]
                index = self._take()
                np.copyto(self._chunks[index][: part.size], part)
                self._copy(channel, index, target + start, self._addresses[index], part.size)

    def download(self, channel: Channel, source: int, target: NDArray[np.uint8]) -> None:
        """Copy from GPU address `source`; returns when `target` holds everything."""
        under_way: deque[tuple[int, int, NDArray[np.uint8]]] = deque()
        with self._lock:
            for start in range(0, target.size, CHUNK_BYTES):
                if len(under_way) == CHUNKS:
                    self._land(channel, *under_way.popleft())
                part = target[start : start + CHUNK_BYTES]
                index = self._take()
                value = self._copy(channel, index, self._addresses[index], source + start, part.size)
                under_way.append((index, value, part))
            while under_way:
                self._land(channel, *under_way.popleft())

    def close(self) -> None:
        """Let go of the memory."""
        self._chunks.clear()

    def _take(self) -> int:
        """Return the next chunk, once the engine is done with it."""
        index = self._turn
        user = self._users[index]
        if user is not None:
            channel, value = user
            channel.settle(value)
            self._users[index] = None
        self._turn = (index + 1) % CHUNKS
        return index

    def _copy(self, channel: Channel, index: int, target: int, source: int, size: int) -> int:
        value = channel.submit(pushbuffer.linear_copy(target, source, size))
        self._users[index] = channel, value
        return value

    def _land(self, channel: Channel, index: int, value: int, part: NDArray[np.uint8]) -> None:
        channel.wait(value)
        np.copyto(part, self._chunks[index][: part.size])
