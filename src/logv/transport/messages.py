"""Messages of vfio-user: their layout, and the checks that every one passes before anybody acts on it.

A message is a header of 16 bytes, a payload, and descriptors beside it. What a peer sent is copied out
of the socket once, so that nothing changes between a check and its use.
"""

import errno
import struct
from typing import NamedTuple

from logv.errors import LogvError
from logv.hw import vfio_user as hw

HEADER = struct.Struct("<HHIII")
VERSION = struct.Struct("<HH")
DMA_MAP = struct.Struct("<IIQQQ")
DMA_UNMAP = struct.Struct("<IIQQ")
DEVICE_INFO = struct.Struct("<IIII")
REGION_INFO = struct.Struct("<IIIIQQ")
CAPABILITY = struct.Struct("<HHI")
SPARSE_AREAS = struct.Struct("<II")
SPARSE_AREA = struct.Struct("<QQ")
IO_FDS = struct.Struct("<IIII")
IO_FD = struct.Struct("<QQIIIIQ")
IRQ_INFO = struct.Struct("<IIII")
IRQ_SET = struct.Struct("<IIIII")
REGION_ACCESS = struct.Struct("<QII")

MAX_FDS = 8
"""Descriptors in one message: more than any that we know has."""

MAX_DATA = hw.VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE
"""Bytes that one message reads from, or writes to, a region."""

MAX_MESSAGE = HEADER.size + REGION_ACCESS.size + MAX_DATA
"""The largest message: a write of ``MAX_DATA`` bytes."""


class ProtocolError(LogvError):
    """The peer asked for something impossible; `code` is the errno that it is told.

    Parameters
    ----------
    code : int
    reason : str
        For the log.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({errno.errorcode[code]})")
        self.code = code


class Header(NamedTuple):
    """The first 16 bytes of every message."""

    message_id: int
    command: int
    size: int
    flags: int
    error: int

    @property
    def type(self) -> int:
        """``VFIO_USER_F_TYPE_COMMAND`` or ``VFIO_USER_F_TYPE_REPLY``."""
        return self.flags & hw.VFIO_USER_F_TYPE


def invalid(reason: str) -> ProtocolError:
    """Return the error for whatever the specification does not allow."""
    return ProtocolError(errno.EINVAL, reason)


def pack_command(message_id: int, command: int, payload: bytes) -> bytes:
    """Return a command that wants a reply."""
    return HEADER.pack(message_id, command, HEADER.size + len(payload), 0, 0) + payload


def pack_reply(header: Header, payload: bytes | memoryview = b"") -> bytes:
    """Return the reply to a command that was carried out."""
    size = HEADER.size + len(payload)
    return HEADER.pack(header.message_id, header.command, size, hw.VFIO_USER_F_TYPE_REPLY, 0) + payload


def pack_error(header: Header, code: int) -> bytes:
    """Return the reply to a command that failed: a header alone."""
    flags = hw.VFIO_USER_F_TYPE_REPLY | hw.VFIO_USER_F_ERROR
    return HEADER.pack(header.message_id, header.command, HEADER.size, flags, code)


def unpack(layout: struct.Struct, payload: bytes, what: str) -> tuple[int, ...]:
    """Return the fields of a payload that is exactly `layout`; raise ProtocolError."""
    if len(payload) != layout.size:
        raise invalid(f"{what} has {len(payload)} bytes instead of {layout.size}")
    return layout.unpack(payload)


def unpack_query(layout: struct.Struct, payload: bytes, what: str) -> tuple[int, ...]:
    """Return the fields of a request that says in its first how large its reply may be."""
    fields = unpack(layout, payload, what)
    if fields[0] < layout.size:
        raise invalid(f"{what} leaves {fields[0]} bytes for a reply of {layout.size}")
    return fields
