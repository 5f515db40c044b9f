"""Devices, buffers and launches of the runtime, whose calls are carried out by a server."""

import struct
from typing import TYPE_CHECKING, Any, ClassVar, cast

from logv import uapi
from logv.compare.baselines import wire
from logv.compare.baselines._rpc_context import RpcChannel, RpcContext, RpcDriver
from logv.compare.baselines.wire import Call
from logv.errors import InvalidValueError, NotSupportedError
from logv.runtime import Buffer, Device, Event, EventOptions, Kernel, LaunchConfig, Stream
from logv.runtime._arguments import layout
from logv.runtime._context import Context
from logv.runtime._launch_template import LaunchTemplate
from logv.runtime.channel import Channel

if TYPE_CHECKING:
    from logv.compare.baselines.remote_client import RemoteConnection


def _remote(channel: Channel) -> RpcChannel:
    """Return a remote device's channel as what it is; the runtime's types know of its own only."""
    return cast("RpcChannel", channel)


class RpcBuffer(Buffer):
    """A buffer at the server."""

    def copy_from(self, src: Any, *, stream: Stream, offset: int = 0) -> None:
        """Copy all of `src` to this buffer; see :meth:`Buffer.copy_from`."""
        if not isinstance(src, Buffer):
            super().copy_from(src, stream=stream, offset=offset)
            return
        channel = self._channel(stream)
        src.require(self.device)
        start = self._range(offset, src.size)
        if src is self:
            raise InvalidValueError("a buffer cannot be copied onto itself: the ranges overlap")
        _remote(channel).copy(start, src.handle, src.size)

    def copy_from_part(self, src: Buffer, offset: int, channel: Channel) -> None:
        """Fill this buffer from byte `offset` of `src`; both were checked."""
        _remote(channel).copy(self.handle, src.handle + offset, self.size)


class RpcTemplate(LaunchTemplate):
    """A kernel with a geometry, whose launches are messages.

    Parameters
    ----------
    kernel : Kernel
    number : int
        The server's, for the kernel.
    config : LaunchConfig
    """

    __slots__ = ("_geometry", "_message", "_number")

    def __init__(self, kernel: Kernel, number: int, config: LaunchConfig) -> None:
        # Checks the geometry, as the runtime does; the QMD it lays out is the server's business here.
        super().__init__(kernel.entry, 0, config)
        self._number = number
        self._geometry = wire.GEOMETRY.pack(*config.grid, *config.block, config.shmem_size)
        self._message = struct.Struct(f"<{len(self._geometry)}s{layout(kernel.entry)[0]}")

    def submit(self, channel: Channel, device: Device, args: tuple[object, ...]) -> None:
        """Launch with `args`."""
        if len(args) != len(self._converters):
            raise InvalidValueError(
                f"kernel {self._name} takes {len(self._converters)} arguments, not {len(args)}"
            )
        values = [convert(value, device) for convert, value in zip(self._converters, args, strict=True)]
        _remote(channel).launch(self._number, self._message.pack(self._geometry, *values))


class RpcDevice(Device):
    """A device of a server; made by :meth:`RemoteConnection.device`.

    Parameters
    ----------
    connection : RemoteConnection
    """

    _buffer_type: ClassVar[type[Buffer]] = RpcBuffer

    def __init__(self, connection: "RemoteConnection") -> None:
        def make_context(_: uapi.Driver) -> Context:
            return cast("Context", RpcContext(driver))

        driver = RpcDriver(connection)
        super().__init__(cast("uapi.Driver", driver), "remote", make_context=make_context)
        self._driver = driver

    def create_event(self, options: EventOptions | None = None) -> Event:
        """Refuse: no workload records events."""
        raise NotSupportedError("events are not remoted; sync() the stream")

    def _make_template(self, kernel: Kernel, config: LaunchConfig) -> LaunchTemplate:
        if kernel.variables is not None:
            raise NotSupportedError(f"variables of programs are not remoted; {kernel.name} uses some")
        return RpcTemplate(kernel, self._load(kernel.image), config)

    def _load(self, image: bytes) -> int:
        """Return the server's number for a kernel, whose text crosses at its first launch."""
        number = self._programs.get(image)
        if number is None:
            number = self._programs[image] = self._driver.call(Call.LOAD, data=image)
        return number
