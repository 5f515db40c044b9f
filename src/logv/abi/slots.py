"""BAR1: call slots.

======  =====  ==========================================================================
offset  bytes  content
======  =====  ==========================================================================
0x00    4      call number; the guest writes it
0x04    4      status; the guest writes ``STATUS_PENDING``, the hypervisor a status code
0x08    56     the request's fields, 8 bytes each; fields that the call lacks are 0
0x40    64     the reply's fields, 8 bytes each
0x80    128    why the call failed, UTF-8, padded with NULs
======  =====  ==========================================================================

All numbers are little endian. The guest can write a slot at any time, so each side copies what the
other wrote once, and trusts nothing that it wrote itself to be there still.
"""

import mmap
import struct
from collections.abc import Sequence
from typing import NamedTuple

Buffer = bytes | bytearray | memoryview | mmap.mmap

SLOT_COUNT = 32
SLOT_SIZE = 256
SLOTS_SIZE = SLOT_COUNT * SLOT_SIZE

STATUS_PENDING = 0xFFFFFFFF

REQUEST_FIELDS = 7
REPLY_FIELDS = 8
MESSAGE_SIZE = 128

_REQUEST = struct.Struct(f"<II{REQUEST_FIELDS}Q")
_STATUS = struct.Struct("<I")
_STATUS_OFFSET = 4
_REPLY = struct.Struct(f"<{REPLY_FIELDS}Q{MESSAGE_SIZE}s")
_REPLY_OFFSET = 0x40


class Reply(NamedTuple):
    """What a call came to: a status code, the reply's fields with zeros behind, and a message."""

    status: int
    fields: tuple[int, ...]
    message: str


def pack_request(buffer: Buffer, slot: int, call: int, fields: Sequence[int]) -> None:
    """Write a request into slot number `slot` of `buffer`, and mark it as pending."""
    padding = (0,) * (REQUEST_FIELDS - len(fields))
    _REQUEST.pack_into(buffer, slot * SLOT_SIZE, call, STATUS_PENDING, *fields, *padding)


def unpack_request(copy: Buffer, slot: int) -> tuple[int, tuple[int, ...]]:
    """Return call number and fields of slot number `slot` of a copy of slots."""
    call, _, *fields = _REQUEST.unpack_from(copy, slot * SLOT_SIZE)
    return call, tuple(fields)


def pack_reply(buffer: Buffer, slot: int, reply: Reply) -> None:
    """Write a reply into slot number `slot` of `buffer`; of a long message, what fits."""
    padding = (0,) * (REPLY_FIELDS - len(reply.fields))
    # Cut between characters, and keep a NUL at the end.
    text = reply.message.encode()[: MESSAGE_SIZE - 1].decode(errors="ignore").encode()
    _REPLY.pack_into(buffer, slot * SLOT_SIZE + _REPLY_OFFSET, *reply.fields, *padding, text)
    # Last: whoever polls the status finds the rest complete.
    _STATUS.pack_into(buffer, slot * SLOT_SIZE + _STATUS_OFFSET, reply.status)


def unpack_reply(buffer: Buffer, slot: int) -> Reply:
    """Return the reply in slot number `slot` of `buffer`."""
    (status,) = _STATUS.unpack_from(buffer, slot * SLOT_SIZE + _STATUS_OFFSET)
    *fields, text = _REPLY.unpack_from(buffer, slot * SLOT_SIZE + _REPLY_OFFSET)
    return Reply(status, tuple(fields), text.rstrip(b"\0").decode(errors="replace"))
