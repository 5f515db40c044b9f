"""One device of a remote client, at the server: the calls, carried out on the runtime."""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

from logv.compare.baselines import wire
from logv.compare.baselines._transfers import Transfers
from logv.compare.baselines.wire import Call
from logv.errors import ExhaustedError, InvalidHandleError, InvalidValueError
from logv.hw.software_gpu import APERTURE_VA_BITS
from logv.runtime import Buffer, Device, Kernel, LaunchConfig, Program, Stream, launch, pushbuffer
from logv.runtime._arguments import layout
from logv.uapi import Domain, Param

Handler = Callable[[Sequence[int], bytearray], int]

MAX_KERNELS = 256
"""Bounds the text that one client can make the server keep."""
_GEOMETRIES = 256
_ENTRY_MARK = b"//.entry "


def check_range(address: int, size: int) -> None:
    """Raise InvalidValueError for what no copy can name; whether something lies there the GPU checks.

    It bounds the commands that one copy becomes, and keeps addresses within their fields.
    """
    if not size or address + size > 1 << APERTURE_VA_BITS:
        raise InvalidValueError(f"there are no {size} bytes at GPU address {address:#x}")


@lru_cache(maxsize=_GEOMETRIES)
def _config(geometry: bytes) -> LaunchConfig:
    *numbers, shared = wire.GEOMETRY.unpack(geometry)
    return LaunchConfig(numbers[:3], numbers[3:], shared)


class ServedDevice:
    """What one client has of one device. Its handles mean nothing to another.

    Parameters
    ----------
    device : Device
        Closed with it.

    Attributes
    ----------
    handlers : dict
        What carries out each call whose data fit into a message.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._streams: dict[int, Stream] = {}
        self._buffers: dict[int, Buffer] = {}
        self._kernels: list[tuple[Kernel, struct.Struct]] = []
        self._transfers: Transfers | None = None
        self.handlers: dict[int, Handler] = {
            Call.GET_PARAM: self._get_param,
            Call.ALLOCATE: self._allocate,
            Call.FREE: self._free,
            Call.STREAM_NEW: self._stream_new,
            Call.STREAM_CLOSE: self._stream_close,
            Call.STREAM_SYNC: self._stream_sync,
            Call.STREAM_POLL: self._stream_poll,
            Call.SYNC: self._sync,
            Call.COPY: self._copy,
            Call.LOAD: self._load,
            Call.LAUNCH: self._launch,
        }

    def stream(self, handle: int) -> Stream:
        """Return a stream; raise InvalidHandleError if there is none of this handle."""
        try:
            return self._streams[handle]
        except KeyError:
            raise InvalidHandleError(f"no stream has handle {handle:#x}") from None

    def transfers(self) -> Transfers:
        """Return the memory between this device and the socket, made for the first copy."""
        if self._transfers is None:
            self._transfers = Transfers(self._device)
        return self._transfers

    def close(self) -> None:
        """Return everything."""
        if self._transfers is not None:
            self._transfers.close()
        self._device.close()

    def _get_param(self, arguments: Sequence[int], data: bytearray) -> int:
        try:
            param = Param(arguments[0])
        except ValueError:
            raise InvalidValueError(f"there is no parameter {arguments[0]}") from None
        return self._device.context.driver.get_param(param)

    def _allocate(self, arguments: Sequence[int], data: bytearray) -> int:
        size, domain = arguments[:2]
        if domain == Domain.VRAM:
            buffer = self._device.allocate(size)
        elif domain == Domain.SYSTEM:
            buffer = self._device.allocate_pinned(size)
        else:
            raise InvalidValueError(f"there is no domain {domain}")
        self._buffers[buffer.handle] = buffer
        return buffer.handle

    def _free(self, arguments: Sequence[int], data: bytearray) -> int:
        buffer = self._buffers.pop(arguments[0], None)
        if buffer is None:
            raise InvalidHandleError(f"no buffer lies at {arguments[0]:#x}")
        buffer.close()
        return 0

    def _stream_new(self, arguments: Sequence[int], data: bytearray) -> int:
        stream = self._device.create_stream()
        self._streams[stream.handle] = stream
        return stream.handle

    def _stream_close(self, arguments: Sequence[int], data: bytearray) -> int:
        self.stream(arguments[0]).close()
        del self._streams[arguments[0]]
        return 0

    def _stream_sync(self, arguments: Sequence[int], data: bytearray) -> int:
        self.stream(arguments[0]).sync()
        return 0

    def _stream_poll(self, arguments: Sequence[int], data: bytearray) -> int:
        return self.stream(arguments[0]).is_done

    def _sync(self, arguments: Sequence[int], data: bytearray) -> int:
        self._device.sync()
        return 0

    def _copy(self, arguments: Sequence[int], data: bytearray) -> int:
        stream, target, source, size = arguments[:4]
        check_range(target, size)
        check_range(source, size)
        self.stream(stream).channel.submit(pushbuffer.linear_copy(target, source, size))
        return 0

    def _load(self, arguments: Sequence[int], data: bytearray) -> int:
        if len(self._kernels) >= MAX_KERNELS:
            raise ExhaustedError(f"a device takes {MAX_KERNELS} kernels; open another one")
        mark, _, text = data.partition(b"\n")
        if not mark.startswith(_ENTRY_MARK):
            raise InvalidValueError(f"a kernel's image begins with {_ENTRY_MARK.decode()!r} and its name")
        name = bytes(mark).removeprefix(_ENTRY_MARK).decode("utf-8", "replace")
        kernel = Program(bytes(text)).compile().get_kernel(name)
        self._kernels.append((kernel, struct.Struct(f"<{layout(kernel.entry)[0]}")))
        return len(self._kernels) - 1

    def _launch(self, arguments: Sequence[int], data: bytearray) -> int:
        stream, number = arguments[:2]
        if number >= len(self._kernels):
            raise InvalidHandleError(f"no kernel has number {number}")
        kernel, packed = self._kernels[number]
        if len(data) != wire.GEOMETRY.size + packed.size:
            raise InvalidValueError(f"kernel {kernel.name} takes {packed.size} bytes of arguments")
        values = packed.unpack_from(data, wire.GEOMETRY.size)
        launch(self.stream(stream), _config(bytes(data[: wire.GEOMETRY.size])), kernel, *values)
        return 0
