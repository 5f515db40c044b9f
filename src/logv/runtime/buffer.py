"""Buffers: memory that the GPU reaches by address, and the CPU as bytes."""

import operator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from logv._fastpath import MappedMemory
from logv.errors import ClosedError, InvalidValueError
from logv.runtime import _host_arrays, pushbuffer
from logv.runtime.channel import Channel
from logv.runtime.stream import Stream
from logv.uapi import Memory

if TYPE_CHECKING:
    from logv.runtime.device import Device

_DLPACK_CPU = (1, 0)  # kDLCPU, device 0
# NumPy before 2.1 writes the unversioned capsule only, which every consumer must accept.
_NUMPY_HAS_VERSIONS = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
_FILL_WIDTHS = (1, 2, 4)
_MAX_PITCH = 2**32 - 1


class Buffer(MappedMemory):
    """A range of GPU memory, or of pinned system memory, on one device.

    Made by :meth:`Device.allocate` and :meth:`Device.allocate_pinned`. The CPU reaches the same bytes
    through ``memoryview(buffer)`` or ``np.asarray(buffer)``, at once and without a copy; whoever does
    has to see to it that no stream writes them meanwhile.

    Attributes
    ----------
    device : Device
    handle : int
        GPU virtual address of the first byte.
    size : int
        Bytes, as asked for.
    domain : Domain
        GPU memory or system memory.
    """

    def __init__(self, device: "Device", memory: Memory, address: int, size: int) -> None:
        self._memory: int | None = None
        # The driver is asked at the first view: most buffers are never looked at by the CPU.
        super().__init__(lambda: device.context.view(memory.handle), 0, size)
        self.device = device
        self.handle = address
        self.size = size
        self.domain = memory.domain
        self._memory = memory.handle

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.size} bytes at {self.handle:#x}"
        return f"<Buffer {self.domain.name.lower()} {state} on {self.device.name}>"

    def __len__(self) -> int:
        return self.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._memory is not None:
            self.device.context.dropped.append((self._memory, self.handle))

    @property
    def closed(self) -> bool:
        """Whether the buffer, or its device, was closed."""
        return self._memory is None

    @property
    def memory(self) -> int:
        """The driver's handle of the memory; ClosedError if the buffer was closed."""
        self.require(self.device)
        assert self._memory is not None
        return self._memory

    def close(self) -> None:
        """Wait for everything submitted to the device so far, and free the memory. Twice is harmless.

        Raises
        ------
        BusyError
            Memoryviews or arrays of the buffer are alive; nothing has changed.
        """
        if self._memory is None:
            return
        self.device.context.settle()
        self.release()
        memory, self._memory = self._memory, None
        self.device.context.unmap(memory, self.handle)

    def abandon(self) -> None:
        """Mark as closed; for the device, whose driver has freed everything."""
        self._memory = None
        if not self.exports:
            self.release()

    def copy_from(self, src: Any, *, stream: Stream, offset: int = 0) -> None:
        """Copy all of `src` to this buffer, from byte `offset` on.

        Parameters
        ----------
        src : Buffer, ndarray or buffer
            A buffer of the same device is copied by the copy engine, in stream order. A host array goes
            through pinned staging memory; it may be changed as soon as this returns.
        stream : Stream
        offset : int
            Bytes.

        Raises
        ------
        InvalidValueError
            The range does not fit, the array is not C-contiguous, or the ranges overlap.
        """
        channel = self._channel(stream)
        if isinstance(src, Buffer):
            src.require(self.device)
            start = self._range(offset, src.size)
            if src is self:
                raise InvalidValueError("a buffer cannot be copied onto itself: the ranges overlap")
            channel.submit(pushbuffer.linear_copy(start, src.handle, src.size))
            return
        array = _host_arrays.readable(src)
        self.device.context.staging.upload(channel, self._range(offset, array.size), array)

    def copy_to(self, dst: Any = None, *, stream: Stream, offset: int = 0) -> Any:
        """Copy from this buffer, from byte `offset` on, as much as `dst` holds; return `dst`.

        Parameters
        ----------
        dst : Buffer, ndarray, buffer or None
            A buffer of the same device is written in stream order. A host array holds the bytes when
            this returns. None means a new buffer of this device, for all from `offset` on.
        stream : Stream
        offset : int
            Bytes.

        Raises
        ------
        InvalidValueError
            The range does not fit, or the array is read-only or not C-contiguous.
        GpuFaultError, ChannelError
            Something submitted to the stream before has failed.
        """
        channel = self._channel(stream)
        if dst is None:
            self._range(offset, 1)
            dst = self.device.allocate(self.size - offset)
            try:
                dst.copy_from_part(self, offset, channel)
            except BaseException:
                dst.close()
                raise
        elif isinstance(dst, Buffer):
            dst.require(self.device)
            if dst is self:
                raise InvalidValueError("a buffer cannot be copied onto itself: the ranges overlap")
            self._range(offset, dst.size)
            dst.copy_from_part(self, offset, channel)
        else:
            array = _host_arrays.writable(dst)
            self.device.context.staging.download(channel, self._range(offset, array.size), array)
        return dst

    def copy_2d_from(
        self,
        src: "Buffer",
        *,
        stream: Stream,
        width: int,
        height: int,
        pitch: int,
        src_pitch: int,
        offset: int = 0,
        src_offset: int = 0,
    ) -> None:
        """Copy `height` lines of `width` bytes from another buffer, in stream order.

        Parameters
        ----------
        src : Buffer
            Of the same device; may be this buffer, if the ranges do not overlap.
        stream : Stream
        width, height : int
            Bytes of a line, and how many.
        pitch, src_pitch : int
            Bytes from one line to the next, here and in `src`; at least `width`.
        offset, src_offset : int
            Bytes before the first line, here and in `src`.

        Raises
        ------
        InvalidValueError
            The lines do not fit, or the ranges overlap.
        """
        channel = self._channel(stream)
        if not isinstance(src, Buffer):
            raise InvalidValueError("copy_2d_from copies between buffers; copy_from takes host arrays")
        src.require(self.device)
        width, height, pitch, src_pitch = (
            _number(value, what)
            for value, what in (
                (width, "width"),
                (height, "height"),
                (pitch, "pitch"),
                (src_pitch, "src_pitch"),
            )
        )
        if not 0 < width <= min(pitch, src_pitch) or max(pitch, src_pitch) > _MAX_PITCH:
            raise InvalidValueError(
                f"width {width} must be at least 1 and at most both pitches ({pitch}, {src_pitch})"
            )
        if not 0 < height <= _MAX_PITCH:
            raise InvalidValueError(f"height must be at least 1, not {height}")
        extent, src_extent = ((height - 1) * step + width for step in (pitch, src_pitch))
        target, source = self._range(offset, extent), src._range(src_offset, src_extent)
        if src is self and target < source + src_extent and source < target + extent:
            raise InvalidValueError("the ranges of a copy within one buffer overlap")
        channel.submit(pushbuffer.pitch_copy(target, pitch, source, src_pitch, width, height))

    def fill(
        self, value: int, *, stream: Stream, width: int = 1, offset: int = 0, size: int | None = None
    ) -> None:
        """Write `value` over the buffer, in stream order.

        Parameters
        ----------
        value : int
            Unsigned, or negative in two's complement.
        stream : Stream
        width : int
            Bytes of the value: 1, 2 or 4.
        offset, size : int
            Which bytes, in multiples of `width`; without `size`, all from `offset` on.

        Raises
        ------
        InvalidValueError
            The value does not fit into `width`, or the range into the buffer, or it is misaligned.
        """
        channel = self._channel(stream)
        if width not in _FILL_WIDTHS:
            raise InvalidValueError(f"width must be 1, 2 or 4 bytes, not {width!r}")
        number = _number(value, "value")
        if not -(1 << (8 * width - 1)) <= number < 1 << (8 * width):
            raise InvalidValueError(f"{number} does not fit into {width} bytes")
        if size is None:
            self._range(offset, 1)
            size = self.size - offset
        start = self._range(offset, size)
        if start % width or size % width:
            raise InvalidValueError(
                f"offset {offset} and size {size} must be multiples of the width, {width}"
            )
        channel.submit(pushbuffer.fill(start, number & ((1 << 8 * width) - 1), width, size))

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Export the bytes as the CPU sees them: no copy, unless ``copy=True`` asks for one."""
        if stream is not None:
            raise InvalidValueError("the export is CPU memory, which knows no streams; sync the stream first")
        if dl_device is not None and tuple(dl_device) != _DLPACK_CPU:
            raise BufferError(
                f"the export is CPU memory {_DLPACK_CPU}; it cannot be had on device {dl_device}"
            )
        array = np.frombuffer(memoryview(self), np.uint8)
        if copy:
            array = array.copy()
        return array.__dlpack__(max_version=max_version) if _NUMPY_HAS_VERSIONS else array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return ``(kDLCPU, 0)``."""
        return _DLPACK_CPU

    def copy_from_part(self, src: "Buffer", offset: int, channel: Channel) -> None:
        """Fill this buffer from byte `offset` of `src`; both were checked."""
        channel.submit(pushbuffer.linear_copy(self.handle, src.handle + offset, self.size))

    def require(self, device: "Device") -> None:
        """Raise unless the buffer is open and belongs to `device`."""
        if self._memory is None:
            raise ClosedError("the buffer was closed; allocate another one")
        if self.device is not device:
            raise InvalidValueError(f"{self!r} belongs to another device; copy through a host array")

    def _channel(self, stream: Stream) -> Channel:
        if not isinstance(stream, Stream):
            raise InvalidValueError(f"stream must be a Stream, not {type(stream).__name__}")
        self.require(stream.device)
        return stream.channel

    def _range(self, offset: int, size: int) -> int:
        """Return the GPU address of `size` bytes at `offset`; InvalidValueError if they do not fit."""
        offset, size = _number(offset, "offset"), _number(size, "size")
        if offset < 0 or size < 1 or offset + size > self.size:
            raise InvalidValueError(
                f"{size} bytes at offset {offset} do not fit into a buffer of {self.size} bytes"
            )
        return self.handle + offset


def _number(value: Any, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidValueError(f"{what} must be an integer, not {type(value).__name__}") from None
