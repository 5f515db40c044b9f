"""BAR1: call slots.

======  =====  ==========================================================================
offset  bytes  content
======  =====  ==========================================================================
0x00    4      call number; the guest writes it
0x08    56     the request's fields, 8 bytes each; fields that the call lacks are 0
0x40    4      status; the guest writes ``STATUS_PENDING``, the hypervisor a status code
0x48    56     the reply's fields, 8 bytes each; of a call that succeeded
0x80    128    why the call failed, UTF-8, padded with NULs; of a call that failed
======  =====  ==========================================================================

All numbers are little endian. The guest can write a slot at any time, so each side copies what the
other wrote once, and trusts nothing that it wrote itself to be there still.
"""

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

Buffer = bytes | bytearray | memoryview | mmap.mmap

SLOT_COUNT = 32
SLOT_SIZE = 256
SLOTS_SIZE = SLOT_COUNT * SLOT_SIZE

STATUS_PENDING = 0xFFFFFFFF

REQUEST_FIELDS = 7
REPLY_FIELDS = 3
"""The most that a call has."""

_STATUS_OFFSET = 0x40
_MESSAGE_OFFSET = 0x80
_MESSAGE_SIZE = 128
# By number of fields; padding is written as zeros.
_PACK_REQUEST = [
    struct.Struct(f"<I4x{count}Q{8 * (REQUEST_FIELDS - count)}xI") for count in range(REQUEST_FIELDS + 1)
]
_PACK_REPLY = [struct.Struct(f"<I4x{count}Q") for count in range(REPLY_FIELDS + 1)]
_UNPACK_REPLY = _PACK_REPLY[REPLY_FIELDS]
_REQUEST = struct.Struct(f"<I4x{REQUEST_FIELDS}Q{SLOT_SIZE - 8 * (REQUEST_FIELDS + 1)}x")
_STATUS = struct.Struct("<I")
_MESSAGE = struct.Struct(f"{_MESSAGE_SIZE}s")


class Reply(NamedTuple):
    """What a call came to: a status code, the reply's fields (some behind may be junk), and a message."""

    status: int
    fields: tuple[int, ...]
    message: str


def pack_request(buffer: Buffer, slot: int, call: int, fields: tuple[int, ...]) -> None:
    """Write a request into slot number `slot` of `buffer`, and mark it as pending."""
    _PACK_REQUEST[len(fields)].pack_into(buffer, slot * SLOT_SIZE, call, *fields, STATUS_PENDING)


def unpack_requests(copy: bytes) -> Iterator[tuple[int, ...]]:
    """Return call number and fields of each of the slots that `copy` holds."""
    return _REQUEST.iter_unpack(copy)


def pack_success(buffer: Buffer, slot: int, fields: tuple[int, ...]) -> None:
    """Write the reply of a call that succeeded into slot number `slot` of `buffer`."""
    _PACK_REPLY[len(fields)].pack_into(buffer, slot * SLOT_SIZE + _STATUS_OFFSET, 0, *fields)


def pack_failure(buffer: Buffer, slot: int, status: int, message: str) -> None:
    """Write the reply of a call that failed into slot number `slot` of `buffer`."""
    # Of a long text what fits, cut between characters.
    text = message.encode()[:_MESSAGE_SIZE].decode(errors="ignore").encode()
    _MESSAGE.pack_into(buffer, slot * SLOT_SIZE + _MESSAGE_OFFSET, text)
    _STATUS.pack_into(buffer, slot * SLOT_SIZE + _STATUS_OFFSET, status)


def unpack_reply(buffer: Buffer, slot: int) -> Reply:
    """Return the reply in slot number `slot` of `buffer`."""
    start = slot * SLOT_SIZE
    words = _UNPACK_REPLY.unpack_from(buffer, start + _STATUS_OFFSET)
    status = words[0]
    if not status:
        return Reply(0, words[1:], "")
    (text,) = _MESSAGE.unpack_from(buffer, start + _MESSAGE_OFFSET)
    return Reply(status, (), text.rstrip(b"\0").decode(errors="replace"))
