"""The server's side of one connection: negotiation, then one reply for every command."""

import errno
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from logv.hw import vfio_user as hw
from logv.transport import messages
from logv.transport.channel import DisconnectedError, Fds, MessageSocket
from logv.transport.config_space import MSIX_VECTORS
from logv.transport.dma import MAX_DMA_MAPS, PAGE_SIZE, DmaTable
from logv.transport.gpu_device import GpuDevice
from logv.transport.interrupts import Relay, check_eventfd
from logv.transport.messages import Header, ProtocolError, invalid

_log = logging.getLogger(__name__)

HANDSHAKE_S = 2.0
"""How long a client may take to say which version it speaks."""

COMMAND_SPIN_NS = 200_000
"""How long to poll for the next command before sleeping."""

_Reply = tuple[bytes, Sequence[int]]
_DONE: _Reply = (b"", ())
_KNOWN_FLAGS = hw.VFIO_USER_F_TYPE | hw.VFIO_USER_F_NO_REPLY
_TAKE_FDS = frozenset({hw.VFIO_USER_DMA_MAP, hw.VFIO_USER_DEVICE_SET_IRQS})
_CAPABILITIES: dict[str, type] = {
    "max_msg_fds": int,
    "max_data_xfer_size": int,
    "max_dma_maps": int,
    "pgsizes": int,
    "twin_socket": dict,
    "write_multiple": bool,
}
"""What a client may say of itself, and the type that each has; what else it says is not looked at."""

_IRQ_DATA = hw.VFIO_IRQ_SET_DATA_NONE | hw.VFIO_IRQ_SET_DATA_BOOL | hw.VFIO_IRQ_SET_DATA_EVENTFD
_IRQ_ACTIONS = hw.VFIO_IRQ_SET_ACTION_MASK | hw.VFIO_IRQ_SET_ACTION_UNMASK | hw.VFIO_IRQ_SET_ACTION_TRIGGER


class Session:
    """Serves one client until it is gone.

    Parameters
    ----------
    channel : MessageSocket
        Used, not owned.
    device : GpuDevice
        Used, not owned; what the client leaves on it is the caller's to take back.
    """

    def __init__(self, channel: MessageSocket, device: GpuDevice) -> None:
        self._channel = channel
        self._device = device
        self._dma = DmaTable()
        self._relay: Relay | None = None
        self._negotiated = False
        self._handlers: dict[int, Callable[[bytes, Fds], _Reply]] = {
            hw.VFIO_USER_DMA_MAP: self._dma_map,
            hw.VFIO_USER_DMA_UNMAP: self._dma_unmap,
            hw.VFIO_USER_DEVICE_GET_INFO: self._get_info,
            hw.VFIO_USER_DEVICE_GET_REGION_INFO: self._get_region_info,
            hw.VFIO_USER_DEVICE_GET_REGION_IO_FDS: self._get_region_io_fds,
            hw.VFIO_USER_DEVICE_GET_IRQ_INFO: self._get_irq_info,
            hw.VFIO_USER_DEVICE_SET_IRQS: self._set_irqs,
            hw.VFIO_USER_REGION_READ: self._region_read,
            hw.VFIO_USER_REGION_WRITE: self._region_write,
            hw.VFIO_USER_DEVICE_RESET: self._device_reset,
        }

    def run(self) -> str:
        """Serve until the client is gone or cannot be understood; return why."""
        self._channel.set_patience(HANDSHAKE_S)
        try:
            while True:
                header, payload, fds = self._channel.receive()
                with fds:
                    self._answer(header, payload, fds)
                # A VM that sets up makes one call after the other.
                self._channel.spin(COMMAND_SPIN_NS)
        except (DisconnectedError, ProtocolError) as error:
            return str(error)
        finally:
            if self._relay is not None:
                self._relay.close()

    def _answer(self, header: Header, payload: bytes, fds: Fds) -> None:
        """Carry out one message. Raises ProtocolError if the connection has to end."""
        try:
            reply, reply_fds = self._carry_out(header, payload, fds)
        except ProtocolError as error:
            _log.debug("refused command %d: %s", header.command, error)
            answer, reply_fds = messages.pack_error(header, error.code), ()
            if not self._negotiated:
                self._channel.send(answer)
                raise
        except Exception:
            # A fault of ours costs the client this command, and nobody else anything.
            _log.exception("command %d failed", header.command)
            answer, reply_fds = messages.pack_error(header, errno.EIO), ()
        else:
            answer = messages.pack_reply(header, reply)
        if not header.flags & hw.VFIO_USER_F_NO_REPLY:
            self._channel.send(answer, reply_fds)

    def _carry_out(self, header: Header, payload: bytes, fds: Fds) -> _Reply:
        if header.type != hw.VFIO_USER_F_TYPE_COMMAND or header.flags & ~_KNOWN_FLAGS:
            raise invalid(f"flags {header.flags:#x} of no command")
        if fds.truncated or (fds and header.command not in _TAKE_FDS):
            raise invalid(f"surplus descriptors with command {header.command}")
        if not self._negotiated:
            if header.command != hw.VFIO_USER_VERSION:
                raise invalid(f"command {header.command} before the version")
            return self._version(payload), ()
        handler = self._handlers.get(header.command)
        if handler is None:
            raise invalid(f"command {header.command} is unknown, not offered, or out of place")
        return handler(payload, fds)

    def _version(self, payload: bytes) -> bytes:
        if len(payload) < messages.VERSION.size:
            raise invalid("a version without numbers")
        major, minor = messages.VERSION.unpack_from(payload)
        if major != hw.VFIO_USER_MAJOR:
            raise invalid(f"major version {major}")
        check_capabilities(payload[messages.VERSION.size :])
        self._negotiated = True
        self._channel.set_patience(0)
        capabilities = {
            "max_msg_fds": messages.MAX_FDS,
            "max_data_xfer_size": messages.MAX_DATA,
            "max_dma_maps": MAX_DMA_MAPS,
            "pgsizes": PAGE_SIZE,
        }
        text = json.dumps({"capabilities": capabilities}).encode() + b"\0"
        return messages.VERSION.pack(major, min(minor, hw.VFIO_USER_MINOR)) + text

    def _dma_map(self, payload: bytes, fds: Fds) -> _Reply:
        argsz, flags, offset, address, size = messages.unpack(messages.DMA_MAP, payload, "DMA_MAP")
        if argsz != messages.DMA_MAP.size or len(fds) > 1:
            raise invalid(f"DMA_MAP with argsz {argsz} and {len(fds)} descriptors")
        self._dma.map(flags, offset, address, size, fds.peek() if fds else None)
        return _DONE

    def _dma_unmap(self, payload: bytes, _: Fds) -> _Reply:
        _argsz, flags, address, size = messages.unpack_query(messages.DMA_UNMAP, payload, "DMA_UNMAP")
        removed = self._dma.unmap(flags, address, size)
        return messages.DMA_UNMAP.pack(messages.DMA_UNMAP.size, flags, address, removed), ()

    def _get_info(self, payload: bytes, _: Fds) -> _Reply:
        messages.unpack_query(messages.DEVICE_INFO, payload, "DEVICE_GET_INFO")
        flags = hw.VFIO_DEVICE_FLAGS_RESET | hw.VFIO_DEVICE_FLAGS_PCI
        return messages.DEVICE_INFO.pack(
            messages.DEVICE_INFO.size, flags, hw.VFIO_PCI_NUM_REGIONS, hw.VFIO_PCI_NUM_IRQS
        ), ()

    def _get_region_info(self, payload: bytes, _: Fds) -> _Reply:
        layout = messages.REGION_INFO
        argsz, flags, index, *_rest = messages.unpack_query(layout, payload, "GET_REGION_INFO")
        if flags or index >= hw.VFIO_PCI_NUM_REGIONS:
            raise invalid(f"information on region {index} with flags {flags:#x}")
        region = self._device.region(index)
        flags = hw.VFIO_REGION_INFO_FLAG_READ | hw.VFIO_REGION_INFO_FLAG_WRITE if region.size else 0
        flags |= hw.VFIO_REGION_INFO_FLAG_MMAP if region.mapped else 0
        fds = (region.fd,) if region.mapped else ()
        areas, offset, size = b"", 0, layout.size
        if 0 < region.mapped < region.size:
            areas = messages.CAPABILITY.pack(hw.VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0)
            areas += messages.SPARSE_AREAS.pack(1, 0) + messages.SPARSE_AREA.pack(0, region.mapped)
            size += len(areas)
            if size > argsz:
                # The client sees how much room it takes, and asks again.
                areas = b""
            else:
                flags |= hw.VFIO_REGION_INFO_FLAG_CAPS
                offset = layout.size
        return layout.pack(size, flags, index, offset, region.size, 0) + areas, fds

    def _get_region_io_fds(self, payload: bytes, _: Fds) -> _Reply:
        layout = messages.IO_FDS
        argsz, flags, index, count = messages.unpack_query(layout, payload, "GET_REGION_IO_FDS")
        if flags or count or index >= hw.VFIO_PCI_NUM_REGIONS:
            raise invalid(f"descriptors of region {index} with flags {flags:#x} and count {count}")
        doorbells = self._device.doorbells(index)
        size = layout.size + len(doorbells) * messages.IO_FD.size
        head = layout.pack(size, 0, index, len(doorbells))
        if size > argsz:
            return head, ()
        kind = hw.VFIO_USER_IO_FD_TYPE_IOEVENTFD
        entries = [
            messages.IO_FD.pack(offset, length, number, kind, 0, 0, 0)
            for number, (offset, length, _) in enumerate(doorbells)
        ]
        return head + b"".join(entries), [fd for _, _, fd in doorbells]

    def _get_irq_info(self, payload: bytes, _: Fds) -> _Reply:
        layout = messages.IRQ_INFO
        _argsz, flags, index, count = messages.unpack_query(layout, payload, "GET_IRQ_INFO")
        if flags or count or index >= hw.VFIO_PCI_NUM_IRQS:
            raise invalid(f"information on interrupt {index} with flags {flags:#x} and count {count}")
        vectors = _vectors(index)
        flags = hw.VFIO_IRQ_INFO_EVENTFD | hw.VFIO_IRQ_INFO_NORESIZE if vectors else 0
        return layout.pack(layout.size, flags, index, vectors), ()

    def _set_irqs(self, payload: bytes, fds: Fds) -> _Reply:
        head = messages.IRQ_SET.size
        argsz, flags, index, start, count = messages.unpack(messages.IRQ_SET, payload[:head], "SET_IRQS")
        data, action = flags & _IRQ_DATA, flags & _IRQ_ACTIONS
        booleans = payload[head:]
        if argsz != len(payload) or flags & ~(_IRQ_DATA | _IRQ_ACTIONS):
            raise invalid(f"SET_IRQS with argsz {argsz} and flags {flags:#x}")
        if index >= hw.VFIO_PCI_NUM_IRQS or start + count > _vectors(index):
            raise invalid(f"SET_IRQS for interrupt {index}, {start} to {start + count}")
        if action != hw.VFIO_IRQ_SET_ACTION_TRIGGER or data.bit_count() != 1:
            # Masking is not offered; a VMM masks in the MSI-X table, which is its own.
            raise invalid(f"SET_IRQS with flags {flags:#x}")
        if len(booleans) != (count if data == hw.VFIO_IRQ_SET_DATA_BOOL else 0):
            raise invalid(f"SET_IRQS with {len(booleans)} bytes of data for {count} interrupts")
        if len(fds) not in ((0, count) if data == hw.VFIO_IRQ_SET_DATA_EVENTFD else (0,)):
            raise invalid(f"SET_IRQS with {len(fds)} descriptors for {count} interrupts")

        if data == hw.VFIO_IRQ_SET_DATA_EVENTFD:
            if fds:
                check_eventfd(fds.peek())
            if count:
                self._set_relay(fds.take() if fds else None)
        elif data == hw.VFIO_IRQ_SET_DATA_NONE and not count:
            self._set_relay(None)
        elif self._relay is not None and (data == hw.VFIO_IRQ_SET_DATA_NONE or any(booleans)):
            self._relay.trigger()
        return _DONE

    def _set_relay(self, target: int | None) -> None:
        old, self._relay = self._relay, None
        if old is not None:
            old.close()
        if target is not None:
            self._relay = Relay(self._device.interrupt_fd, target)

    def _region_read(self, payload: bytes, _: Fds) -> _Reply:
        offset, index, count = messages.unpack(messages.REGION_ACCESS, payload, "REGION_READ")
        self._check_access(index, offset, count)
        data = self._device.read(index, offset, count)
        return messages.REGION_ACCESS.pack(offset, index, count) + data, ()

    def _region_write(self, payload: bytes, _: Fds) -> _Reply:
        head = messages.REGION_ACCESS.size
        offset, index, count = messages.unpack(messages.REGION_ACCESS, payload[:head], "REGION_WRITE")
        if len(payload) - head != count:
            raise invalid(f"REGION_WRITE of {count} bytes with {len(payload) - head}")
        self._check_access(index, offset, count)
        self._device.write(index, offset, payload[head:])
        return payload[:head], ()

    def _check_access(self, index: int, offset: int, count: int) -> None:
        if index >= hw.VFIO_PCI_NUM_REGIONS or not 0 < count <= messages.MAX_DATA:
            raise invalid(f"an access of {count} bytes to region {index}")
        if offset + count > self._device.region(index).size:
            raise invalid(f"an access of {count} bytes at {offset:#x} leaves region {index}")

    def _device_reset(self, payload: bytes, _: Fds) -> _Reply:
        if payload:
            raise invalid(f"DEVICE_RESET has {len(payload)} bytes of payload")
        self._device.reset()
        return _DONE


def _vectors(index: int) -> int:
    return MSIX_VECTORS if index == hw.VFIO_PCI_MSIX_IRQ_INDEX else 0


def check_capabilities(data: bytes) -> dict[str, Any]:
    """Return the capabilities that a peer's version data names; raise ProtocolError."""
    if not data:
        return {}
    if data[-1:] != b"\0":
        raise invalid("version data without a NUL at its end")
    try:
        parsed = json.loads(data[:-1].decode())
    except (ValueError, RecursionError) as error:
        raise invalid(f"version data is no JSON: {error}") from None
    capabilities = parsed.get("capabilities", {}) if isinstance(parsed, dict) else None
    if not isinstance(capabilities, dict):
        raise invalid("version data has no object of capabilities")
    for name, kind in _CAPABILITIES.items():
        value = capabilities.get(name)
        if value is not None and (type(value) is not kind or (type(value) is int and value < 1)):
            raise invalid(f"capability {name} is {value!r}")
    return capabilities
